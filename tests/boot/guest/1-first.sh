# The first boot of a host: what is embedded runs, as its manifest says.

running=$(systemctl list-units --plain --no-legend --state=active --full $(sed 's/$/.service/' <<<"$units") | sed 's/\.service .*//')

daemons_answer_after_boot() {
  says 8080 'sysctr demo: this page comes from inside a read-only image'
  says 8081 'sysctr demo: hello from a container with four entries'
  says 8085 'version 1'
}

containers_start_in_their_phases() {
  local sysinit basic network var
  sysinit=$(up sysinit.target) basic=$(up basic.target) network=$(began marker-network) var=$(up var.mount)
  before "early before sysinit" "$(up early)" "$sysinit"
  before "early before the network" "$(up early)" "$network"
  # Where ostree-prepare-root mounts /var already, there is no time before it.
  [ "$(is InactiveExitTimestampMonotonic var.mount)" = 0 ] || before "early before /var" "$(began early)" "$var"
  before "its state before the sysinit one" "$(up systemd-remount-fs)" "$(began at-sysinit)"
  before "sysinit before sysinit.target" "$(up at-sysinit)" "$sysinit"
  before "basic after sysinit.target" "$sysinit" "$(began at-basic)"
  before "basic before basic.target" "$(up at-basic)" "$basic"
  before "default after basic.target" "$basic" "$(began hello)"
  echo "early $(up early), /var $var, sysinit.target $sysinit, network $network, basic.target $basic us"
}

usr_is_read_only() {
  touch /usr/x 2>&1 && fail "/usr can be written"
  touch /usr/lib/containers/atomic/shell/rootfs/x 2>&1 && fail "a root can be written"
  sysctr exec shell touch /x 2>&1 && fail "a container can write its root"
  sysctr exec shell touch /data/x || fail "a container can't write its volume"
  [ -e /var/lib/sysctr/shell/data/x ] || fail "the volume is elsewhere: $(find /var/lib/sysctr)"
}

containers_and_host_units_are_ordered() {
  before "a host unit, then the container" "$(up marker-before)" "$(began ordered)"
  before "the container, then a host unit" "$(up ordered)" "$(began marker-after)"
  before "a container, then a container" "$(up ordered)" "$(began follows)"
}

readiness_and_health_are_waited_for() {
  expect "status text" "$(is StatusText ready)" "quite well"
  local took
  took=$(($(up ready) - $(began ready)))
  [ "$took" -ge 700000 ] || fail "ready was up after $took us, before it said so"
  took=$(($(up checked) - $(began checked)))
  [ "$took" -ge 700000 ] || fail "checked was up after $took us, before its health"
  before "who needs it waits" "$(up checked)" "$(began after-checked)"
}

processes_are_in_their_units() {
  local unit pid pids elsewhere count=0
  for unit in $running; do
    pids=$(</sys/fs/cgroup/system.slice/$unit.service/payload/cgroup.procs) || fail "$unit has no payload cgroup"
    [ -n "$pids" ] || fail "no process of $unit: $(find "/sys/fs/cgroup/system.slice/$unit.service")"
    for pid in $pids; do
      [[ $(<"/proc/$pid/cgroup") = "0::/system.slice/$unit.service/payload"* ]] || fail "$pid of $unit: $(<"/proc/$pid/cgroup")"
    done
    count=$((count + 1))
  done
  elsewhere=$(find /sys/fs/cgroup -maxdepth 1 -type d -printf '%f\n' | grep -v -e '^cgroup$' -e '\.mount$' -e '\.slice$' -e '\.scope$')
  expect "cgroups beside those of systemd" "$elsewhere" ""
  echo "$count containers"
}

memory_limit_is_obeyed() {
  local dir events
  dir=$(group limited)
  expect memory.max "$(cat "$dir/memory.max")" 33554432
  ! sysctr exec limited sh -c 'head -c 100000000 /dev/zero | tail -n 1 | wc -c; test ${PIPESTATUS:-1} = 0' || :
  grep -q '^oom_kill 0' "$dir/memory.events" && fail "nobody was killed: $(cat "$dir/memory.events")"
  grep -H . "$dir/memory.events"
  wait_for has_state limited active
}

process_limit_is_obeyed() {
  local dir
  dir=$(group limited)/payload
  expect pids.max "$(cat "$dir/pids.max")" 64
  sysctr exec limited sh -c 'for i in $(seq 90); do sleep 1 & done; wait' 2>&1 | tail -n 2
  [ "$(sed -n 's/^max //p' "$dir/pids.events")" -gt 0 ] || fail "nobody was refused: $(cat "$dir/pids.events")"
  wait_for has_state limited active
}

