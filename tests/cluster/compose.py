"""Owns what docker-compose.yml must keep beyond its schema: what it mounts is there, what it names exists; see `run`.

Use: compose.py DOCKER-COMPOSE.YML
"""

import re
import sys
from pathlib import Path

import yaml


def problems(path):
    compose = yaml.safe_load(path.read_text())
    services, volumes = compose["services"], set(compose.get("volumes") or {})
    used = set()
    for name, service in services.items():
        build = service.get("build")
        if build and not (path.parent / build / "Dockerfile").is_file():
            yield f"{name}: nothing to build in {build}"
        if not re.search(r":[\w.-]*\d[\w.-]*$", service.get("image", "")):
            yield f"{name}: its image is not pinned to a version"
        for other in service.get("depends_on", []):
            if other not in services:
                yield f"{name}: depends on {other}, which is not there"
            elif isinstance(service["depends_on"], dict):
                healthy = service["depends_on"][other]["condition"] == "service_healthy"
                if healthy and "healthcheck" not in services[other]:
                    yield f"{name}: {other} has no health to wait for"
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if not source.startswith("."):
                used.add(source)
            elif not (path.parent / source).exists():
                yield f"{name}: {source} is not there"
            elif not mount.endswith(":ro"):
                yield f"{name}: may write to {source}"
        if service.get("read_only") is not True or service.get("cap_drop") != ["ALL"] or service.get("privileged"):
            yield f"{name}: is not locked up"
        for port in service.get("ports", []):
            if not port.startswith("127.0.0.1:"):
                yield f"{name}: port {port} is open to the world"
    if used != volumes:
        yield f"volumes {sorted(used)} are used, {sorted(volumes)} declared"
    images = {service["image"] for service in services.values() if service["image"].startswith("funnelwatch:")}
    if len(images) != 1:
        yield f"the program's own image has several names: {sorted(images)}"


def main(path):
    found = list(problems(path))
    for problem in found:
        print(f"{path.name}: {problem}")
    print(f"{path.name}: {len(found)} problems beside its schema")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
