"""Strictly validates rendered manifests against the schemas of Kubernetes and of custom resources; see `run`.

Strict: a field that is not in the schema is rejected, at any depth. The schemas of Kubernetes in the package
kubernetes-validate are already closed; custom resource definitions are closed here. Each object is validated against the
oldest and the newest supported version of Kubernetes.

Use: schemas.py --crds DIR... --manifests FILE...
"""

import argparse
import copy
import functools
import json
import re
import sys
from importlib.resources import files
from pathlib import Path

import jsonschema
import yaml
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

KUBERNETES = ("1.31", "1.37")
OPEN = "x-kubernetes-preserve-unknown-fields"


class Loader(yaml.CSafeLoader):
    """Reads a lone `=` as text, like other YAML parsers: one of the definitions contains it."""


Loader.add_constructor("tag:yaml.org,2002:value", yaml.CSafeLoader.construct_yaml_str)


def load(path):
    return [document for document in yaml.load_all(Path(path).read_text(), Loader) if document]


def folder(version):
    return files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"


@functools.cache
def definitions(version):
    contents = json.loads((folder(version) / "_definitions.json").read_text())
    resource = Resource.from_contents(contents, default_specification=DRAFT202012)
    return Registry().with_resource("_definitions.json", resource)


@functools.cache
def builtin(version, name):
    """The validator of a kind or a part of one; None if this version does not have it."""
    path = folder(version) / f"{name}.json"
    if not path.is_file():
        return None
    return jsonschema.Draft202012Validator(json.loads(path.read_text()), registry=definitions(version))


def closed(schema):
    """The same schema, rejecting fields that it does not list."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {}
    for key, value in schema.items():
        # The keys of `properties` are field names, and one of them may be `properties`.
        result[key] = {name: closed(part) for name, part in value.items()} if key == "properties" else closed(value)
    if "properties" in result and not result.get(OPEN):
        result.setdefault("additionalProperties", False)
    return result


def custom(directories):
    """Validators by (apiVersion, kind), of all definitions in these folders."""
    found = {}
    for path in (path for directory in directories for path in sorted(Path(directory).glob("*.yaml"))):
        for crd in load(path):
            if crd.get("kind") != "CustomResourceDefinition":
                continue
            spec = crd["spec"]
            for version in spec["versions"]:
                schema = closed(version["schema"]["openAPIV3Schema"])
                schema["properties"]["metadata"] = {"type": "object"}  # checked like any object's
                name = f"{spec['group']}/{version['name']}", spec["names"]["kind"]
                found[name] = jsonschema.Draft202012Validator(schema)
    return found


def problems(document, crds):
    """All problems of one object."""
    api, kind = document["apiVersion"], document["kind"]
    if (api, kind) in crds:
        checks = [("CRD", crds[api, kind], document)]
        checks += [(v, builtin(v, "objectmeta-meta-v1"), document["metadata"]) for v in KUBERNETES]
    else:
        # rbac.authorization.k8s.io/v1 is called rbac-v1.
        name = f"{kind.lower()}-" + re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api)
        checks = [(v, builtin(v, name), document) for v in KUBERNETES]
    for version, validator, part in checks:
        if validator is None:
            yield f"{version}: no schema for {api} {kind}"
            continue
        for error in validator.iter_errors(part):
            yield f"{version}: {error.json_path}: {error.message[:300]}"


def mutations(documents):
    """Broken objects that must be rejected, each with a description of the change."""
    for document in documents:
        unknown = copy.deepcopy(document)
        unknown["nonsense"] = 1
        yield "an unknown top-level field", unknown
        meta = copy.deepcopy(document)
        meta["metadata"]["nonsense"] = 1
        yield "an unknown field in metadata", meta
        if isinstance(document.get("spec"), dict):
            deep = copy.deepcopy(document)
            at = deep["spec"]
            # As deep as nested objects with fixed fields go.
            for key in ("template", "spec", "containers", "advanced", "horizontalPodAutoscalerConfig", "behavior",
                        "podMetricsEndpoints", "groups", "rules", "ports"):
                if isinstance(at, dict) and key in at:
                    at = at[key][0] if isinstance(at[key], list) else at[key]
            at["nonsense"] = 1
            yield "an unknown field deep in spec", deep
            wrong = copy.deepcopy(document)
            wrong["spec"] = "text"
            yield "a string as spec", wrong


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--crds", nargs="+", required=True)
    arguments.add_argument("--manifests", nargs="+", required=True)
    arguments = arguments.parse_args()
    crds = custom(arguments.crds)
    failed = tried = 0
    every = []
    for path in arguments.manifests:
        documents = load(path)
        every += documents
        for document in documents:
            for problem in problems(document, crds):
                failed += 1
                print(f"{Path(path).name}: {document['kind']} {document['metadata']['name']}: {problem}")
        print(f"{Path(path).name}: {len(documents)} objects validated against Kubernetes {' and '.join(KUBERNETES)}")
    for what, document in mutations({(d["kind"], d["metadata"]["name"]): d for d in every}.values()):
        tried += 1
        if not any(True for _ in problems(document, crds)):
            failed += 1
            print(f"not rejected: {document['kind']} {document['metadata']['name']} with {what}")
    print(f"{tried} deliberately broken objects: all rejected" if not failed else f"{failed} problems")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
