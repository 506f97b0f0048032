#!/bin/sh
# A treefile's postprocess-script: see host.yaml, which brings what it uses. It runs with / = the tree, no network, no host.
set -eu
build=/usr/libexec/sysctr-build
# / itself is the sandbox's, in memory; what is composed lies below /usr and /etc, which are the tree's.
"$build/sysctr-compose" --sysroot / --manifest "$build/containers.toml" --add-launcher "$build/sysctr"
rm -r "$build"
