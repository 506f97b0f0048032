# What a boot after a power cut finds, and then: updates, rollbacks and collections until the next one.

every_container_is_old_or_new() {
  wait_for fetch 8085
  local said
  said=$(fetch 8085 | tail -n 1)
  case $said in 'version '[123]) ;; *) fail "web says '$said'" ;; esac
  says 8086 'version 1'
  wait_for has_state early active
  echo "$said, $(active web)"
}

the_store_is_whole() {
  local repo
  for repo in /ostree/repo /var/lib/containers/atomic/.repo; do
    [ ! -d $repo ] || ostree fsck --quiet --repo=$repo || fail "fsck of $repo"
  done
}

what_was_flushed_is_there() {
  local found=none
  [ ! -e /var/flushed ] || found=$(cat /var/flushed)
  grep -qx "$found" /run/boot-test/expected || fail "flushed is '$found', not one of" $(cat /run/boot-test/expected)
}

the_next_command_cleans_up() {
  sysctr gc || fail "gc"
  # Of a switch that was cut off nothing is left but what a later rollback can take.
  local name
  for name in $(ls -A /etc/containers/atomic 2>/dev/null); do
    case $name in web | web.[0-9]*) ;; *) fail "$name is left in /etc/containers/atomic" ;; esac
    [ ! -e "/etc/containers/atomic/$name/trial.json" ] || [ "$(active web)" = "embedded unproven" ] || fail "$name is on trial still"
  done
  for name in $(ls -A /var/lib/containers/atomic 2>/dev/null); do
    case $name in
      .repo | .lock | .web.number) ;;
      web.[0-9]*) [ -e "/etc/containers/atomic/$name" ] || fail "$name is left in /var/lib/containers/atomic" ;;
      *) fail "$name is left in /var/lib/containers/atomic" ;;
    esac
  done
}

try what_was_flushed_is_there
try every_container_is_old_or_new
try the_store_is_whole
try the_next_command_cleans_up
[ ! -e /run/boot-test/last ] || exit 0
cat /run/boot-test/next >/var/flushed.new
sync /var/flushed.new
mv /var/flushed.new /var/flushed
sync /var
echo GO
for round in $(seq 100); do
  for what in "update web --image oci:/run/boot-test/web2" "rollback web" "gc" "update web --image oci:/run/boot-test/web3" "reset web" \
    "update web --image oci-archive:/run/boot-test/web2.tar" "gc"; do
    sysctr $what
  done
done
