#!/usr/bin/env bash
# Shared functions of the checks of the image and the manifests: installs their tools into target/manifests and renders
# the overlays. Sourcing it does nothing.

cluster_home=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
repo=$(realpath "$cluster_home/../..")
cache=$repo/target/manifests
overlays=(base overlays/laptop overlays/production overlays/gateway overlays/notify)

kustomize_version=v5.8.1
keda_version=v2.20.2
prometheus_operator_version=v0.85.0

log() { printf 'cluster: %s\n' "$*" >&2; }
die() { log "$*"; exit 1; }

# install: installs the tools; sets `kustomize`, `python`, `tools` (Python programs) and `crds` (folders of
# definitions).
install() {
    local versions stamp program
    for program in go python3 flock; do
        command -v "$program" >/dev/null || die "$program is required"
    done
    mkdir -p "$cache"
    versions=$(cat "$cluster_home/requirements.txt" - <<<"$kustomize_version" | sha256sum)
    stamp=$cache/installed
    (
        flock 9
        [[ $(cat "$stamp" 2>/dev/null) == "$versions" ]] && exit 0
        log "installing kustomize $kustomize_version and Python packages into ${cache#"$repo"/}"
        rm -rf "$cache/python" "$stamp"
        GOBIN=$cache/bin go install "sigs.k8s.io/kustomize/kustomize/v5@$kustomize_version"
        python3 -m venv "$cache/python"
        "$cache/python/bin/pip" install -q --disable-pip-version-check --no-deps -r "$cluster_home/requirements.txt"
        printf '%s\n' "$versions" >"$stamp"
    ) 9>"$cache/lock" >&2
    kustomize=$cache/bin/kustomize
    tools=$cache/python/bin
    python=$tools/python
    crds=(
        "$(module "github.com/kedacore/keda/v2@$keda_version")/config/crd/bases"
        "$(module "github.com/prometheus-operator/prometheus-operator@$prometheus_operator_version")/example/prometheus-operator-crd"
    )
}

# module NAME@VERSION: the source folder of a Go module, downloaded if it is missing; Go verifies the checksum.
module() {
    go mod download -json "$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])'
}

# render: renders every overlay into $cache/rendered; sets `rendered` to the files.
render() {
    local overlay
    mkdir -p "$cache/rendered"
    rendered=()
    for overlay in "${overlays[@]}"; do
        "$kustomize" build "$repo/k8s/$overlay" >"$cache/rendered/${overlay##*/}.yaml" || die "k8s/$overlay does not render"
        rendered+=("$cache/rendered/${overlay##*/}.yaml")
    done
}
