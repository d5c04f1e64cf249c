"""A deployment in the cluster: what it consists of, its state, and whether what it has written equals a replay."""
import collections
import datetime
import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

HOME = Path(__file__).resolve().parent
REPOSITORY = HOME.parent.parent
NAMESPACE = "funnelwatch"
PROCESSOR = "app.kubernetes.io/component=processor"
SHARDS = 12
SOURCES = ("crm.events", "telephony.events", "email.events")
# Messages that may wait while the load goes on.
QUIET_LAG = 400
# How long after the end of a disturbance everything is ready, in seconds.
READY_WITHIN = 60
# The row of docs/operate.md that says what events, managers and pods take of memory, in bytes.
MEMORY_ROWS = {"event": r"\| each event of .* \| ([\d,]+) \|", "manager": r"\| each manager .* \| ([\d,]+) \|", "pod": r"\| each pod.* \| ([\d,]+) \|"}
# An alert this much before the watermark, in seconds of event time, is published.
MARGIN = 5
START = time.time()


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


def delete_pods():
    """Deletes all pods of the processor, and waits until they are gone. `kubectl delete --wait` can miss that a pod with the same
    name is another one, and then waits forever."""
    before = {pod.uid for pod in pods()}
    kubectl("delete", "pod", "-l", PROCESSOR, "--wait=false")
    for _ in range(120):
        if not before & {pod.uid for pod in pods()}:
            return
        time.sleep(1)
    raise SystemExit("the pods are not deleted after 120 s")


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
        # A partition without lag was not answered for yet.
        self.known = sum(topic in SOURCES for topic, _ in lags)
        self.lag = int(sum(lags.values()))

    def is_settled(self, count, lag):
        return (
            len(self.pods) == count
            and all(pod.is_ready and not pod.is_ending for pod in self.pods)
            and (self.assigned, self.restoring, self.known) == (SHARDS, 0, SHARDS * len(SOURCES))
            and self.lag <= lag
        )

    def __str__(self):
        pods = " ".join(
            f"{pod.name[-1]}{':ready' if pod.is_ready else ':unready'}{':ending' if pod.is_ending else ''}"
            for pod in self.pods
        )
        return f"{pods}, {self.assigned} shards assigned, {self.restoring} restoring, lag {self.lag} in {self.known} partitions"


