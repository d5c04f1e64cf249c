#!/usr/bin/env python3
"""Disturbs a deployment under load, and compares what it writes with a replay of the same events.

Runs in the namespaces of the cluster; `run` starts it. Prints a line for each step, and exits with 1 if anything is missing,
duplicated or different, if a pod has restarted in a step that kills none, or if a step takes too long.
"""
import argparse
import collections
import datetime
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

HOME = Path(__file__).resolve().parent
NAMESPACE = "funnelwatch"
BROKER = f"kafka.{NAMESPACE}.svc.cluster.local:9092"
PROCESSOR = "app.kubernetes.io/component=processor"
SHARDS = 12
# Messages that may wait while the load goes on.
QUIET_LAG = 400
# How long after the end of a disturbance everything is ready, in seconds.
READY_WITHIN = 60
# The row of docs/operate.md that says what events, managers and pods take of memory, in bytes.
MEMORY_ROWS = {"event": r"\| each event of .* \| ([\d,]+) \|", "manager": r"\| each manager .* \| ([\d,]+) \|", "pod": r"\| each pod.* \| ([\d,]+) \|"}
# An alert this much before the watermark, in seconds of event time, is published.
MARGIN = 5


def call(*words, check=True, **options):
    done = subprocess.run(words, capture_output=True, text=True, **options)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}: {done.stderr.strip()[-600:]}")
    return done.stdout


def kubectl(*words, **options):
    return call("kubectl", "-n", NAMESPACE, *words, **options)


def objects(*words):
    return json.loads(kubectl("get", *words, "-o", "json"))["items"]


