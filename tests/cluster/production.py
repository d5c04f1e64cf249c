"""The production overlay with a Kafka that asks for SCRAM over TLS and grants only the rights of docs/install.md: what is missing or
wrong is named, and what is repaired needs no restart by hand."""
import datetime
import functools
import json
import re
import subprocess
import time
import urllib.error
import urllib.request

from confluent_kafka import admin

from autoscaling import install_keda
from deployment import HOME, NAMESPACE, PROCESSOR, REPOSITORY, Deployment, call, delete_pods, kubectl, objects, pods

BROKERS = "brokers"
USER = "funnelwatch"
PRIVACY_KEY = "a key of this suite"
# How long it may take until a pod says what is wrong, and until it is ready after the repair: a pod that has ended is started
# again after 10, 20 and 40 s, and the kubelet updates a mounted secret within a minute and a half.
SAID_WITHIN, REPAIRED_WITHIN = 90, 150
KINDS = {"topic": admin.ResourceType.TOPIC, "group": admin.ResourceType.GROUP, "transactional id": admin.ResourceType.TRANSACTIONAL_ID}
OPERATIONS = {"Read": admin.AclOperation.READ, "Write": admin.AclOperation.WRITE}


def documented_rights():
    """What docs/install.md says that the processor always needs: kind of resource, name, whether it is a prefix, operation."""
    text = (REPOSITORY / "docs/install.md").read_text()
    rows = text.split("| who | resource | name | operations |")[1].splitlines()[2:]
    found = []
    for row in rows:
        who, resource, names, operations = (cell.strip() for cell in row.strip("|").split("|"))
        if who not in ("the processor", ""):
            return found
        if "only if" in operations.split("; ")[-1]:
            continue
        kind, _, prefix = resource.partition(", ")
        for name in re.findall(r"`([^`]+)`", names):
            for operation in operations.split(";")[0].split(", "):
                found.append((kind, name, bool(prefix), operation))
    raise SystemExit("docs/install.md has no rights of `topics --create`")


class Broker:
    """Users and rights, on the listener that permits everything."""

    def __init__(self, address):
        self.admin = admin.AdminClient({"bootstrap.servers": address})

    def set_password(self, user, password):
        mechanism = admin.ScramCredentialInfo(admin.ScramMechanism.SCRAM_SHA_512, 4096)
        change = admin.UserScramCredentialUpsertion(user, mechanism, password.encode())
        for future in self.admin.alter_user_scram_credentials([change]).values():
            future.result(30)

    @staticmethod
    def binding(right, permission, of=admin.AclBinding):
        kind, name, prefix, operation = right
        pattern = admin.ResourcePatternType.PREFIXED if prefix else admin.ResourcePatternType.LITERAL
        return of(KINDS[kind], name, pattern, f"User:{USER}", "*", OPERATIONS[operation], permission)

    def add(self, rights, permission=admin.AclPermissionType.ALLOW):
        for future in self.admin.create_acls([self.binding(right, permission) for right in rights]).values():
            future.result(30)

    def remove(self, rights, permission=admin.AclPermissionType.ALLOW):
        filters = [self.binding(right, permission, admin.AclBindingFilter) for right in rights]
        for future in self.admin.delete_acls(filters).values():
            if not future.result(30):
                raise SystemExit(f"no such right: {rights}")


