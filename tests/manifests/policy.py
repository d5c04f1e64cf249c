"""Policies for manifests beyond their schemas: users, privileges, resources, selectors; see `run`.

Each policy is a generator of problems. Constants of the program (how long a shutdown may take, the number of partitions) are
read from its source. Each policy is tested: MUTATIONS break a rendered overlay, one change at a time, and the named policy
must report it.

Use: policy.py FILE...
"""

import copy
import re
import sys
from pathlib import Path

import yaml

SOURCE = Path(__file__).resolve().parents[2] / "src"
POLICIES = {}


def source_number(file, pattern):
    return int(re.search(pattern, (SOURCE / file).read_text())[1].replace("_", ""))


# How long a shutdown may take before the program gives up, and the number of partitions of the topics that it creates.
DRAIN = source_number("edge/kafka/supervisor.rs", r"const STOP_TIMEOUT: Duration = Duration::from_secs\((\d+)\)")
NOTIFY_DRAIN = source_number("notify/driver.rs", r"const STOP_TIMEOUT: Duration = Duration::from_secs\((\d+)\)")
GATEWAY_DRAIN = source_number("app/gateway.rs", r"const STOP_TIMEOUT: Duration = Duration::from_secs\((\d+)\)")
PARTITIONS = source_number("edge/kafka/topics.rs", r"pub const PARTITIONS: u32 = (\d+)")


def policy(function):
    POLICIES[function.__name__] = function
    return function


def of(documents, *kinds):
    return [document for document in documents if document["kind"] in kinds]


def name(document):
    return f"{document['kind']} {document['metadata']['name']}"


def pods(documents):
    """Every workload with the spec of its pods."""
    for workload in of(documents, "StatefulSet", "Deployment", "Job", "DaemonSet", "CronJob", "Pod"):
        if workload["kind"] in ("CronJob", "Pod", "DaemonSet"):
            raise SystemExit(f"policy.py does not support {workload['kind']} yet")
        yield workload, workload["spec"]["template"]["spec"]


def containers(documents):
    for workload, spec in pods(documents):
        for container in spec["containers"] + spec.get("initContainers", []):
            yield f"{name(workload)}, {container['name']}", spec, container


def labels(workload):
    return workload["spec"]["template"]["metadata"]["labels"]


