# The fifth boot is of the third host image, whose essential container ends at once.

a_broken_essential_keeps_boot_complete_away() {
  wait_for has_state essential failed
  expect "the target" "$(is ActiveState boot-complete.target)" inactive
  says 8085 'version 6'
}

an_update_with_a_host_update_staged() {
  says 8086 'version 2'
  case $(active kept) in 'kept.'*' held') ;; *) fail "$(active kept)" ;; esac
}

try an_update_with_a_host_update_staged
try a_broken_essential_keeps_boot_complete_away
