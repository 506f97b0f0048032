# The fifth boot is of the third host image, whose essential container ends at once.

a_broken_essential_keeps_boot_complete_away() {
  wait_for has_state essential failed
  expect "the target" "$(is ActiveState boot-complete.target)" inactive
  says 8085 'version 6'
}

try a_broken_essential_keeps_boot_complete_away
