#!/usr/bin/env python3
"""Disturbs deployments under load, and compares what they write with a replay of the same events.

Runs in the namespaces of the cluster; `run` starts it. Prints a line for each step, and exits with 1 if anything is missing,
duplicated or different, if a pod has restarted in a step that kills none, or if a step takes too long.
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from autoscaling import Autoscaling
from deployment import PROCESSOR, NAMESPACE, Deployment, call, kubectl, pods
from production import Production



class Laptop(Deployment):
    """The laptop overlay, and what can happen to it."""

    # --- disturbances ---

    def scaled(self, replicas):
        return lambda: self.scale("funnelwatch", replicas)

    def rollout(self):
        kubectl("rollout", "restart", "statefulset", "funnelwatch")
        kubectl("rollout", "status", "statefulset", "funnelwatch", "--timeout=180s")

    def delete_forced(self):
        kubectl("delete", "pod", "funnelwatch-0", "--grace-period=0", "--force", "--wait=false")

    def drain(self):
        """Evicts the pods one after another. The only node must take them back, so it is opened again at once."""
        words = ["--pod-selector", PROCESSOR, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=150s"]
        draining = subprocess.Popen(["kubectl", "drain", "node1", *words], stdout=self.log, stderr=self.log)
        while draining.poll() is None:
            call("kubectl", "uncordon", "node1")
            time.sleep(0.5)
        call("kubectl", "uncordon", "node1")
        return None if draining.returncode == 0 else "the drain failed"

    def bad_configuration(self):
        self.apply(lambda text: text.replace("workers: 2", "workers: many"))
        deadline = time.time() + 90
        while time.time() < deadline:
            by_name = {pod.name: pod for pod in pods()}
            last, first = by_name.get("funnelwatch-1"), by_name.get("funnelwatch-0")
            message = last.ends if last else ""
            if "engine.workers" in message and first and first.is_ready:
                self.apply()
                # The controller waits for the broken pod of an update for as long as it takes.
                kubectl("delete", "pod", "funnelwatch-1", "--wait=false")
                return None
            time.sleep(0.5)
        self.apply()
        kubectl("delete", "pod", "funnelwatch-1", "--wait=false")
        return f"the status of the pod does not say what is wrong: {message!r}"

    def good_configuration(self):
        self.apply(lambda text: text.replace("workers: 2", "workers: 1"))
        kubectl("rollout", "status", "statefulset", "funnelwatch", "--timeout=180s")
        self.apply()
        kubectl("rollout", "status", "statefulset", "funnelwatch", "--timeout=180s")

    def norms(self, change, outcome):
        """Changes the ConfigMap of the norms, and waits until all pods have read it."""
        described = json.loads(kubectl("get", "configmap", "funnelwatch-norms", "-o", "json"))
        described["data"]["norms.yaml"] = change(described["data"]["norms.yaml"])
        described["metadata"] = {"name": "funnelwatch-norms", "namespace": NAMESPACE}

        def reloads():
            return [
                sum(value for labels, value in pod.metrics.get("funnelwatch_norms_reloads_total", []) if outcome in labels.values())
                for pod in pods()
            ]

        before = reloads()
        call("kubectl", "apply", "--server-side", "--force-conflicts", "-f", "-", input=json.dumps(described))
        deadline = time.time() + 150
        while time.time() < deadline:
            now = reloads()
            if len(now) == len(before) and all(after > earlier for earlier, after in zip(before, now)):
                return None
            time.sleep(1)
        return f"not all pods have reloaded the norms: {before}, then {reloads()}"

    def delete_broker(self):
        kubectl("delete", "pod", "kafka-0")
        self.await_broker()

    def await_broker(self):
        kubectl("wait", "--for=condition=Ready", "pod/kafka-0", "--timeout=180s", check=False)
        kubectl("rollout", "status", "statefulset", "kafka", "--timeout=180s")

    def is_unready(self):
        return all(not pod.is_ready for pod in pods())

    def without_broker(self, seconds):
        def disturb():
            self.scale("kafka", 0)
            kubectl("wait", "--for=delete", "pod/kafka-0", "--timeout=120s", check=False)
            gone, problem = time.time(), None
            while not self.is_unready():
                if time.time() - gone > 15:
                    problem = "a pod is ready although there is no broker"
                    break
                time.sleep(0.3)
            else:
                self.note(f"unready {time.time() - gone:.1f} s after the broker has gone")
            time.sleep(max(0, seconds - (time.time() - gone)))
            self.scale("kafka", 1)
            self.await_broker()
            return problem

        return disturb

    def without_name(self):
        service = json.loads(kubectl("get", "service", "kafka", "-o", "json"))
        service["metadata"] = {key: service["metadata"][key] for key in ("name", "namespace", "labels")}
        service.pop("status", None)
        for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            service["spec"].pop(key, None)
        service["spec"]["clusterIP"] = "None"
        kubectl("delete", "service", "kafka")
        # Open connections go on; a restarted broker and new pods need the name.
        kubectl("delete", "pod", "kafka-0")
        time.sleep(60)
        call("kubectl", "apply", "-f", "-", input=json.dumps(service))
        self.await_broker()

    def processes(self):
        """The process ids of the processor by pod."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if words[0].endswith(b"funnelwatch") and words[1] == b"run":
                    environment = dict(word.split(b"=", 1) for word in (entry / "environ").read_bytes().split(b"\0") if b"=" in word)
                    found[environment[b"HOSTNAME"].decode()] = int(entry.name)
            except (OSError, IndexError, KeyError):
                continue
        return found

    def freeze(self):
        os.kill(self.processes()["funnelwatch-1"], signal.SIGSTOP)
        uid = {pod.name: pod.restarts for pod in pods()}["funnelwatch-1"]
        deadline = time.time() + 120
        while time.time() < deadline:
            if any(pod.name == "funnelwatch-1" and pod.restarts > uid for pod in pods()):
                return None
            time.sleep(0.5)
        return "the frozen process was not restarted"

    def memory_limit(self):
        """One pod with all shards, whose limit is just above what it takes now: it must say so, and go on."""
        limit = max(int(pod.sum("process_resident_memory_bytes")) for pod in pods()) * 2 * 100 // 85 >> 20
        self.note(f"a memory limit of {limit} MiB")
        patch = [
            {"op": "replace", "path": "/spec/replicas", "value": 1},
            {"op": "replace", "path": "/spec/template/spec/containers/0/resources/limits/memory", "value": f"{limit}Mi"},
            {"op": "replace", "path": "/spec/template/spec/containers/0/resources/requests/memory", "value": f"{limit}Mi"},
        ]
        kubectl("patch", "statefulset", "funnelwatch", "--type=json", "-p", json.dumps(patch))
        kubectl("rollout", "status", "statefulset", "funnelwatch", "--timeout=180s")
        found = {int(pod.sum("funnelwatch_memory_limit_bytes")) >> 20 for pod in pods()}
        return None if found == {limit} else f"the limit is {limit} MiB, the pods say {found}"

    def restored_limit(self):
        self.apply()
        kubectl("rollout", "status", "statefulset", "funnelwatch", "--timeout=180s")

    def steps(self):
        yield "scale to 1", self.scaled(1), 1, {}
        yield "scale to 3", self.scaled(3), 3, {}
        yield "scale to 2", self.scaled(2), 2, {}
        yield "rolling restart", self.rollout, 2, {}
        yield "forced deletion", self.delete_forced, 2, {}
        yield "eviction by drain", self.drain, 2, {}
        yield "bad configuration", self.bad_configuration, 2, {}
        yield "good configuration", self.good_configuration, 2, {}
        yield "bad norms", lambda: self.norms(lambda text: text + "\nunknown_key: 1\n", "refused"), 2, {}
        yield "good norms", lambda: self.norms(lambda text: text.replace("\nunknown_key: 1\n", "") + "\n# changed\n", "applied"), 2, {}
        yield "broker deleted", self.delete_broker, 2, {}
        yield "broker away for 2 minutes", self.without_broker(120), 2, {}
        yield "name of the broker gone", self.without_name, 2, {}
        yield "memory limit", self.memory_limit, 1, {}
        yield "two pods again", self.restored_limit, 2, {}
        yield "frozen process", self.freeze, 2, {"kills": 1}
        yield "broker away for 10 minutes", self.without_broker(600), 2, {}

    def run(self):
        steps = [step for step in self.steps() if self.is_wanted(step[0])]
        if not steps and not self.is_wanted("load"):
            return
        self.prepare()
        self.install()
        # Kafka itself needs some of it.
        self.step("first installation", lambda: None, 2, within=120)
        self.start_load()
        # Until there is output.
        time.sleep(self.arguments.warmup)
        self.step("load", lambda: None, 2)
        for title, disturb, count, options in steps:
            self.step(title, disturb, count, **options)
        self.finish()

    def run_day(self):
        self.prepare()
        self.install()
        self.step("first installation", lambda: None, 2, within=120)
        self.start_load()
        self.await_job("load", 1200)
        self.step("a day of the laptop's load", lambda: None, 2)
        self.step("rolling restart", self.rollout, 2)
        self.finish()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True, help="the program, for simulate and replay")
    parser.add_argument("--work", required=True, help="a folder for files")
    parser.add_argument("--made", required=True, help="the folder of programs and manifests")
    parser.add_argument("--running", required=True, help="the folder of the cluster")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=int, default=100, help="events a second")
    parser.add_argument("--events", type=int, default=400_000, help="the most events that may be sent")
    parser.add_argument("--warmup", type=int, default=60, help="seconds before the first step")
    parser.add_argument("--day", action="store_true", help="the load of the laptop overlay for 24 hours, as fast as possible")
    parser.add_argument("--only", nargs="*", help="only steps whose titles contain one of these words")
    arguments = parser.parse_args()
    if arguments.day:
        arguments.events, arguments.rate = 432_000, 5_000
    failures = []
    with open(Path(arguments.work) / "suite.log", "w") as log:
        for kind in (Laptop,) if arguments.day else (Laptop, Autoscaling, Production):
            deployment = kind(arguments, log)
            deployment.run_day() if arguments.day else deployment.run()
            failures += deployment.failures
    print(f"{len(failures)} failures", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
