#!/usr/bin/env bash
# boot.sh ROOT WORK [nspawn's arguments…]: boots ROOT, read-only with /var in memory, by its own systemd as PID 1. WORK/script runs
# as a unit when multi-user.target is reached; WORK/report gets what it prints, WORK/exit its exit status, WORK/journal the
# machine's journal; then the machine powers off. TIME_LIMIT (seconds, default 60) ends it from outside. STATE=kept: ROOT is written
# to, and /var is whatever the arguments say.
#
# The machine's cgroups lie below one of our own: where both cgroup versions are mounted, in the unified hierarchy for the machine
# and in the named one so that nspawn leaves the root alone. No machined, no D-Bus of ours is asked.
set -euo pipefail
root=$(realpath "$1") work=$(realpath "$2")
shift 2
name=sysctr-boot-$$ groups=()
clean_up() {
  local group
  for group in "${groups[@]}"; do
    echo $$ >"${group%/*}/cgroup.procs" || :
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || :
  done
}
trap clean_up EXIT
hierarchies=(/sys/fs/cgroup)
[ -e /sys/fs/cgroup/cgroup.controllers ] || hierarchies=(/sys/fs/cgroup/unified /sys/fs/cgroup/systemd)
for hierarchy in "${hierarchies[@]}"; do
  [ -d "$hierarchy" ] || continue
  mkdir "$hierarchy/$name"
  groups+=("$hierarchy/$name")
  echo $$ >"$hierarchy/$name/cgroup.procs"
done

: >"$work/report"
cat >"$work/boot-test.service" <<'END'
[Unit]
Description=What the test wants to know
After=multi-user.target
[Service]
Type=oneshot
StandardOutput=append:/run/boot-test/report
StandardError=append:/run/boot-test/report
TimeoutStartSec=infinity
ExecStart=/bin/bash -u /run/boot-test/script
ExecStopPost=/bin/bash -c 'journalctl --no-pager -o short-monotonic >/run/boot-test/journal 2>&1; echo "$EXIT_STATUS" >/run/boot-test/exit; systemctl --quiet --no-block poweroff -ff >/dev/null 2>&1'
END
state=(--read-only --tmpfs=/var:mode=755)
[ "${STATE:-}" != kept ] || state=()
# Not `exec`: the trap has to clean up.
SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 timeout -k 5 "${TIME_LIMIT:-60}" systemd-nspawn --quiet --register=no --keep-unit \
  --machine="$name" --directory="$root" "${state[@]}" --private-network --link-journal=no --console=pipe \
  --capability=all --system-call-filter='@known bpf keyctl add_key request_key perf_event_open' \
  --bind="$work:/run/boot-test" --bind-ro="$work/boot-test.service:/run/systemd/system/boot-test.service" "$@" \
  --boot systemd.wants=boot-test.service systemd.show_status=0 systemd.mask=console-getty.service systemd.mask=systemd-logind.service \
  </dev/null >"$work/console" 2>&1
