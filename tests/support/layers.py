"""layers.py named LAYOUT: paths of the flattened image that an entry of some layer names, each with a NUL behind it.
layers.py layers LAYOUT: the files of its layers.

The layout holds one image with gzip layers. A path counts as named if the entry that names it is the one that shaped what
lies there in the end: a whiteout, or another type of entry in a higher layer, makes it forgotten."""

import json
import os
import sys
import tarfile

layout = sys.argv[2]


def blob(descriptor):
    return os.path.join(layout, "blobs", descriptor["digest"].replace(":", "/"))


def layers():
    with open(os.path.join(layout, "index.json")) as file:
        (entry,) = json.load(file)["manifests"]
    with open(blob(entry)) as file:
        return [blob(layer) for layer in json.load(file)["layers"]]


def clean(name):
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def parents(path):
    while "/" in path:
        path = path.rsplit("/", 1)[0]
        yield path


def forget(named, path, itself):
    for other in [other for other in named if other.startswith(path + "/") or (itself and other == path)]:
        del named[other]


def apply(named, file):
    added = {}
    with tarfile.open(file, "r:gz", encoding="utf-8", errors="surrogateescape") as tar:
        for entry in tar:
            path = clean(entry.name)
            parent, _, base = path.rpartition("/")
            if base == ".wh..wh..opq":
                forget(named, parent, False)
            elif base.startswith(".wh."):
                forget(named, f"{parent}/{base[4:]}".lstrip("/"), True)
            else:
                forget(added, path, True) if not entry.isdir() else None
                added[path] = entry.isdir()
    for path, is_directory in added.items():
        if not is_directory:
            forget(named, path, True)
        for parent in parents(path):
            if named.get(parent) is False:
                del named[parent]
    named.update(added)


def main():
    if sys.argv[1] == "layers":
        paths = layers()
    else:
        named = {}
        for layer in layers():
            apply(named, layer)
        paths = named
    for path in paths:
        sys.stdout.buffer.write(path.encode("utf-8", "surrogateescape") + b"\0")


main()
