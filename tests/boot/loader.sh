#!/usr/bin/env bash
# loader.sh DISK OUT [N]: what a boot loader would read from a disk: the entry with the highest version, or the Nth after it. Leaves
# OUT.initrd, OUT.linux and OUT.options.
set -euo pipefail
disk=$1 out=$2 which=$((${3:-0} + 1))
e2fsck -fp "$disk" >/dev/null 2>&1 || [ $? -le 1 ]
inside() { debugfs -R "$1" "$disk" 2>/dev/null; }
link=$(inside 'stat /boot/loader' | sed -n 's/.*Fast link dest: "\(.*\)"/\1/p')
entries=/boot/${link:-loader}/entries
entry=$(inside "ls -p $entries" | grep -o '[^/]*\.conf' | sort -rV | sed -n "${which}p")
[ "$entry" ] || { echo "loader: there is no entry $which in $entries" >&2; exit 1; }
inside "cat $entries/$entry" >"$out.entry"
sed -n 's/^options //p' "$out.entry" >"$out.options"
for what in linux initrd; do
  path=$(sed -n "s/^$what //p" "$out.entry")
  inside "dump /boot/${path#/} $out.$what"
  [ -s "$out.$what" ] || { echo "loader: $path of $entry is not there" >&2; exit 1; }
done
