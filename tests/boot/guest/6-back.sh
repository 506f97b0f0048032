# The last boot is of the entry before the default one: the second host image, with what its /etc knows.

a_host_rollback_brings_back_containers() {
  says 8085 'version 3'
  says 8086 'version 2'
  wait_for has_state boot-complete.target active
  expect "failed units" "$(systemctl --failed --no-legend --plain | cut -d' ' -f1)" ""
  sysctr status
}

try a_host_rollback_brings_back_containers
