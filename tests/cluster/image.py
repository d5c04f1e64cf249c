#!/usr/bin/env python3
"""Makes an image without a container engine: an archive of a root directory that `ctr images import` accepts.

Use: image.py NAME ROOT CONFIG OUT.tar        CONFIG: {"Entrypoint": [...], "Cmd": [...], "User": "...", "Env": [...]}
"""
import hashlib, io, json, sys, tarfile

name, root, config, out = sys.argv[1:]
layer = io.BytesIO()
with tarfile.open(fileobj=layer, mode="w") as tar:
    def owned(info):
        info.mtime = 0
        return info
    tar.add(root, arcname=".", filter=owned)
layer = layer.getvalue()
image = {
    "architecture": "amd64", "os": "linux", "config": json.loads(config),
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
}
image = json.dumps(image).encode()
digest = hashlib.sha256(image).hexdigest()
manifest = [{"Config": digest + ".json", "RepoTags": [name], "Layers": ["layer.tar"]}]
with tarfile.open(out, "w") as tar:
    for path, data in [("layer.tar", layer), (digest + ".json", image), ("manifest.json", json.dumps(manifest).encode())]:
        info = tarfile.TarInfo(path)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