def selects(selector, labelled):
    fits = all(labelled.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    for term in selector.get("matchExpressions", []):
        if term["operator"] != "In":
            raise SystemExit(f"policy.py does not support the operator {term['operator']} yet")
        fits &= labelled.get(term["key"]) in term["values"]
    return fits


@policy
def non_root(documents):
    for workload, spec in pods(documents):
        context = spec.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
            yield f"{name(workload)}: must set runAsNonRoot and runAsUser"
    for where, _, container in containers(documents):
        context = container.get("securityContext", {})
        if context.get("runAsNonRoot") is False or context.get("runAsUser") == 0 or context.get("privileged"):
            yield f"{where}: overrides the security context of the pod"


@policy
def read_only_root(documents):
    for where, _, container in containers(documents):
        if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            yield f"{where}: the root file system is writable"


@policy
def no_escalation(documents):
    for where, _, container in containers(documents):
        context = container.get("securityContext", {})
        if context.get("allowPrivilegeEscalation") is not False:
            yield f"{where}: allows privilege escalation"


@policy
def no_capabilities(documents):
    for where, _, container in containers(documents):
        capabilities = container.get("securityContext", {}).get("capabilities", {})
        if capabilities.get("drop") != ["ALL"] or capabilities.get("add"):
            yield f"{where}: keeps capabilities"


@policy
def seccomp(documents):
    for workload, spec in pods(documents):
        if spec.get("securityContext", {}).get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{name(workload)}: no seccomp profile"


@policy
def no_host_access(documents):
    allowed = {"name", "configMap", "secret", "projected", "emptyDir"}
    for workload, spec in pods(documents):
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(key):
                yield f"{name(workload)}: {key}"
        for volume in spec.get("volumes", []):
            if not set(volume) <= allowed:
                yield f"{name(workload)}: volume {volume['name']} has a type that is not allowed"


@policy
def no_token(documents):
    for workload, spec in pods(documents):
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{name(workload)}: mounts a service account token"
        if spec.get("enableServiceLinks") is not False:
            yield f"{name(workload)}: service links are enabled"


@policy
def resources(documents):
    for where, _, container in containers(documents):
        requests, limits = (container.get("resources", {}).get(key, {}) for key in ("requests", "limits"))
        if not {"cpu", "memory"} <= set(requests) & set(limits):
            yield f"{where}: cpu and memory need a request and a limit each"
        elif requests["memory"] != limits["memory"]:
            yield f"{where}: the memory limit differs from the request"
        if not re.fullmatch(r"[1-9]\d*", str(limits.get("cpu", 1))):
            yield f"{where}: a fractional CPU limit throttles threads in the middle of an epoch"


@policy
def probes(documents):
    for workload, spec in pods(documents):
        unprobed = workload["spec"]["template"]["metadata"].get("annotations", {}).get("funnelwatch/without-probes")
        if workload["kind"] == "Job" or unprobed == "true":
            continue
        for container in spec["containers"]:
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                if probe not in container:
                    yield f"{name(workload)}, {container['name']}: no {probe}"


@policy
def probes_of_the_processor(documents):
    wanted = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    for where, _, container in processor(documents):
        for probe, path in wanted.items():
            if container.get(probe, {}).get("httpGet", {}) != {"path": path, "port": "probes"}:
                yield f"{where}: {probe} does not use {path} of the port for probes"


@policy
def only_the_kubelet_probes(documents):
    for service in of(documents, "Service"):
        if any(port["targetPort"] == "probes" for port in service["spec"]["ports"]):
            yield f"{name(service)}: opens the port for probes"
    for rule in of(documents, "NetworkPolicy"):
        for way in rule["spec"].get("ingress", []):
            if any(port["port"] in ("probes", 9465) for port in way.get("ports", [])):
                yield f"{name(rule)}: opens the port for probes"


@policy
def frozen_processor_ends(documents):
    """A process that has failed its liveness probe does not react to SIGTERM either."""
    for where, _, container in processor(documents):
        if container.get("livenessProbe", {}).get("terminationGracePeriodSeconds", 60) > 10:
            yield f"{where}: a frozen process keeps its shards for the whole grace period of the pod"


@policy
def reason_of_the_end(documents):
    for where, _, container in containers(documents):
        if container.get("terminationMessagePolicy") != "FallbackToLogsOnError":
            yield f"{where}: why it ended is not in its status"


@policy
def applicable_again(documents):
    for job in of(documents, "Job"):
        yield f"{name(job)}: a Job is immutable, so a change of it cannot be applied"


@policy
def autoscaler_namespace(documents):
    """The query of the autoscaler selects the namespace of the pods."""
    for scaler in of(documents, "ScaledObject"):
        for trigger in scaler["spec"]["triggers"]:
            for namespace in re.findall(r'namespace="([^"]*)"', trigger["metadata"].get("query", "")):
                if namespace != scaler["metadata"]["namespace"]:
                    yield f"{name(scaler)}: asks about the namespace {namespace}"


def processor(documents):
    found = [c for c in containers(documents) if c[0] == "StatefulSet funnelwatch, funnelwatch"]
    if not found:
        raise SystemExit("no processor found")
    return found


@policy
def pinned_images(documents):
    for where, _, container in containers(documents):
        image = container["image"]
        tag = re.search(r":([\w.-]+)$|@sha256:[0-9a-f]{64}$", image)
        if not tag or not re.search(r"\d", tag[0]) or "latest" in image:
            yield f"{where}: image {image} is not pinned to a version"


@policy
def selectors(documents):
    workloads = [workload for workload, _ in pods(documents)]
    for workload in of(workloads, "StatefulSet", "Deployment"):
        if not selects(workload["spec"]["selector"], labels(workload)):
            yield f"{name(workload)}: does not select its own pods"
        others = [w for w in workloads if w is not workload and selects(workload["spec"]["selector"], labels(w))]
        for other in others:
            yield f"{name(workload)}: also selects the pods of {name(other)}"
    for service in of(documents, "Service"):
        chosen = [w for w in workloads if selects({"matchLabels": service["spec"]["selector"]}, labels(w))]
        if len(chosen) != 1:
            yield f"{name(service)}: selects the pods of {len(chosen)} workloads, expected 1"
            continue
        ports = {port["name"] for c in chosen[0]["spec"]["template"]["spec"]["containers"] for port in c.get("ports", [])}
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in ports:
                yield f"{name(service)}: its pods have no port {port['targetPort']}"
    services = {service["metadata"]["name"]: service for service in of(documents, "Service")}
    for workload in of(workloads, "StatefulSet"):
        if services.get(workload["spec"]["serviceName"], {}).get("spec", {}).get("clusterIP") != "None":
            yield f"{name(workload)}: no headless service {workload['spec']['serviceName']}"
    for monitor in of(documents, "PodMonitor"):
        if sum(selects(monitor["spec"]["selector"], labels(w)) for w in workloads) != 1:
            yield f"{name(monitor)}: does not select one workload"


@policy
def disruption_budget(documents):
    (workload,) = [w for w, _ in pods(documents) if name(w) == "StatefulSet funnelwatch"]
    budgets = [b for b in of(documents, "PodDisruptionBudget") if selects(b["spec"]["selector"], labels(workload))]
    if len(budgets) != 1:
        yield f"{len(budgets)} disruption budgets for the processor, expected 1"
    elif budgets[0]["spec"].get("maxUnavailable") != 1:
        yield f"{name(budgets[0])}: maxUnavailable must be 1"


@policy
def network_policy(documents):
    policies = of(documents, "NetworkPolicy")
    for workload, _ in pods(documents):
        both = set()
        for rule in (p for p in policies if selects(p["spec"]["podSelector"], labels(workload))):
            both |= set(rule["spec"]["policyTypes"])
            for way in rule["spec"].get("ingress", []) + rule["spec"].get("egress", []):
                if not (way.get("from") or way.get("to")) or not way.get("ports"):
                    yield f"{name(rule)}: allows all peers or all ports"
        if both != {"Ingress", "Egress"}:
            yield f"{name(workload)}: not covered by policies for ingress and egress"


@policy
def grace(documents):
    (workload,) = [spec for w, spec in pods(documents) if name(w) == "StatefulSet funnelwatch"]
    if workload.get("terminationGracePeriodSeconds", 30) < DRAIN + 5:
        yield f"the processor may take {DRAIN} s to stop, but is killed earlier"


def gateway(documents):
    return [spec for w, spec in pods(documents) if name(w) == "Deployment funnelwatch-gateway"]


@policy
def grace_of_the_gateway(documents):
    for spec in gateway(documents):
        if spec.get("terminationGracePeriodSeconds", 30) < GATEWAY_DRAIN + 5:
            yield f"the gateway may take {GATEWAY_DRAIN} s to stop, but is killed earlier"


@policy
def one_notify(documents):
    for w, spec in pods(documents):
        if name(w) == "Deployment funnelwatch-notify":
            if w["spec"].get("replicas") != 1 or w["spec"].get("strategy", {}).get("type") != "Recreate":
                yield "two processes would read the buttons of one bot"
            # It also commits and leaves the group.
            if spec.get("terminationGracePeriodSeconds", 30) < NOTIFY_DRAIN + 20:
                yield f"notify may take {NOTIFY_DRAIN + 15} s to stop, but is killed earlier"


@policy
def only_webhooks_and_answers_are_public(documents):
    for ingress in of(documents, "Ingress"):
        paths = [path["path"] for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]
        if paths not in (["/in/"], ["/a/"]) or not ingress["spec"].get("tls"):
            yield f"{name(ingress)}: opens {paths}, expected /in/ or /a/ with TLS"


@policy
def replicas(documents):
    (workload,) = [w for w, _ in pods(documents) if name(w) == "StatefulSet funnelwatch"]
    scalers = of(documents, "ScaledObject")
    if scalers:
        spec = scalers[0]["spec"]
        target = spec["scaleTargetRef"]
        if (target["kind"], target["name"]) != ("StatefulSet", "funnelwatch"):
            yield "the scaler does not target the processor"
        least, most = spec["minReplicaCount"], spec["maxReplicaCount"]
        if "replicas" in workload["spec"]:
            yield "each `kubectl apply` would override the number of pods set by the scaler"
        if spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] < 600:
            yield "the scaler removes pods too soon"
    else:
        least = most = workload["spec"]["replicas"]
    if not 1 <= least <= most <= PARTITIONS:
        yield f"{least} to {most} pods for {PARTITIONS} partitions"


