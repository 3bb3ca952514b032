#!/usr/bin/env python3
"""Makes an image of one layer out of files, without a container engine.

    image.py NAME:TAG OUT.tar ENTRYPOINT FILE[=PATH]…

FILE becomes PATH in the image (default: / and its name), mode 0755, owner 0. The same input gives the same bytes. A cluster
takes it by `tests/cluster/enter.sh ctr images import OUT.tar`.
"""
import gzip
import hashlib
import io
import json
import os
import platform
import sys
import tarfile

# What images call a machine.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def add(tar, name, data, mode):
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    tar.addfile(info, io.BytesIO(data))


def packed(entries):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data, mode in entries:
            add(tar, name, data, mode)
    return buffer.getvalue()


def main(name, out, entrypoint, *files):
    entries = []
    for spec in files:
        source, _, path = spec.partition("=")
        with open(source, "rb") as f:
            entries.append(((path or os.path.basename(source)).lstrip("/"), f.read(), 0o755))
    layer = packed(entries)
    blobs = {}

    def blob(media_type, data):
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data)}

    oci = "application/vnd.oci.image."
    config = {
        "architecture": ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": {"Entrypoint": [entrypoint], "User": "65532:65532", "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
    }
    manifest = {
        "schemaVersion": 2, "mediaType": oci + "manifest.v1+json",
        "config": blob(oci + "config.v1+json", json.dumps(config).encode()),
        "layers": [blob(oci + "layer.v1.tar+gzip", gzip.compress(layer, 6, mtime=0))],
    }
    entry = blob(oci + "manifest.v1+json", json.dumps(manifest).encode())
    entry["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    index = {"schemaVersion": 2, "mediaType": oci + "index.v1+json", "manifests": [entry]}
    with open(out, "wb") as f:
        f.write(packed(
            [("oci-layout", b'{"imageLayoutVersion":"1.0.0"}', 0o644), ("index.json", json.dumps(index).encode(), 0o644)]
            + [("blobs/sha256/" + digest, data, 0o644) for digest, data in blobs.items()]))


if __name__ == "__main__":
    main(*sys.argv[1:])