a_full_container_stops_in_order() {
  local turn
  # It fills its own limit; then it is the unit that is full, as by a limit of the admin's.
  for turn in 1 2; do
    wait_for has_state full active
    wait_for said full filled "$turn"
    expect "its own limit" "$(cat "$(group full)"/payload/pids.{max,current} | tr '\n' ' ')" "40 40 "
    [ $turn = 1 ] || systemctl set-property --runtime full.service TasksMax=20 || fail "a limit of the admin's"
    systemctl stop full
    wait_for said full asked "$turn"
    expect "how it ended" "$(is ExecMainCode full) $(is ExecMainStatus full)" "1 0"
    [ $turn != 1 ] || expect "the unit" "$(is ActiveState full) $(is Result full)" "inactive success"
    systemctl reset-failed full 2>/dev/null
    systemctl start full || fail "start of full"
  done
  ! journalctl --no-pager -o cat -u full | sed 1q | grep "temporarily unavailable" || fail "no room for a stop"
}
# said UNIT TEXT COUNT: so many lines of the unit's are that
said() { [ "$(journalctl --no-pager -o cat -t "$1" | grep -cx "$2")" = "$3" ]; }

cpu_limit_is_set() {
  expect cpu.max "$(cat "$(group limited)/cpu.max")" "50000 100000"
}

# Up is the unit before its payload said anything.
has_said() { journalctl --no-pager -o cat -t "$1" | grep "^open=$2:"; }

devices_are_closed() {
  expect policy "$(is DevicePolicy denied) $(is DevicePolicy allowed)" "closed closed"
  for try in denied:'Operation not permitted' allowed:ok; do
    wait_for has_said "${try%:*}" /dev/null
    expect "what ${try%:*} gets" "$(has_said "${try%:*}" /dev/kmsg | tail -n 1)" "open=/dev/kmsg: ${try#*:}"
    expect "what ${try%:*} gets" "$(has_said "${try%:*}" /dev/null | tail -n 1)" "open=/dev/null: ok"
  done
}

a_stop_leaves_nothing() {
  local unit pids pid dir
  for unit in hello ready checked; do
    pids=$(members "$unit") dir=$(group "$unit")
    systemctl stop "$unit" || fail "stop of $unit"
    expect "$unit" "$(is ActiveState "$unit") $(is Result "$unit")" "inactive success"
    for pid in $pids; do [ ! -e "/proc/$pid" ] || fail "$pid of $unit still runs"; done
    [ ! -e "$dir" ] || fail "$dir is left"
    [ -z "$(ls -A "/run/sysctr/$unit" "/run/sysctr/runtime/$unit" 2>/dev/null)" ] || fail "left: $(find /run/sysctr)"
    ! grep "containers/atomic/$unit" /proc/self/mountinfo || fail "a mount is left"
    systemctl start "$unit" || fail "start of $unit"
  done
}

a_crash_is_followed_by_a_restart() {
  local unit first
  # SIGKILL is also hello's stop signal.
  for unit in many-10 ready hello; do
    first=$(payload "$unit" | head -n 1)
    kill -KILL $(payload "$unit")
    wait_for restarted "$unit" 1
    [ "$(payload "$unit" | head -n 1)" != "$first" ] || fail "$unit has the same process"
  done
  wait_for fetch 7110
}

a_stale_state_hinders_nothing() {
  local restarts pids pid
  # The runtime is killed, its state stays and its payload, too.
  restarts=$(is NRestarts ready) pids=$(payload ready)
  kill -KILL "$(is MainPID ready)"
  wait_for restarted ready $((restarts + 1))
  for pid in $pids; do [ ! -e "/proc/$pid" ] || fail "the payload outlived its runtime"; done
  # A runtime was killed before it wrote its state.
  systemctl stop hello
  mkdir -p /run/sysctr/runtime/hello
  systemctl start hello || fail "start over a stale state"
  says 8081 'sysctr demo: hello from a container with four entries'
}

host_files_and_tmpfiles_are_in_place() {
  expect "a host file" "$(cat /etc/wanted/app.conf)" "name = wanted"
  expect "its mode" "$(stat -c %a:%u:%g /etc/wanted/app.conf)" 640:0:0
  expect "a seed in /var" "$(cat /var/lib/wanted-state/seed) $(stat -c %a:%u:%g /var/lib/wanted-state/seed)" "seed 600:7:8"
  expect "a program in /var" "$(/var/lib/wanted-state/tool)" "a tool of the image"
  expect "a unit of the image" "$(is ActiveState wanted-helper) $(cat /run/helper)" "active helped"
  expect "its state" "$(cat /var/lib/wanted/written)" x
  expect "its directory in /run" "$(stat -c %a /run/wanted)" 700
  wait_for fetch 8090
}