@policy
def production_survives(documents):
    if not of(documents, "ScaledObject"):
        return
    if of(documents, "ScaledObject")[0]["spec"]["minReplicaCount"] < 3:
        yield "fewer than three pods in production"
    (spec,) = [spec for w, spec in pods(documents) if name(w) == "StatefulSet funnelwatch"]
    spread = {constraint["topologyKey"] for constraint in spec.get("topologySpreadConstraints", [])}
    if not {"topology.kubernetes.io/zone", "kubernetes.io/hostname"} <= spread:
        yield "pods are not spread over zones and nodes"


@policy
def no_secrets(documents):
    for secret in of(documents, "Secret"):
        if secret.get("data") or secret.get("stringData"):
            yield f"{name(secret)}: contains secret data"


@policy
def reload_reaches_pods(documents):
    configs = {config["metadata"]["name"] for config in of(documents, "ConfigMap")}
    if "funnelwatch-norms" not in configs:
        yield "no ConfigMap funnelwatch-norms without a hash: each change of norms would restart the pods"
    for where, spec, container in processor(documents):
        mount = next((m for m in container.get("volumeMounts", []) if m["mountPath"] == "/etc/funnelwatch"), {})
        if not mount or "subPath" in mount or not mount.get("readOnly"):
            yield f"{where}: /etc/funnelwatch must be mounted as a whole directory, read-only"
        volume = next((v for v in spec.get("volumes", []) if v["name"] == mount.get("name")), {})
        for source in volume.get("projected", {}).get("sources", []):
            if source["configMap"]["name"] not in configs:
                yield f"{where}: no ConfigMap {source['configMap']['name']}"


