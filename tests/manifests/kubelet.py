"""Creates a directory like the one that the kubelet mounts for the processor, from a rendered overlay; see `image`.

Its files are symbolic links through `..data`, which is swapped when a ConfigMap changes.

Use: kubelet.py RENDERED.YAML DIRECTORY
"""

import sys
from pathlib import Path

import yaml

documents = [document for document in yaml.safe_load_all(Path(sys.argv[1]).read_text()) if document]
configs = {d["metadata"]["name"]: d["data"] for d in documents if d["kind"] == "ConfigMap"}
(processor,) = [d for d in documents if (d["kind"], d["metadata"]["name"]) == ("StatefulSet", "funnelwatch")]
spec = processor["spec"]["template"]["spec"]
(volume,) = [volume for volume in spec["volumes"] if volume["name"] == "config"]

directory = Path(sys.argv[2])
(directory / "..version").mkdir(parents=True)
(directory / "..data").symlink_to("..version")
for source in volume["projected"]["sources"]:
    for name, text in configs[source["configMap"]["name"]].items():
        (directory / "..version" / name).write_text(text)
        (directory / name).symlink_to(f"..data/{name}")
