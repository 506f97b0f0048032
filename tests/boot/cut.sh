#!/usr/bin/env bash
# cut.sh UML DISK WORK MILLISECONDS [WORD]: boots DISK as uml.sh does, but behind a write cache that only the machine's own flushes empty, and
# cuts the power MILLISECONDS after WORD (default: GO) came by the report, or at once after the start for `START`: the cache is lost, what was
# flushed is on DISK.
set -euo pipefail
uml=$1 disk=$(realpath "$2") work=$(realpath "$3") milliseconds=$4 word=${5:-GO}
here=$(dirname "$(realpath "$0")")
mount=$work/cached
mkdir -p "$mount"
# The cache itself lies in $TMPDIR.
TMPDIR=$work nbdfuse "$mount/disk" --command nbdkit -s --filter=cache file "$disk" cache=writeback &
fuse=$!
machine=
clean_up() {
  [ -z "$machine" ] || kill -KILL -- "-$machine" 2>/dev/null || :
  fusermount3 -uz "$mount" 2>/dev/null || :
  wait "$fuse" 2>/dev/null || :
}
trap clean_up EXIT
for _ in $(seq 200); do
  [ ! -s "$mount/disk" ] || break
  sleep 0.05
done
[ -s "$mount/disk" ] || { echo "cut: nbdfuse does not show the disk" >&2; exit 1; }
server=
for child in $(cat "/proc/$fuse/task/"*/children); do [ "$(cat "/proc/$child/comm")" != nbdkit ] || server=$child; done
[ "$server" ] || { echo "cut: nbdkit is no child of nbdfuse" >&2; exit 1; }
: >"$work/report"
setsid bash "$here/uml.sh" "$uml" "$mount/disk" "$work" &
machine=$!
if [ "$word" != START ]; then
  until grep -q "^$word" "$work/report"; do
    kill -0 "$machine" 2>/dev/null || { echo "cut: the machine ended before it said $word" >&2; exit 1; }
    sleep 0.02
  done
fi
sleep "$((milliseconds / 1000)).$(printf %03d $((milliseconds % 1000)))"
kill -KILL "$server"
kill -KILL -- "-$machine" 2>/dev/null || :
