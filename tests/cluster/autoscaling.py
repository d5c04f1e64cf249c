"""Pods are added and removed by KEDA, with the query of production, when a burst of events begins and ends."""
import json
import time
from pathlib import Path

from deployment import HOME, Deployment, Status, call, kubectl, pods

LEAST, MOST = 2, 4
# Events that come at once, and how many of them in a second.
BURST, RATE = 300_000, 5_000
# What the broker lets each pod read, in bytes per second: some 600 events. Otherwise one pod reads the burst as fast as it comes.
QUOTA = 150 << 10
# How long the autoscaler may take, in seconds: intervals of the query, of Prometheus and of the controller, the window of the
# overlay, and a restore.
WITHIN = 240


def install_keda(made):
    """KEDA and the kinds of the Prometheus operator, and a Prometheus."""
    for file in (Path(made) / "keda.yaml", Path(made) / "monitoring.yaml", HOME / "conf/monitoring.yaml"):
        call("kubectl", "apply", "--server-side", "--force-conflicts", "-f", str(file))
    call("kubectl", "-n", "keda", "wait", "--for=condition=Available", "deployment", "--all", "--timeout=180s")
    call("kubectl", "wait", "--for=condition=Available", "apiservice/v1beta1.external.metrics.k8s.io", "--timeout=120s")
    call("kubectl", "-n", "monitoring", "rollout", "status", "statefulset", "prometheus", "--timeout=120s")


class Autoscaling(Deployment):
    """The laptop overlay with the autoscaler."""

    name = "autoscaling"
    # A second of the burst is four minutes of event time, so a topic is left out after twenty minutes of silence
    # (`time.idle_after`), fewer than `allowed_lateness`.
    density = 20

    def __init__(self, arguments, log):
        super().__init__(arguments, log)
        self.events, self.rate = BURST, RATE

    def autoscaler(self):
        """What the controller has decided, and why."""
        found = json.loads(kubectl("get", "horizontalpodautoscaler", "keda-hpa-funnelwatch", "-o", "json", check=False) or "{}")
        status = found.get("status", {})
        conditions = {condition["type"]: f"{condition['status']} {condition['reason']}" for condition in status.get("conditions", [])}
        return status.get("desiredReplicas"), conditions

    def await_pods(self, count, within):
        """Waits until the autoscaler wants so many pods; returns what is wrong."""
        started, last = time.time(), None
        while time.time() - started < within:
            replicas, conditions = self.autoscaler()
            seen = f"{replicas} pods wanted, {conditions}"
            if seen != last:
                last = seen
                self.note(f"{seen}; {Status()}")
            if replicas == count:
                self.note(f"{count} pods wanted after {time.time() - started:.1f} s")
                return None
            time.sleep(1)
        return f"the autoscaler wants {last}, {count} are expected after {within} s; {Status()}"

    def begin(self):
        """The query is answered, and there is nothing to do."""
        deadline = time.time() + WITHIN
        while time.time() < deadline:
            replicas, conditions = self.autoscaler()
            if replicas == LEAST and conditions.get("ScalingActive", "").startswith("True"):
                return None
            time.sleep(1)
        return f"the autoscaler does not work: {replicas} pods wanted, {conditions}"

    def limit(self):
        """Limits what each pod may read of events; state is restored at full speed."""
        command = ["java", "-Xmx64m", "-cp", "/opt/kafka/libs/*", "kafka.admin.ConfigCommand", "--bootstrap-server", "kafka:9092", "--alter"]
        for number in range(MOST):
            client = f"funnelwatch-funnelwatch-{number}-consumer"
            what = ["--entity-type", "clients", "--entity-name", client, "--add-config", f"consumer_byte_rate={QUOTA}"]
            kubectl("exec", "kafka-0", "--", *command, *what)

    def burst(self):
        self.limit()
        self.start_load()
        problem = self.await_pods(MOST, WITHIN)
        self.await_job("load", 600)
        return problem

    def run(self):
        steps = [
            ("no load", self.begin, LEAST),
            ("a burst", self.burst, MOST),
            ("the end of the burst", lambda: self.await_pods(LEAST, 2 * WITHIN), LEAST),
        ]
        if not self.is_wanted(self.title("no load a burst the end of the burst")):
            return
        install_keda(self.arguments.made)
        self.prepare()
        self.install()
        for title, disturb, count in steps:
            self.step(title, disturb, count, within=WITHIN)
        self.finish()

    def stop(self):
        # Otherwise it adds pods again.
        kubectl("delete", "scaledobject", "funnelwatch", "--wait=true")
        super().stop()