def instant(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class Pod:
    """What Kubernetes and the metrics say about a pod of the processor."""

    def __init__(self, described):
        self.name = described["metadata"]["name"]
        self.uid = described["metadata"]["uid"]
        self.is_ending = "deletionTimestamp" in described["metadata"]
        status = (described["status"].get("containerStatuses") or [{}])[0]
        self.is_ready = status.get("ready", False)
        self.restarts = status.get("restartCount", 0)
        containers = described["status"].get("initContainerStatuses", []) + [status]
        states = [container.get(state) or {} for container in containers for state in ("lastState", "state")]
        ends = [state["terminated"] for state in states if state.get("terminated", {}).get("exitCode")]
        # How its containers have failed.
        self.ends = "; ".join(f"{end.get('reason')}: {end.get('message', '')[-300:]}" for end in ends)
        self.ip = described["status"].get("podIP")
        self.metrics = self.scrape() if self.ip else {}

    def scrape(self):
        try:
            with urllib.request.urlopen(f"http://{self.ip}:9464/metrics", timeout=3) as answer:
                text = answer.read().decode()
        except OSError:
            return {}
        found = collections.defaultdict(list)
        for line in text.splitlines():
            match = re.match(r"(\w+)(?:\{(.*)\})? (\S+)$", line)
            if match:
                labels = dict(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
                found[match[1]].append((labels, float(match[3])))
        return found

    def sum(self, metric):
        return sum(value for _, value in self.metrics.get(metric, []))


def pods():
    return [Pod(described) for described in objects("pods", "-l", PROCESSOR)]


class Status:
    """The processor as a whole."""

    def __init__(self):
        now = time.time()
        self.pods = pods()
        self.assigned = sum(int(pod.sum("funnelwatch_shards_assigned")) for pod in self.pods)
        self.restoring = sum(int(pod.sum("funnelwatch_shards_restoring")) for pod in self.pods)
        lags, self.watermarks = {}, {}
        for pod in self.pods:
            for labels, lag in pod.metrics.get("funnelwatch_lag_messages", []):
                key = labels["topic"], labels["partition"]
                lags[key] = max(lag, lags.get(key, 0))
            for labels, delay in pod.metrics.get("funnelwatch_watermark_delay_seconds", []):
                shard = labels["shard"]
                self.watermarks[shard] = max(now - delay, self.watermarks.get(shard, 0))
        self.lag = int(sum(lags.values()))

    def is_settled(self, count, lag):
        return (
            len(self.pods) == count
            and all(pod.is_ready and not pod.is_ending for pod in self.pods)
            and (self.assigned, self.restoring) == (SHARDS, 0)
            and self.lag <= lag
        )

    def __str__(self):
        pods = " ".join(
            f"{pod.name[-1]}{':ready' if pod.is_ready else ':unready'}{':ending' if pod.is_ending else ''}"
            for pod in self.pods
        )
        return f"{pods}, {self.assigned} shards assigned, {self.restoring} restoring, lag {self.lag}"


class Suite:
    def __init__(self, arguments):
        self.arguments = arguments
        self.work = Path(arguments.work)
        self.failures = []
        # Those that have had a tenant.
        self.shards = set()
        self.wanted = []
        self.log = open(self.work / "suite.log", "w")

    # --- preparation ---

    def simulated(self, events, *more):
        arguments = self.arguments
        what = ["--density", "5"] if arguments.day else ["--density", "1", "--tenants", "24", "--managers", "8"]
        return ["simulate", "--seed", str(arguments.seed), *what, "--events", str(events), *more]

    def memory_formula(self):
        """The most that all pods together may take, by docs/operate.md."""
        text = (HOME.parent.parent / "docs/operate.md").read_text()
        cost = {name: int(re.search(row, text)[1].replace(",", "")) for name, row in MEMORY_ROWS.items()}
        return cost["event"] * self.sent() + cost["manager"] * self.managers + cost["pod"]

    def program(self, *words):
        return call(self.arguments.program, *words, cwd=self.work)

    def prepare(self):
        norms = HOME.parent.parent / "docs/examples"
        for file in ("norms.yaml", "calendar-russia.yaml"):
            shutil.copy(norms / file, self.work)
        shutil.copy(HOME / "overlay/funnelwatch.yaml", self.work)
        self.program(*self.simulated(self.arguments.events, "--out", "events.ndjson"))
        self.replay("events.ndjson", "wanted")
        managers = set()
        with open(self.work / "wanted.metrics.ndjson") as rows:
            for row in map(json.loads, rows):
                if row["subject"].startswith("manager:"):
                    managers.add((row["tenant_id"], row["subject"]))
        self.managers = len(managers)
        alerts = (self.work / "wanted.alerts.ndjson").read_text().splitlines()
        self.wanted = [(instant(json.loads(line)["at"]), line) for line in alerts]

    def replay(self, events, name, *more):
        self.program(
            "replay", "--events", events, "--norms", "norms.yaml", "--config", "funnelwatch.yaml", "--alerts", f"{name}.alerts.ndjson",
            "--metrics", f"{name}.metrics.ndjson", "--reviews", f"{name}.reviews.ndjson", *more,
        )

    def install(self):
        call("kubectl", "delete", "namespace", NAMESPACE, "--ignore-not-found")
        call("kubectl", "delete", "persistentvolume", "volume-0", "--ignore-not-found")
        volume = Path(self.arguments.running) / "volumes/0"
        shutil.rmtree(volume, ignore_errors=True)
        volume.mkdir(parents=True)
        volume.chmod(0o777)
        call("kubectl", "apply", "--server-side", "-f", f"{self.arguments.running}/conf/cluster.yaml")
        self.apply()

    def apply(self, overlay=HOME / "overlay"):
        call("kubectl", "apply", "--server-side", "--force-conflicts", "-k", str(overlay))

    def config_map(self):
        volumes = json.loads(kubectl("get", "statefulset", "funnelwatch", "-o", "json"))["spec"]["template"]["spec"]["volumes"]
        sources = next(volume for volume in volumes if volume["name"] == "config")["projected"]["sources"]
        return sources[0]["configMap"]["name"]

    def job(self, name, arguments, memory="256Mi"):
        text = (HOME / "load.yaml").read_text()
        text = text.replace("name: load", f"name: {name}").replace("CONFIG", self.config_map())
        text = text.replace("ARGUMENTS", json.dumps(arguments)[1:-1]).replace("MEMORY", memory)
        call("kubectl", "apply", "-f", "-", input=text)

    def start_load(self):
        config = ["--config", "/etc/funnelwatch/funnelwatch.yaml"]
        self.job("load", [*self.simulated(self.arguments.events), *config, "--rate", str(self.arguments.rate)])

    # --- waiting and judging ---

    def note(self, text):
        print(f"{time.time() - START:7.1f} {text}", file=self.log, flush=True)

    def settle(self, count, within, lag=QUIET_LAG):
        """Waits until all pods are ready and lag is low; returns the seconds that it took, `None` if too many."""
        started, last = time.time(), None
        while time.time() - started < within:
            status = Status()
            if str(status).rsplit(",", 1)[0] != last:
                last = str(status).rsplit(",", 1)[0]
                self.note(str(status))
            if status.is_settled(count, lag):
                self.note(f"settled: {status}")
                return time.time() - started
            time.sleep(0.3)
        self.note(f"not settled: {Status()}")
        return None

    def topic(self, name):
        words = ["kcat", "-b", BROKER, "-C", "-t", name, "-o", "beginning", "-e", "-q", "-f", "%s\n"]
        return call(*words, "-X", "isolation.level=read_committed").splitlines()

    def judge(self):
        """The alerts up to the watermark: how many are wanted, found, missing, twice, and not wanted at all."""
        watermarks = Status().watermarks
        # Not every shard has a tenant.
        if not self.shards <= set(watermarks):
            return None
        self.shards = set(watermarks)
        until = min(watermarks.values(), default=0) - MARGIN
        wanted = collections.Counter(line for at, line in self.wanted if at <= until)
        found = (line for line in self.topic("funnelwatch.alerts") if instant(json.loads(line)["at"]) <= until)
        return Comparison(wanted, collections.Counter(found))

    def step(self, title, disturb, pods, within=READY_WITHIN, kills=None):
        """A disturbance, and what is to hold after it. `kills`: the pods whose containers may restart."""
        before = {pod.uid: pod.restarts for pod in globals()["pods"]()}
        self.note(f"--- {title}")
        problem = disturb()
        seconds = self.settle(pods, within)
        after = globals()["pods"]()
        restarts = sum(max(pod.restarts - before.get(pod.uid, 0), 0) for pod in after)
        judged = self.judge()
        problems = [problem] if problem else []
        if seconds is None:
            problems.append(f"not ready within {within} s: {Status()}")
        if restarts > (kills or 0):
            problems.append(f"{restarts} restarts: " + "; ".join(f"{pod.name} {pod.ends}" for pod in after if pod.ends))
        taken = max((int(pod.sum("process_resident_memory_bytes")) for pod in after), default=0)
        allowed = self.memory_formula()
        if taken > allowed:
            problems.append(f"a pod takes {taken >> 20} MiB, {allowed >> 20} MiB are expected")
        if judged is None:
            problems.append("no watermark of some shards")
        elif judged.is_wrong():
            problems.append(judged.examples())
        took = f"ready after {seconds:.1f} s" if seconds is not None else "not ready"
        self.report(title, f"{judged or 'not judged'}; {took}; {restarts} restarts; {taken >> 20} of {allowed >> 20} MiB", problems)

    def report(self, title, text, problems):
        print(f"{'FAILED' if problems else 'ok':6} {title}: {text}", flush=True)
        for problem in problems:
            print(f"       {problem}", flush=True)
        self.failures += [f"{title}: {problem}" for problem in problems]

    # --- disturbances ---

    def scale(self, name, replicas, kind="statefulset"):
        kubectl("scale", kind, name, f"--replicas={replicas}")

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

    def overlay_with(self, name, change):
        """The overlay of the suite with a changed configuration."""
        folder = HOME / f"overlay.{name}"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(HOME / "overlay", folder)
        try:
            path = folder / "funnelwatch.yaml"
            path.write_text(change(path.read_text()))
            self.apply(folder)
        finally:
            shutil.rmtree(folder)

    def bad_configuration(self):
        self.overlay_with("bad", lambda text: text.replace("workers: 2", "workers: many"))
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
        self.overlay_with("good", lambda text: text.replace("workers: 2", "workers: 1"))
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

    # --- the end ---

    def finish(self):
        """Ends the load, closes event time with `run --once`, and compares everything that was written."""
        kubectl("delete", "job", "load", "--wait=true")
        sent = self.sent()
        if sent > self.arguments.events:
            self.report("the load", f"{sent} events in the topics, {self.arguments.events} were simulated", ["too many"])
            return
        with open(self.work / "events.ndjson") as events, open(self.work / "sent.ndjson", "w") as out:
            for line, _ in zip(events, range(sent)):
                out.write(line)
        last = instant(json.loads(line)["occurred_at"])
        end = datetime.datetime.fromtimestamp((last // 3600 + 1) * 3600, datetime.timezone.utc)
        end = end.strftime("%Y-%m-%dT%H:%M:%SZ")
        self.settle(2, 120, lag=0)
        late = sum(int(pod.sum("funnelwatch_events_late_total")) for pod in pods())
        self.scale("funnelwatch", 0)
        kubectl("wait", "--for=delete", "pod/funnelwatch-0", "pod/funnelwatch-1", "--timeout=120s", check=False)
        self.job("close", ["run", "--once", "--until", end, "--config", "/etc/funnelwatch/funnelwatch.yaml"], "1Gi")
        kubectl("wait", "--for=condition=Complete", "job/close", "--timeout=300s")
        self.replay("sent.ndjson", "final", "--until", end)

        def wanted(name):
            return (self.work / f"final.{name}.ndjson").read_text().splitlines()

        alerts = Comparison(collections.Counter(wanted("alerts")), collections.Counter(self.topic("funnelwatch.alerts")))
        reviews = Comparison(collections.Counter(wanted("reviews")), collections.Counter(self.topic("funnelwatch.reviews")))
        letters = len(self.topic("funnelwatch.dlq"))
        rows = {key_of(row): row for row in map(json.loads, filter(None, self.topic("funnelwatch.metrics")))}
        expected = {key_of(row): row for row in map(json.loads, wanted("metrics"))}
        different = [key for key, row in expected.items() if rows.get(key) != row]
        problems = [judged.examples() for judged in (alerts, reviews) if judged.is_wrong()]
        if different:
            problems.append(f"{len(different)} of {len(expected)} rows differ, such as {different[0]}")
        if letters:
            problems.append(f"{letters} dead letters")
        if late:
            problems.append(f"{late} late events")
        text = f"{sent} events; alerts {alerts}; reviews {reviews}; rows {len(expected)}, {len(different)} different; late {late}"
        self.report("everything", text, problems)

    def sent(self):
        """The number of events in the topics."""
        ends = [["-t", f"{topic}.events:{shard}:-1"] for topic in ("crm", "telephony", "email") for shard in range(SHARDS)]
        answer = call("kcat", "-b", BROKER, "-Q", *(word for end in ends for word in end))
        return sum(map(int, re.findall(r"offset (\d+)", answer)))

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
        only = self.arguments.only
        self.prepare()
        self.install()
        # Kafka itself needs some of it.
        self.step("first installation", lambda: None, 2, within=120)
        self.start_load()
        if self.arguments.day:
            kubectl("wait", "--for=condition=Complete", "job/load", "--timeout=1200s")
            self.step("a day of the laptop's load", lambda: None, 2)
            self.step("rolling restart", self.rollout, 2)
            self.finish()
            print(f"{len(self.failures)} failures", flush=True)
            return 1 if self.failures else 0
        # Until there is output.
        time.sleep(self.arguments.warmup)
        self.step("load", lambda: None, 2)
        for title, disturb, count, options in self.steps():
            if not only or any(word in title for word in only):
                self.step(title, disturb, count, **options)
        self.finish()
        print(f"{len(self.failures)} failures", flush=True)
        return 1 if self.failures else 0


def key_of(row):
    return json.dumps([row["tenant_id"], row["subject"], row["window"]], sort_keys=True)


class Comparison:
    def __init__(self, wanted, found):
        self.wanted, self.found = sum(wanted.values()), sum(found.values())
        self.lacking = wanted - found
        surplus = found - wanted
        self.twice = sum(count for line, count in surplus.items() if line in wanted)
        self.unknown = {line: count for line, count in surplus.items() if line not in wanted}
        self.missing = sum(self.lacking.values())

    def is_wrong(self):
        return bool(self.missing or self.twice or self.unknown)

    def examples(self):
        lines = [f"missing {line[:300]}" for line in sorted(self.lacking)[:2]]
        return "; ".join(lines + [f"not wanted {line[:300]}" for line in sorted(self.unknown)[:2]]) or "duplicates"

    def __str__(self):
        return (
            f"wanted {self.wanted} found {self.found} missing {self.missing} twice {self.twice} "
            f"unknown {sum(self.unknown.values())}"
        )


START = time.time()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True, help="the program, for simulate and replay")
    parser.add_argument("--work", required=True, help="a folder for files")
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
    return Suite(arguments).run()


if __name__ == "__main__":
    sys.exit(main())