class Production(Deployment):
    """The production overlay."""

    name = "production"
    namespaces = [NAMESPACE, BROKERS]
    source = BROKERS
    norms_folder = REPOSITORY / "k8s/overlays/production"
    base = norms_folder / "funnelwatch.yaml"
    count = 3

    # --- preparation ---

    def configuration(self):
        text = super().configuration()
        address = self.broker.replace(":9092", ":9093")
        for placeholder, found in (
            ("kafka-0.example.com:9093,kafka-1.example.com:9093,kafka-2.example.com:9093", address),
            ("redis.example.com", f"redis.{BROKERS}.svc.cluster.local"),
        ):
            if placeholder not in text:
                raise SystemExit(f"{self.base} does not contain {placeholder}")
            text = text.replace(placeholder, found)
        return text

    def configuration_here(self):
        """On the listener that permits everything, and without the files of the Secret."""
        text = re.sub(r"(?m)^ +(client:|security\.|sasl\.|ssl\.).*\n", "", self.configuration()).replace(":9093", ":9092")
        text = re.sub(r"(?m)^(api|privacy_key): .*\n", "", text)
        return re.sub(r"(?m)^members: .*$", "members: {token: a token of this suite}", text)

    def norms_here(self, text):
        # A replay takes the key from the norms.
        return f"{text}\nprivacy_key: {PRIVACY_KEY}\n"

    def config_map(self):
        return "load"

    def make(self, namespace, kind, *words):
        """Creates or replaces a ConfigMap or a Secret."""
        text = call("kubectl", "-n", namespace, "create", *kind, *words, "--dry-run=client", "-o", "yaml")
        call("kubectl", "apply", "--server-side", "--force-conflicts", "-f", "-", input=text)

    def certify(self):
        """A certificate of the broker and the authority that has issued it; another authority with the same name."""
        new = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj"]
        run = functools.partial(subprocess.run, cwd=self.work, check=True, capture_output=True)
        for name in ("ca", "other"):
            run([*new, "/CN=ca", "-x509", "-days", "2", "-keyout", f"{name}.key", "-out", f"{name}.pem"])
        run([*new, "/CN=broker", "-keyout", "server.key", "-out", "server.csr"])
        (self.work / "server.ext").write_text(f"subjectAltName=DNS:{self.broker.split(':')[0]}\n")
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "server.ext"]
        run(["openssl", "x509", "-req", "-in", "server.csr", *signed, "-out", "server.crt"])
        parts = [(self.work / f"server.{end}").read_text() for end in ("key", "crt")]
        (self.work / "server.pem").write_text("".join(parts))

    def install(self):
        self.clear()
        self.certify()
        call("kubectl", "create", "namespace", BROKERS)
        self.make(BROKERS, ("secret", "generic", "kafka"), f"--from-file={self.work}/server.pem")
        rendered = call("kubectl", "kustomize", "--load-restrictor=LoadRestrictionsNone", str(HOME / BROKERS))
        call("kubectl", "apply", "--server-side", "-f", "-", input=rendered)
        call("kubectl", "-n", BROKERS, "rollout", "status", "statefulset", "kafka", "--timeout=180s")
        self.make(BROKERS, ("configmap", "load"), f"--from-file={self.work}/funnelwatch.yaml")
        files = [f"--from-file={self.work}/{name}.yaml" for name in ("norms", "calendar-russia")]
        self.make(BROKERS, ("configmap", "funnelwatch-norms"), *files)
        config = ["--config", "/etc/funnelwatch/funnelwatch.yaml"]
        self.job("topics", ["topics", *config, "--create", "--partitions", str(12), "--replication", "1"])
        self.await_job("topics", 120)
        # As docs/install.md has it.
        self.kafka = Broker(self.broker)
        self.kafka.set_password(USER, "right")
        self.kafka.add(documented_rights())
        call("kubectl", "apply", "-f", str(REPOSITORY / "k8s/base/namespace.yaml"))
        self.secret()
        self.apply()
        kubectl("scale", "statefulset", "funnelwatch", "--replicas=3")

    def secret(self, left_out=(), **changed):
        """The Secret of the pods, with what is wrong with it."""
        values = {
            "kafka-username": USER, "kafka-password": "right", "kafka-ca.crt": (self.work / "ca.pem").read_text(),
            "privacy-key": PRIVACY_KEY, "api-token": "a token of this suite", "member-token": "a token of this suite",
        }
        values |= {name.replace("_", "-").replace("-crt", ".crt"): value for name, value in changed.items()}
        words = [f"--from-literal={name}={value}" for name, value in values.items() if name not in left_out]
        self.make(NAMESPACE, ("secret", "generic", "funnelwatch"), *words)

    # --- what is wrong ---

    def said(self, pod, since):
        """What a pod has said since then, in its log and to a probe."""
        words = ["logs", pod.name, f"--since-time={since}"]
        log = "".join(kubectl(*words, *more, check=False) for more in ([], ["--previous"]))
        try:
            with urllib.request.urlopen(f"http://{pod.ip}:9465/readyz", timeout=3) as answer:
                return log, answer.read().decode()
        except urllib.error.HTTPError as error:
            return log, error.read().decode()
        except OSError:
            return log, ""

    def wrong(self, begin, expected, repair, restart=True):
        """Something is wrong: all pods must be unready, and say what it is."""

        def disturb():
            since = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
            begin()
            if restart:
                delete_pods()
            started, missing = time.time(), None
            while time.time() - started < SAID_WITHIN:
                now = pods()
                said = {pod.name: self.said(pod, since) for pod in now}
                missing = [f"{pod.name} is ready" for pod in now if pod.is_ready]
                missing += [f"{name} says {log.splitlines()[-2:]}" for name, (log, _) in said.items() if not all(word in log for word in expected)]
                if len(said) == self.count and not missing:
                    break
                time.sleep(1)
            for name, (log, ready) in said.items():
                lines = [line for line in log.splitlines() if expected[0] in line]
                self.note(f"{name} after {time.time() - started:.0f} s: {lines[:1]}; /readyz: {ready!r}")
            repair()
            return f"{' and '.join(expected)}: not within {SAID_WITHIN} s: {'; '.join(missing)}" if missing else None

        return disturb

    def steps(self):
        for right in documented_rights():
            kind, name, prefix, operation = right
            title = f"without the right {operation} on the {kind} {name}{'*' if prefix else ''}"
            expected = ["the right", "is missing", name] if kind == "topic" else [f"the right {operation} on the {kind} is missing"]

            def begin(right=right):
                self.kafka.remove([right])

            def repair(right=right):
                self.kafka.add([right])

            yield title, self.wrong(begin, expected, repair)
            if prefix:
                yield f"{title}, withdrawn from running pods", self.wrong(begin, expected, repair, restart=False)
        for title, begin, expected in (
            ("a wrong password", lambda: self.secret(kafka_password="wrong"), ["invalid credentials"]),
            ("an unknown user", lambda: self.secret(kafka_username="nobody"), ["invalid credentials"]),
            ("another authority", lambda: self.secret(kafka_ca_crt=(self.work / "other.pem").read_text()), ["its CA is not trusted"]),
            ("a token that is too short", lambda: self.secret(api_token="short"), ["api.token"]),
            ("a key of the Secret left out", lambda: self.secret(left_out=["privacy-key"]), ["privacy-key"]),
        ):
            yield title, self.wrong(begin, expected, self.secret)

    def run(self):
        steps = [(title, disturb) for title, disturb in self.steps() if self.is_wanted(self.title(title))]
        if not steps:
            return
        install_keda(self.arguments.made)
        self.prepare()
        self.install()
        self.step("first installation", lambda: None, self.count, within=150)
        self.start_load()
        time.sleep(self.arguments.warmup)
        self.step("load", lambda: None, self.count)
        for title, disturb in steps:
            self.step(title, disturb, self.count, within=REPAIRED_WITHIN, kills=100)
        self.finish()

    def stop(self):
        kubectl("delete", "scaledobject", "funnelwatch", "--wait=true")
        super().stop()
