# A boot by the host image's own kernel: what does not depend on it was tried elsewhere.

the_kernel_is_debians() {
  expect kernel "$(uname -r)" "$(ls /usr/lib/modules)"
  [ ! -e /dev/ubda ] || fail "this is user-mode Linux"
}

containers_answer() {
  says 8085 'version 1'
  says 8086 'version 1'
  wait_for has_state early active
  before "early before sysinit" "$(up early)" "$(up sysinit.target)"
}

an_update_runs() {
  sysctr update web --image oci:/run/boot-test/web2 || fail "update"
  says 8085 'version 2'
  sysctr rollback web || fail "rollback"
  says 8085 'version 1'
}

for name in the_kernel_is_debians containers_answer an_update_runs; do try $name; done
