"""Checks of docker-compose.yml beyond its schema: mounts and references exist, services are locked down; see `run`.

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
            yield f"{name}: no Dockerfile in {build}"
        if not re.search(r":[\w.-]*\d[\w.-]*$", service.get("image", "")):
            yield f"{name}: the image is not pinned to a version"
        for other in service.get("depends_on", []):
            if other not in services:
                yield f"{name}: depends on {other}, which does not exist"
            elif isinstance(service["depends_on"], dict):
                healthy = service["depends_on"][other]["condition"] == "service_healthy"
                if healthy and "healthcheck" not in services[other]:
                    yield f"{name}: waits for the health of {other}, which has no healthcheck"
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if not source.startswith("."):
                used.add(source)
            elif not (path.parent / source).exists():
                yield f"{name}: {source} does not exist"
            elif not mount.endswith(":ro"):
                yield f"{name}: {source} is not mounted read-only"
        if service.get("read_only") is not True or service.get("cap_drop") != ["ALL"] or service.get("privileged"):
            yield f"{name}: must be read_only, drop all capabilities and not be privileged"
        for port in service.get("ports", []):
            if not port.startswith("127.0.0.1:"):
                yield f"{name}: port {port} is not bound to 127.0.0.1"
    if used != volumes:
        yield f"used volumes {sorted(used)} differ from declared volumes {sorted(volumes)}"
    images = {service["image"] for service in services.values() if service["image"].startswith("funnelwatch:")}
    if len(images) != 1:
        yield f"expected one image name for funnelwatch, found {sorted(images)}"


def main(path):
    found = list(problems(path))
    for problem in found:
        print(f"{path.name}: {problem}")
    print(f"{path.name}: {len(found)} problems besides its schema")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
