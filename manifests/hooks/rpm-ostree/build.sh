#!/bin/sh
# build.sh TREEFILE REPO: rpm-ostree's compose in its three steps, with the containers between the second and the third.
# In the current directory: containers.toml, images/. The tree is made in ./tree, which must not exist.
set -eu
treefile=$1 repo=$2
rpm-ostree compose install --unified-core --cachedir=cache --repo="$repo" "$treefile" tree
rpm-ostree compose postprocess tree/rootfs "$treefile"
sysctr-compose --sysroot tree/rootfs --manifest containers.toml --add-launcher "$(command -v sysctr)"
rpm-ostree compose commit --repo="$repo" "$treefile" tree/rootfs
