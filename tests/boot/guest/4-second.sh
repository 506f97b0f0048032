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

# One that is staged gets its copy of /etc at shutdown.
an_update_with_a_host_update_staged() {
  local said
  [ -e /run/ostree/staged-deployment ] || fail "nothing is staged"
  sysctr unhold kept || fail "unhold"
  said=$(sysctr update kept --image oci:/run/boot-test/web2 2>&1) || fail "update: $said"
  says 8086 'version 2'
  sysctr hold kept || fail "hold"
  expect "what was said" "$said" "kept: kept.$(active kept | sed 's/kept\.\([0-9]*\) .*/\1/') runs"
}

a_broken_essential_keeps_boot_complete_away() {
  ostree --repo=/ostree/repo refs --create=host --force third || fail "moving the ref"
  ostree admin deploy --os=testos --stage host || fail "deploy"
  # This host's essential one is whole.
  wait_for has_state boot-complete.target active
}

for name in a_host_update_supersedes a_held_generation_stays an_update_on_the_new_host a_broken_essential_keeps_boot_complete_away \
  an_update_with_a_host_update_staged; do
  try $name
done