@policy
def restricted_namespace(documents):
    (namespace,) = of(documents, "Namespace")
    if namespace["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
        yield "the namespace does not enforce the restricted Pod Security Standard"
    for document in documents:
        if document["kind"] != "Namespace" and document["metadata"].get("namespace") != namespace["metadata"]["name"]:
            yield f"{name(document)}: in another namespace"


# --- tests of the policies ---


def sts(documents):
    return next(d for d in documents if name(d) == "StatefulSet funnelwatch")["spec"]


def pod(documents):
    return sts(documents)["template"]["spec"]


def box(documents):
    return pod(documents)["containers"][0]


def config_mount(documents):
    return next(mount for mount in box(documents)["volumeMounts"] if mount["name"] == "config")


def first(documents, kind):
    return of(documents, kind)[0]


def spec_of(kind):
    return lambda documents: first(documents, kind)["spec"]


def put(where, *path_and_value):
    """A mutation that sets a value at a path; None deletes the key."""
    *path, last, value = path_and_value

    def mutate(documents):
        at = where(documents)
        for key in path:
            at = at[key]
        if value is None:
            del at[last]
        else:
            at[last] = value

    return mutate


def without(kind):
    def mutate(documents):
        documents[:] = [document for document in documents if document["kind"] != kind]

    return mutate


def add(document):
    return lambda documents: documents.append(document)


def notify(documents):
    (found,) = [document for document in of(documents, "Deployment") if document["metadata"]["name"] == "funnelwatch-notify"]
    return found["spec"]


# The policies of programs that only some overlays have.
OPTIONAL = {
    "grace_of_the_gateway": gateway,
    "one_notify": lambda documents: [d for d in of(documents, "Deployment") if d["metadata"]["name"] == "funnelwatch-notify"],
}
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "funnelwatch"}}
JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "once", "namespace": "funnelwatch"},
    "spec": {"template": {"metadata": {"labels": {}}, "spec": {"containers": []}}},
}
HOST = {"name": "host", "hostPath": {"path": "/"}}

