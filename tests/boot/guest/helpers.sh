# try NAME: runs the function NAME in a shell of its own and reports how it ended, with what it said.
try() {
  local name=$1 begin=$EPOCHREALTIME text result=ok
  text=$(set -u; "$name" 2>&1) || result=FAILED
  printf '= %s %s %s\n' "$name" "$result" "$(seconds $((${EPOCHREALTIME/./} - ${begin/./})))"
  [ -z "$text" ] || sed 's/^/| /' <<<"$text"
}
# seconds MICROSECONDS
seconds() { printf '%d.%03d' $(($1 / 1000000)) $(($1 / 1000 % 1000)); }
# began UNIT, up UNIT: microseconds since the kernel's start, of the unit's start and of its being up
began() { is InactiveExitTimestampMonotonic "$1"; }
up() { is ActiveEnterTimestampMonotonic "$1"; }
# before WHAT A B: time A is known and not later than B
before() { [ "$2" -gt 0 ] && [ "$2" -le "$3" ] || fail "$1: $2 is not before $3"; }
# As in all machines, but a busy one is given a quarter of an hour.
wait_for() {
  local end=$((SECONDS + 900))
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || fail "no: $*"
    sleep 0.05
  done
}
# answers PORT LINE: the server's last line is that; says: within ten seconds
answers() { [ "$(fetch "$1" | tail -n 1)" = "$2" ]; }
says() { wait_for answers "$1" "$2"; }
# active NAME: what the next start runs, and why
active() { sysctr status --format json "$1" | tr -d '\n' | sed 's/.*"active": "\([^"]*\)".*"why": "\([^"]*\)".*/\1 \2/'; }
# payload UNIT: the processes of the container
payload() { cat "$(group "$1")/payload/cgroup.procs" 2>/dev/null; }
restarted() { [ "$(is NRestarts "$1")" -ge "$2" ] && has_state "$1" active; }
# The boot that was here before.
stage_file=/var/lib/boot-test
# What is embedded.
units=$(ls /usr/lib/containers/atomic | grep -v embedded.json)