twenty_start_at_once() {
  local n first=0 last=0 key value
  for n in $(seq 10 29); do wait_for fetch "71$n"; done
  while IFS== read -r key value; do
    case $key in
      NRestarts) expect restarts "$value" 0 ;;
      InactiveExitTimestampMonotonic) [ $first != 0 ] && [ $first -le "$value" ] || first=$value ;;
      ActiveEnterTimestampMonotonic) [ $last -ge "$value" ] || last=$value ;;
    esac
  done < <(systemctl show -p NRestarts,InactiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic $(seq -f 'many-%.0f' 10 29))
  [ $first -gt 0 ] || fail "no times"
  echo "from the first one's begin to the last one's being up: $(seconds $((last - first))) s"
}

boot_complete_waits_for_the_essential() {
  wait_for has_state boot-complete.target active
  before "the essential, then the target" "$(up essential)" "$(up boot-complete.target)"
  [ $(($(up essential) - $(began essential))) -ge 900000 ] || fail "its health was not waited for"
}

blame_tells_each_step() {
  local name unit launcher bundle runtime process ready took count=0
  while read -r name unit launcher bundle runtime process ready took; do
    [ "$name" != NAME ] || continue
    grep -qx "$name" <<<"$running" || fail "$name does not run"
    printf '%s\n' "$unit" "$launcher" "$bundle" "$runtime" "$process" "$ready" | sort -c -n || fail "$name: $unit $launcher $bundle $runtime $process $ready"
    count=$((count + 1))
  done < <(sysctr blame)
  expect containers "$count" "$(wc -w <<<"$running")"
}

nothing_failed() {
  expect "failed units" "$(systemctl --failed --no-legend --plain | cut -d' ' -f1)" ""
}

# The same program as a container, as an ordinary service and, where there is podman, as a quadlet: started five times in turn, when nothing
# else begins. Nothing is judged but that all answer.
other_ways_to_run_it_answer() {
  local ways="many-10:7110 plain:7130" way unit port round begin
  [ ! -e /usr/share/containers/systemd/quadlet.container ] || ways+=" quadlet:7131"
  for way in $ways; do wait_for fetch "${way#*:}"; done
  for round in 1 2 3 4 5; do
    for way in $ways; do
      unit=${way%:*} port=${way#*:}
      systemctl stop "$unit" || fail "stop of $unit"
      systemctl reset-failed "$unit" 2>/dev/null
      begin=${EPOCHREALTIME/./}
      systemctl start "$unit" || fail "start of $unit"
      until fetch "$port" >/dev/null 2>&1; do has_state "$unit" active || fail "$unit has ended"; done
      echo "alone $unit $(seconds $((${EPOCHREALTIME/./} - begin))) $(seconds $(($(up "$unit") - $(began "$unit"))))"
    done
  done
}

for name in daemons_answer_after_boot containers_start_in_their_phases usr_is_read_only containers_and_host_units_are_ordered \
  readiness_and_health_are_waited_for processes_are_in_their_units memory_limit_is_obeyed process_limit_is_obeyed a_full_container_stops_in_order cpu_limit_is_set \
  devices_are_closed boot_complete_waits_for_the_essential twenty_start_at_once blame_tells_each_step nothing_failed a_stop_leaves_nothing \
  a_crash_is_followed_by_a_restart a_stale_state_hinders_nothing host_files_and_tmpfiles_are_in_place other_ways_to_run_it_answer; do
  try $name
  [ $name != blame_tells_each_step ] || {
    sysctr blame | sed 's/^/@ /'
    for unit in plain quadlet; do
      [ "$(is ActiveState $unit)" = inactive ] || echo "@ ($unit) $(seconds "$(began $unit)") - - -" \
        "$(seconds "$(is ExecMainStartTimestampMonotonic $unit)") $(seconds "$(up $unit)") $(seconds $(($(up $unit) - $(began $unit))))"
    done
  }
done
echo "ostree: $(ostree --version | sed -n "s/.*Version: '\(.*\)'/\1/p"), $(systemctl --version | head -n 1), $(runc --version | head -n 1), $(uname -r)"
cat /proc/sys/kernel/random/boot_id >$stage_file
