#!/usr/bin/env bash
# Shared by the scripts of the test cluster: where its parts are. Sourcing it does nothing else.

cluster_home=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
repo=$(realpath "$cluster_home/../..")
# Programs and images, kept between runs.
made=$(realpath -m "${CARGO_TARGET_DIR:-$repo/target}/cluster")
# A running cluster; deleted with it.
running=$made/running
kubernetes=v1.34.4
# The versions that tests/manifests checks the manifests against.
keda=v2.20.2
prometheus_operator=v0.85.0

log() { printf 'cluster: %s\n' "$*" >&2; }
die() { log "$*"; exit 1; }
# inside COMMAND…: runs a command in the namespaces of the cluster, which has its own view of mounts, network and processes.
inside() {
    PATH=$made/bin:$PATH KUBECONFIG=$running/pki/admin PYTHONPATH=$made/python \
        nsenter -t "$(<"$running/pid")" -m -n -u -i -p -C --wdns="$PWD" -- "$@"
}
