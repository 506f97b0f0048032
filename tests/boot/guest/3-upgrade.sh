# The third boot: generations outlive boots; then the host is upgraded.

a_generation_runs_after_a_reboot() {
  says 8085 'version 2'
  says 8086 'version 2'
  expect "web's unit" "$(is FragmentPath web)" /run/systemd/generator/web.service
  sysctr status
}

the_host_is_upgraded() {
  ostree --repo=/ostree/repo refs --create=host --force second || fail "moving the ref"
  ostree admin upgrade || fail "upgrade"
  ostree admin status
}

try a_generation_runs_after_a_reboot
try the_host_is_upgraded
