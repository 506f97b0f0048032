# The fourth boot is of the second host image: it has another web and another kept, and hello no longer.

a_host_update_supersedes() {
  says 8085 'version 5'
  expect web "$(active web)" "embedded superseded"
  expect "web's unit" "$(realpath "$(is FragmentPath web)")" /usr/lib/systemd/system/web.service
  expect hello "$(is LoadState hello)" not-found
}

a_held_generation_stays() {
  says 8086 'version 3'
  case $(active kept) in 'kept.'*' held') ;; *) fail "$(active kept)" ;; esac
}

an_update_on_the_new_host() {
  sysctr update web --image oci:/run/boot-test/web3 || fail "update"
  says 8085 'version 3'
}

a_broken_essential_keeps_boot_complete_away() {
  ostree --repo=/ostree/repo refs --create=host --force third || fail "moving the ref"
  ostree admin upgrade || fail "upgrade"
  # This host's essential one is whole.
  wait_for has_state boot-complete.target active
}

for name in a_host_update_supersedes a_held_generation_stays an_update_on_the_new_host a_broken_essential_keeps_boot_complete_away; do
  try $name
done
