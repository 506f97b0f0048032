#!/usr/bin/env bash
# cut.sh DISK WORK MILLISECONDS WORD COMMAND…: boots DISK by COMMAND DISK WORK (uml.sh, qemu.sh), but behind a write cache that only the
# machine's own flushes empty, and cuts the power MILLISECONDS after WORD came by the report, or after the start for `START`: the cache is
# lost, what was flushed is on DISK.
set -euo pipefail
disk=$(realpath "$1") work=$(realpath "$2") milliseconds=$3 word=$4
shift 4
mount=$work/cached
mkdir -p "$mount"
# The cache itself lies in $TMPDIR.
TMPDIR=$work nbdfuse "$mount/disk" --command nbdkit -s --filter=cache file "$disk" cache=writeback &
fuse=$!
machine=
# User-mode Linux leaves group and session: all descendants, from the oldest.
end() {
  local child children
  children=$(cat "/proc/$1/task/"*/children 2>/dev/null) || :
  kill -KILL "$1" 2>/dev/null || :
  for child in $children; do end "$child"; done
}
clean_up() {
  [ -z "$machine" ] || end "$machine"
  fusermount3 -uz "$mount" 2>/dev/null || :
  wait "$fuse" 2>/dev/null || :
}
trap clean_up EXIT
until [ -s "$mount/disk" ]; do
  kill -0 "$fuse" 2>/dev/null || { echo "cut: nbdfuse ended before it showed the disk" >&2; exit 1; }
  sleep 0.05
done
server=
for child in $(cat "/proc/$fuse/task/"*/children); do [ "$(cat "/proc/$child/comm")" != nbdkit ] || server=$child; done
[ "$server" ] || { echo "cut: nbdkit is no child of nbdfuse" >&2; exit 1; }
: >"$work/report"
"$@" "$mount/disk" "$work" &
machine=$!
if [ "$word" != START ]; then
  until grep -q "^$word" "$work/report"; do
    kill -0 "$machine" 2>/dev/null || { echo "cut: the machine ended before it said $word" >&2; exit 1; }
    sleep 0.02
  done
fi
sleep "$((milliseconds / 1000)).$(printf %03d $((milliseconds % 1000)))"
kill -KILL "$server"
end "$machine"
