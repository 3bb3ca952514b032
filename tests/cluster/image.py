#!/usr/bin/env python3
"""Makes an image out of files, without a container engine: an OCI archive.

    image.py [--label KEY=VALUE]… NAME:TAG OUT.tar ENTRYPOINT FILE[=PATH[:MODE]]…

FILE becomes PATH in the image (default: / and its name; mode 0755; owner 0), in a layer of its own together with the directories
above it, as a COPY of a Dockerfile would make it. Files that seldom change come first. Labels become annotations, too. The
image runs as 65532:65532 in /; what machine it is for says the ELF header of its first program.

The same input gives the same bytes, as long as zlib does. All times are $SOURCE_DATE_EPOCH, by default 0. A cluster takes the
archive by `tests/cluster/enter.sh ctr images import OUT.tar`.
"""
import argparse
import gzip
import hashlib
import io
import json
import os
import platform
import re
import sys
import tarfile
import time

USER = "65532:65532"
EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH") or 0)
OCI = "application/vnd.oci.image."
# What images call a machine: by its number in an ELF header, and by what the kernel calls this one.
ELF_MACHINES = {62: "amd64", 183: "arm64"}
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def packed(entries, mtime=0):
    """A tar of (path, content, mode); a directory has no content but None."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data, mode in entries:
            info = tarfile.TarInfo(name)
            info.mode, info.mtime = mode, mtime
            if data is None:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            else:
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def file_of(spec):
    """(path, content, mode) of FILE[=PATH[:MODE]]."""
    source, _, path = spec.partition("=")
    mode = 0o755
    if found := re.search(r":(0[0-7]{3})$", path):
        path, mode = path[:found.start()], int(found[1], 8)
    with open(source, "rb") as f:
        return (path or os.path.basename(source)).lstrip("/"), f.read(), mode


def layer_of(path, data, mode):
    parts = path.split("/")
    above = ["/".join(parts[:count]) for count in range(1, len(parts))]
    return packed([(directory, None, 0o755) for directory in above] + [(path, data, mode)], EPOCH)


def architecture(contents):
    for data in contents:
        if data[:4] == b"\x7fELF":
            machine = int.from_bytes(data[18:20], "big" if data[5] == 2 else "little")
            if machine not in ELF_MACHINES:
                sys.exit(f"image.py: a program is for the machine {machine} of ELF; known are {ELF_MACHINES}")
            return ELF_MACHINES[machine]
    return ARCHITECTURES[platform.machine()]


def image(name, entrypoint, files, labels):
    """The archive's content."""
    blobs = {}

    def blob(kind, data):
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": OCI + kind, "digest": "sha256:" + digest, "size": len(data)}

    def document(kind, value):
        return blob(kind, json.dumps(value).encode())

    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(EPOCH))
    layers = [layer_of(*file) for file in files]
    config = {
        "created": created,
        "architecture": architecture(data for _, data, _ in files),
        "os": "linux",
        "config": {"User": USER, "Entrypoint": [entrypoint], "WorkingDir": "/", "Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers]},
        "history": [{"created": created, "created_by": f"COPY /{path}"} for path, _, _ in files],
    }
    if not labels:
        del config["config"]["Labels"]
    manifest = {
        "schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
        "config": document("config.v1+json", config),
        "layers": [blob("layer.v1.tar+gzip", gzip.compress(layer, 6, mtime=0)) for layer in layers],
    }
    if labels:
        manifest["annotations"] = labels
    entry = document("manifest.v1+json", manifest)
    entry["platform"] = {"architecture": config["architecture"], "os": "linux"}
    entry["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    index = {"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": [entry]}
    return packed(
        [("oci-layout", b'{"imageLayoutVersion":"1.0.0"}', 0o644), ("index.json", json.dumps(index).encode(), 0o644)]
        + [("blobs/sha256/" + digest, data, 0o644) for digest, data in blobs.items()])


def main():
    parser = argparse.ArgumentParser(description="Makes an OCI archive out of files; see the top of this file.")
    parser.add_argument("--label", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("name", metavar="NAME:TAG")
    parser.add_argument("out", metavar="OUT.tar")
    parser.add_argument("entrypoint", metavar="ENTRYPOINT")
    parser.add_argument("files", nargs="+", metavar="FILE[=PATH[:MODE]]")
    arguments = parser.parse_args()
    labels = dict(sorted(label.split("=", 1) for label in arguments.label))
    data = image(arguments.name, arguments.entrypoint, [file_of(spec) for spec in arguments.files], labels)
    # Whoever finds the archive may trust that all of it is there.
    unfinished = arguments.out + ".unfinished"
    with open(unfinished, "wb") as f:
        f.write(data)
    os.replace(unfinished, arguments.out)


if __name__ == "__main__":
    main()