class Deployment:
    """An overlay, the load that it gets, and what it must write."""

    # The folder of the overlay, and the namespaces: that of the processor is always there.
    name = "overlay"
    namespaces = [NAMESPACE]
    # The namespace of Kafka, of the load, and of the process that closes event time.
    source = NAMESPACE
    norms_folder = REPOSITORY / "docs/examples"
    # The configuration of the pods, and the settings with which output does not depend on the clock.
    base = REPOSITORY / "k8s/base/funnelwatch.yaml"
    event_time = "time: {watermark_follows_clock: false, allowed_lateness: 30m, max_future_skew: 3653d}\n"
    # Events in a second of event time.
    density = 1
    # The pods that there are in the end.
    count = 2

    def __init__(self, arguments, log):
        self.arguments = arguments
        self.work = Path(arguments.work).resolve() / self.name
        self.work.mkdir()
        self.broker = f"kafka.{self.source}.svc.cluster.local:9092"
        self.failures = []
        # Those that have had a tenant.
        self.shards = set()
        self.wanted = []
        self.log = log
        self.events, self.rate = arguments.events, arguments.rate

    # --- preparation ---

    def simulated(self, events, *more):
        arguments = self.arguments
        what = ["--density", "5"] if arguments.day else ["--density", str(self.density), "--tenants", "24", "--managers", "8"]
        return ["simulate", "--seed", str(arguments.seed), *what, "--events", str(events), *more]

    def memory_formula(self):
        """The most that all pods together may take, by docs/operate.md."""
        text = (REPOSITORY / "docs/operate.md").read_text()
        cost = {name: int(re.search(row, text)[1].replace(",", "")) for name, row in MEMORY_ROWS.items()}
        return cost["event"] * self.sent() + cost["manager"] * self.managers + cost["pod"]

    def program(self, *words):
        return call(self.arguments.program, *words, cwd=self.work)

    def configuration(self):
        """Of the pods."""
        text = self.base.read_text()
        if "\ntime:" in text:
            raise SystemExit(f"{self.base} sets `time`, which the suite adds")
        return text + "\n" + self.event_time

    def configuration_here(self):
        """Of a replay on this machine, and of the process that closes event time."""
        return self.configuration()

    def norms_here(self, text):
        """The norms of the pods, as such a replay takes them."""
        return text

    def prepare(self):
        (self.work / "norms.yaml").write_text(self.norms_here((self.norms_folder / "norms.yaml").read_text()))
        shutil.copy(REPOSITORY / "docs/examples/calendar-russia.yaml", self.work)
        (self.work / "funnelwatch.yaml").write_text(self.configuration_here())
        self.program(*self.simulated(self.events, "--out", "events.ndjson"))
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

    def clear(self):
        """Deletes what an earlier deployment has left, and makes the volume again."""
        for namespace in (NAMESPACE, "brokers"):
            call("kubectl", "delete", "namespace", namespace, "--ignore-not-found")
        call("kubectl", "delete", "persistentvolume", "volume-0", "--ignore-not-found")
        volume = Path(self.arguments.running) / "volumes/0"
        shutil.rmtree(volume, ignore_errors=True)
        volume.mkdir(parents=True)
        volume.chmod(0o777)
        call("kubectl", "apply", "--server-side", "-f", f"{self.arguments.running}/conf/cluster.yaml")

    def install(self):
        self.clear()
        self.apply()

    def apply(self, change=lambda text: text):
        """Applies the overlay; `change` may alter the configuration."""
        folder = self.work / "overlay"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(HOME / self.name, folder)
        file = folder / "kustomization.yaml"
        file.write_text(file.read_text().replace("../../../k8s", os.path.relpath(REPOSITORY / "k8s", folder)))
        (folder / "funnelwatch.yaml").write_text(change(self.configuration()))
        call("kubectl", "apply", "--server-side", "--force-conflicts", "-k", str(folder))

    def config_map(self):
        volumes = json.loads(kubectl("get", "statefulset", "funnelwatch", "-o", "json"))["spec"]["template"]["spec"]["volumes"]
        sources = next(volume for volume in volumes if volume["name"] == "config")["projected"]["sources"]
        return sources[0]["configMap"]["name"]

    def job(self, name, arguments, memory="256Mi"):
        text = (HOME / "load.yaml").read_text()
        text = text.replace("name: load", f"name: {name}").replace("namespace: funnelwatch", f"namespace: {self.source}")
        text = text.replace("CONFIG", self.config_map()).replace("ARGUMENTS", json.dumps(arguments)[1:-1]).replace("MEMORY", memory)
        call("kubectl", "apply", "-f", "-", input=text)

    def start_load(self):
        config = ["--config", "/etc/funnelwatch/funnelwatch.yaml"]
        self.job("load", [*self.simulated(self.events), *config, "--rate", str(self.rate)])

    def await_job(self, name, within):
        call("kubectl", "-n", self.source, "wait", "--for=condition=Complete", f"job/{name}", f"--timeout={within}s")

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
        words = ["kcat", "-b", self.broker, "-C", "-t", name, "-o", "beginning", "-e", "-q", "-f", "%s\n"]
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

    def step(self, title, disturb, pods, within=READY_WITHIN, kills=0):
        """A disturbance, and what is to hold after it. `kills`: how many restarts it may cause."""
        title = self.title(title)
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
        if restarts > kills:
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

    def title(self, title):
        """The title of a step, which says what is installed."""
        return title if self.name == "overlay" else f"{self.name}: {title}"

    def is_wanted(self, title):
        only = self.arguments.only
        return not only or any(word in title for word in only)

    def report(self, title, text, problems):
        print(f"{'FAILED' if problems else 'ok':6} {title}: {text}", flush=True)
        for problem in problems:
            print(f"       {problem}", flush=True)
        self.failures += [f"{title}: {problem}" for problem in problems]

    # --- the end ---

    def finish(self):
        """Ends the load, closes event time with `run --once`, and compares everything that was written."""
        call("kubectl", "-n", self.source, "delete", "job", "load", "--wait=true")
        sent = self.sent()
        if sent > self.events:
            self.report("the load", f"{sent} events in the topics, {self.events} were simulated", ["too many"])
            return
        with open(self.work / "events.ndjson") as events, open(self.work / "sent.ndjson", "w") as out:
            for line, _ in zip(events, range(sent)):
                out.write(line)
        last = instant(json.loads(line)["occurred_at"])
        end = datetime.datetime.fromtimestamp((last // 3600 + 1) * 3600, datetime.timezone.utc)
        end = end.strftime("%Y-%m-%dT%H:%M:%SZ")
        self.settle(self.count, 120, lag=0)
        late = sum(int(pod.sum("funnelwatch_events_late_total")) for pod in pods())
        self.stop()
        self.job("close", ["run", "--once", "--until", end, "--config", "/etc/funnelwatch/funnelwatch.yaml"], "1Gi")
        self.await_job("close", 300)
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
        self.report(self.title("everything"), text, problems)

    def scale(self, name, replicas, kind="statefulset"):
        kubectl("scale", kind, name, f"--replicas={replicas}")

    def stop(self):
        """Ends the pods of the processor."""
        self.scale("funnelwatch", 0)
        kubectl("wait", "--for=delete", "pod", "-l", PROCESSOR, "--timeout=120s", check=False)

    def sent(self):
        """The number of events in the topics."""
        ends = [["-t", f"{topic}:{shard}:-1"] for topic in SOURCES for shard in range(SHARDS)]
        answer = call("kcat", "-b", self.broker, "-Q", *(word for end in ends for word in end))
        return sum(map(int, re.findall(r"offset (\d+)", answer)))


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
