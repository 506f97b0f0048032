#!/usr/bin/env bash
# uml.sh UML DISK WORK: boots DISK, which keeps what is written to it, with user-mode Linux; what the boot loader said is in WORK/boot.*.
# The second disk is WORK/payload, if there is one. WORK/report, WORK/journal and WORK/console get what the machine says by its serial
# ports. TIME_LIMIT (seconds, default 2400) ends it from outside. LOGIN=yes: the console is this terminal. When the machine reboots it ends,
# too, and leaves WORK/rebooted: the boot loader's part is the caller's. FLUSHES=yes: those of the machine reach DISK.
set -euo pipefail
uml=$(realpath "$1") disk=$(realpath "$2") work=$(realpath "$3")
export HOME=$work
rm -f "$work/rebooted"
# At a reboot the kernel runs anew what it was called as: instead of itself, a program that says so.
call=(bash -c '[ -z "${FLUSHES:-}" ] || export LD_PRELOAD=$PWD/lib/flushes.so; exec -a "$0" ./linux.uml "$@"' "$(dirname "$(realpath "$0")")/rebooted.sh")
own=(mem="${MEMORY:-1024M}" "initrd=$work/boot.initrd" "ubd0=$disk" con=null seccomp=on TERM=dumb)
[ ! -e "$work/payload" ] || own+=("ubd1r=$work/payload")
read -rd "" -a options <"$work/boot.options" || :
cd "$uml"
if [ "${LOGIN:-}" ]; then exec "${call[@]}" "${own[@]}" con0=fd:0,fd:1 ssl=null "${options[@]}"; fi
exec timeout -k 5 "${TIME_LIMIT:-2400}" "${call[@]}" "${own[@]}" con0=null,fd:1 ssl0=null ssl1=null,fd:5 ssl2=null,fd:6 \
  "${options[@]}" quiet systemd.show_status=0 </dev/null 5>"$work/report" 6>"$work/journal" >"$work/console" 2>&1