MUTATIONS = [
    ("non_root", put(pod, "securityContext", "runAsNonRoot", None)),
    ("non_root", put(pod, "securityContext", "runAsUser", 0)),
    ("non_root", put(box, "securityContext", "runAsUser", 0)),
    ("non_root", put(box, "securityContext", "privileged", True)),
    ("read_only_root", put(box, "securityContext", "readOnlyRootFilesystem", False)),
    ("no_escalation", put(box, "securityContext", "allowPrivilegeEscalation", None)),
    ("no_capabilities", put(box, "securityContext", "capabilities", {})),
    ("no_capabilities", put(box, "securityContext", "capabilities", "add", ["NET_ADMIN"])),
    ("seccomp", put(pod, "securityContext", "seccompProfile", "type", "Unconfined")),
    ("no_host_access", put(pod, "hostNetwork", True)),
    ("no_host_access", lambda documents: pod(documents)["volumes"].append(HOST)),
    ("no_token", put(pod, "automountServiceAccountToken", None)),
    ("no_token", put(pod, "enableServiceLinks", True)),
    ("resources", put(box, "resources", "limits", None)),
    ("resources", put(box, "resources", "requests", "cpu", None)),
    ("resources", put(box, "resources", "limits", "memory", "64Gi")),
    ("resources", put(box, "resources", "limits", "cpu", "1500m")),
    ("probes", put(box, "startupProbe", None)),
    ("probes", put(box, "livenessProbe", None)),
    ("probes", put(box, "readinessProbe", None)),
    ("probes_of_the_processor", put(box, "livenessProbe", "httpGet", "path", "/readyz")),
    ("probes_of_the_processor", put(box, "livenessProbe", "httpGet", "port", "http")),
    ("only_the_kubelet_probes", put(spec_of("Service"), "ports", 0, "targetPort", "probes")),
    ("only_the_kubelet_probes", put(spec_of("NetworkPolicy"), "ingress", 0, "ports", 0, "port", "probes")),
    ("frozen_processor_ends", put(box, "livenessProbe", "terminationGracePeriodSeconds", None)),
    ("reason_of_the_end", put(box, "terminationMessagePolicy", None)),
    ("applicable_again", add(JOB)),
    ("pinned_images", put(box, "image", "funnelwatch")),
    ("pinned_images", put(box, "image", "funnelwatch:latest")),
    ("pinned_images", put(box, "image", "registry.example.com:5000/funnelwatch")),
    ("pinned_images", put(box, "image", "funnelwatch:stable")),
    ("selectors", put(sts, "selector", "matchLabels", "app.kubernetes.io/component", "other")),
    ("selectors", put(sts, "serviceName", "funnelwatch")),
    ("selectors", put(spec_of("Service"), "selector", "app.kubernetes.io/component", "other")),
    ("selectors", put(spec_of("Service"), "ports", 0, "targetPort", "metrics")),
    ("selectors", put(spec_of("PodMonitor"), "selector", "matchLabels", "app.kubernetes.io/name", "other")),
    ("disruption_budget", without("PodDisruptionBudget")),
    ("disruption_budget", put(spec_of("PodDisruptionBudget"), "selector", "matchLabels", {"a": "b"})),
    ("disruption_budget", put(spec_of("PodDisruptionBudget"), "maxUnavailable", 0)),
    ("network_policy", without("NetworkPolicy")),
    ("network_policy", put(spec_of("NetworkPolicy"), "podSelector", "matchLabels", {"a": "b"})),
    ("network_policy", put(spec_of("NetworkPolicy"), "policyTypes", ["Ingress"])),
    ("network_policy", put(spec_of("NetworkPolicy"), "egress", [{}])),
    ("grace", put(pod, "terminationGracePeriodSeconds", DRAIN)),
    ("grace", put(pod, "terminationGracePeriodSeconds", None)),
    ("replicas", put(sts, "replicas", 3)),
    ("replicas", put(spec_of("ScaledObject"), "maxReplicaCount", PARTITIONS + 1)),
    ("replicas", put(spec_of("ScaledObject"), "minReplicaCount", 0)),
    ("autoscaler_namespace", put(spec_of("ScaledObject"), "triggers", 0, "metadata", "query", 'x{namespace="elsewhere"}')),
    ("replicas", put(spec_of("ScaledObject"), "scaleTargetRef", "kind", "Deployment")),
    ("replicas", put(spec_of("ScaledObject"), "advanced", "horizontalPodAutoscalerConfig", "behavior", "scaleDown",
                     "stabilizationWindowSeconds", 0)),
    ("production_survives", put(spec_of("ScaledObject"), "minReplicaCount", 2)),
    ("production_survives", put(pod, "topologySpreadConstraints", [])),
    ("no_secrets", add({**SECRET, "data": {"password": "cGFzc3dvcmQ="}})),
    ("no_secrets", add({**SECRET, "stringData": {"password": "password"}})),
    ("reload_reaches_pods", put(config_mount, "subPath", "norms.yaml")),
    ("reload_reaches_pods", put(config_mount, "readOnly", None)),
    ("reload_reaches_pods", put(box, "volumeMounts", [])),
    ("grace_of_the_gateway", lambda documents: gateway(documents)[0].update(terminationGracePeriodSeconds=20)),
    ("one_notify", put(notify, "replicas", 2)),
    ("one_notify", put(notify, "strategy", None)),
    ("one_notify", put(notify, "template", "spec", "terminationGracePeriodSeconds", 10)),
    ("only_webhooks_and_answers_are_public", put(spec_of("Ingress"), "tls", None)),
    ("only_webhooks_and_answers_are_public", put(spec_of("Ingress"), "rules", 0, "http", "paths", 0, "path", "/")),
    ("reload_reaches_pods", without("ConfigMap")),
    ("restricted_namespace", put(lambda d: first(d, "Namespace")["metadata"], "labels", None)),
    ("restricted_namespace", put(lambda d: first(d, "StatefulSet")["metadata"], "namespace", "default")),
]


