# A host that enforces its SELinux policy: the policy's own words about containers are obeyed, and it has nothing against ours.

journalctl() { /run/journalctl "$@"; }
the_host_enforces_its_policy() {
  expect enforce "$(cat /sys/fs/selinux/enforce)" 1
  expect "PID 1" "$(context 1)" system_u:system_r:init_t:s0
  expect "the rule" "$(grep -c '^/usr/lib/containers/atomic/' /etc/selinux/default/contexts/files/file_contexts.local)" 1
}
# has_started UNIT: or will not
has_started() { [ "$(is ActiveState "$1")" = active ] || [ "$(is NRestarts "$1")" -gt 0 ] || [ "$(is ActiveState "$1")" = failed ]; }
# context PID
context() { tr -d '\0' <"/proc/$1/attr/current"; }

containers_do_their_work() {
  local unit
  for unit in $units; do
    wait_for has_started "$unit"
    expect "$unit" "$(is ActiveState "$unit") $(is NRestarts "$unit")" "active 0"
  done
  says 8085 'version 1'
  says 8086 'version 1'
  sysctr exec shell touch /data/x /run/x /tmp/x || fail "a container can't write where it may"
  [ -e /var/lib/sysctr/shell/data/x ] || fail "the volume is elsewhere"
  expect "its own file" "$(cat /var/lib/sysctr/shell/data/began)" began
  expect "status text" "$(is StatusText ready)" "quite well"
  systemctl restart shell ready web || fail "restart"
  says 8085 'version 1'
}

payloads_are_in_a_context_of_containers() {
  local unit pid count=0
  for unit in $units; do
    for pid in $(payload "$unit"); do
      # crun in the foreground stands beside the payload.
      [ "$(cat "/proc/$pid/comm")" != crun ] || continue
      [[ $(context "$pid") = system_u:system_r:@(spc_t|container_t):s0* ]] || fail "$pid of $unit: $(context "$pid")"
      count=$((count + 1))
    done
  done
  echo "$count processes: $(for unit in $units; do for pid in $(payload "$unit"); do context "$pid"; echo; done; done | sort | uniq -c | tr -s ' \n' ' ')"
}

a_relabel_changes_nothing() {
  local changes
  # It also warns of places that no rule is about.
  changes=$(restorecon -n -v -R /usr /etc /run/sysctr /var/lib/sysctr /var/lib/containers 2>&1 | grep -v '^Warning no default label')
  [ -z "$changes" ] || fail "$changes"
}

an_update_runs() {
  # As the lines of tmpfiles.d do that belong to sysctr; with the launcher alone its directory has no label of its own.
  mkdir /var/lib/containers && restorecon /var/lib/containers && mkdir /var/lib/containers/atomic || fail "directories"
  sysctr update web --image oci:/run/boot-test/web2 || fail "update"
  says 8085 'version 2'
  payloads_are_in_a_context_of_containers
  sysctr rollback web || fail "rollback"
  says 8085 'version 1'
}

nothing_of_containers_was_denied() {
  local denied
  denied=$(denials | grep -E "sysctr|container|spc_t|runc|crun|[\"/]($(tr '\n' '|' <<<"$units")-)[\"/.]")
  [ -z "$denied" ] || fail "$denied"
  echo "$(denials | wc -l) denials of the host's own"
}
denials() { journalctl --no-pager -b -o cat | grep 'avc: *denied'; }

for name in the_host_enforces_its_policy containers_do_their_work payloads_are_in_a_context_of_containers an_update_runs \
  a_relabel_changes_nothing nothing_of_containers_was_denied; do
  try $name
done
