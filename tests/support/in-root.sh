#!/usr/bin/env bash
# in-root.sh ROOT SCRIPT [NAME=VALUE…]: runs the shell script SCRIPT as the running host would run things, without a boot:
# in namespaces of its own (mount, network, process IDs, IPC, host name), whose root is a read-only bind mount of ROOT with
# empty /run, /var and /tmp in memory. Whatever it starts ends with it; nothing of it is seen outside but its cgroups.
set -euo pipefail
root=$(realpath "$1") script=$(realpath "$2")
shift 2
exec env -i "$@" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin ROOT="$root" SCRIPT="$script" \
  unshare --mount --net --pid --ipc --uts --fork --kill-child --propagation private bash -euo pipefail -c '
    at=$(mktemp -d)
    mount --bind "$ROOT" "$at"
    mount -o remount,bind,ro "$at"
    mount -t tmpfs -o mode=755 tmpfs "$at/run"
    mount -t tmpfs -o mode=755 tmpfs "$at/var"
    mount -t tmpfs -o mode=1777 tmpfs "$at/tmp"
    mount -t proc proc "$at/proc"
    mount --rbind /dev "$at/dev"
    mount --rbind /sys "$at/sys"
    # crun refuses hybrid hierarchies; without the unified one it sees an ordinary first version.
    if [ -n "${NO_UNIFIED:-}" ] && mountpoint -q "$at/sys/fs/cgroup/unified"; then umount "$at/sys/fs/cgroup/unified"; fi
    ip link set lo up
    hostname host
    cp "$SCRIPT" "$at/run/script"
    mkdir -p "$at/var/lib" "$at/var/tmp"
    # Not only chroot: a runtime that enters a container later takes the root of its mount namespace.
    cd "$at"
    pivot_root . .
    umount -l .
    exec chroot . /bin/bash -euo pipefail /run/script
  '
