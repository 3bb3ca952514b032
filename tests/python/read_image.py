"""What is in an OCI archive, as JSON. Fails where it isn't what the image specification asks for: `oci-layout`, one manifest in
`index.json`, and behind each descriptor a blob of that digest and size; no blob that nothing names.

Usage: read_image.py ARCHIVE
"""

import gzip
import hashlib
import io
import json
import struct
import sys
import tarfile

OCI = "application/vnd.oci.image."
KINDS = {tarfile.REGTYPE: "file", tarfile.DIRTYPE: "directory"}


def members(data):
    """(entry, content) of a tar, in its order."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        return [(entry, tar.extractfile(entry).read() if entry.isfile() else b"") for entry in tar]


def elf(data):
    """What a 64-bit program asks for: its interpreter, and libraries it needs."""
    order = "<" if data[5] == 1 else ">"
    offset, = struct.unpack_from(order + "Q", data, 32)
    size, count = struct.unpack_from(order + "HH", data, 54)
    found = {"machine": struct.unpack_from(order + "H", data, 18)[0], "interpreter": None, "libraries": 0}
    for number in range(count):
        kind, _, start, _, _, length = struct.unpack_from(order + "IIQQQQ", data, offset + number * size)
        part = data[start:start + length]
        if kind == 3:  # PT_INTERP
            found["interpreter"] = part.rstrip(b"\0").decode()
        if kind == 2:  # PT_DYNAMIC; tag 1 is DT_NEEDED
            found["libraries"] += sum(tag == 1 for tag, _ in struct.iter_unpack(order + "QQ", part))
    return found


def look(path):
    with open(path, "rb") as file:
        data = file.read()
    files = {}
    for entry, content in members(data):
        assert entry.isfile() and entry.name not in files, f"{entry.name}: no file, or twice"
        files[entry.name] = content
    assert json.loads(files.pop("oci-layout"))["imageLayoutVersion"] == "1.0.0"
    index = json.loads(files.pop("index.json"))
    assert index["schemaVersion"] == 2 and index["mediaType"] == OCI + "index.v1+json", index
    named = set()

    def blob(descriptor, kind):
        assert descriptor["mediaType"] == OCI + kind, descriptor
        algorithm, digest = descriptor["digest"].split(":")
        content = files["blobs/sha256/" + digest]
        assert (algorithm, digest) == ("sha256", hashlib.sha256(content).hexdigest()), descriptor
        assert descriptor["size"] == len(content), descriptor
        named.add("blobs/sha256/" + digest)
        return content

    entry, = index["manifests"]
    manifest = json.loads(blob(entry, "manifest.v1+json"))
    assert manifest["schemaVersion"] == 2 and manifest["mediaType"] == entry["mediaType"], manifest
    config = json.loads(blob(manifest["config"], "config.v1+json"))
    layers = [gzip.decompress(blob(layer, "layer.v1.tar+gzip")) for layer in manifest["layers"]]
    assert config["rootfs"]["type"] == "layers", config
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers], config
    assert len([step for step in config["history"] if not step.get("empty_layer")]) == len(layers), config
    assert named == set(files), f"named: {named}; there: {set(files)}"

    content = [[(entry, data) for entry, data in members(layer)] for layer in layers]
    return {
        "bytes": len(data),
        "name": entry["annotations"]["io.containerd.image.name"],
        "platform": entry["platform"],
        "annotations": manifest["annotations"],
        "config": config,
        "digests": [layer["digest"] for layer in manifest["layers"]],
        "layers": [
            [[entry.name, KINDS.get(entry.type, "other"), f"{entry.mode:04o}", f"{entry.uid}:{entry.gid}"] for entry, _ in layer]
            for layer in content
        ],
        "programs": {entry.name: elf(data) for layer in content for entry, data in layer if data[:5] == b"\x7fELF\2"},
        "certificates": {
            entry.name: data.count(b"-----BEGIN CERTIFICATE-----")
            for layer in content for entry, data in layer if entry.name.endswith(".crt")
        },
    }


json.dump(look(sys.argv[1]), sys.stdout)
