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

# The deployment that boots next has its copy of /etc already, and /sysroot is mounted read-only: people are told to deploy it again.
an_update_with_a_host_update_pending() {
  local said
  sysctr unhold kept || fail "unhold"
  said=$(sysctr update kept --image oci:/run/boot-test/web3 2>&1) || fail "update: $said"
  echo "$said"
  says 8086 'version 3'
  sysctr hold kept || fail "hold"
  grep -q 'boots next, was made before this change' <<<"$said" || fail "that was not told"
  ostree admin deploy --os=testos host || fail "deploying it again"
  sysctr hold kept
}

try a_generation_runs_after_a_reboot
try the_host_is_upgraded
try an_update_with_a_host_update_pending