def check_mutations(documents, tried):
    """Mutations that their policy does not report. Only those of a program that the overlay does not have are left out."""
    for number, (wanted, mutate) in enumerate(MUTATIONS, 1):
        if wanted in OPTIONAL and not OPTIONAL[wanted](documents):
            continue
        broken = copy.deepcopy(documents)
        mutate(broken)
        tried.add(number)
        if not list(POLICIES[wanted](broken)):
            yield f"mutation {number} of {wanted} is not reported"
    for untried in set(POLICIES) - {wanted for wanted, _ in MUTATIONS}:
        yield f"{untried} has no mutation"


def main(paths):
    failed, tried = 0, set()
    for path in map(Path, paths):
        documents = [document for document in yaml.safe_load_all(path.read_text()) if document]
        problems = [f"{text} ({title})" for title, check in POLICIES.items() for text in check(documents)]
        # On the overlays with all kinds of objects.
        if of(documents, "ScaledObject") and of(documents, "Ingress"):
            problems += check_mutations(documents, tried)
        for problem in problems:
            print(f"{path.name}: {problem}")
        failed += len(problems)
        print(f"{path.name}: {len(POLICIES)} policies, {len(problems)} problems")
    if not tried:
        failed += 1
        print("no overlay with a scaler and an Ingress: the mutations were not tested")
    # All overlays together have every program.
    if len(paths) > 1 and len(tried) < len(MUTATIONS):
        failed += 1
        print(f"{len(MUTATIONS) - len(tried)} mutations were not tried")
    if not failed:
        print(f"{len(tried)} mutations, each reported by its policy")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
