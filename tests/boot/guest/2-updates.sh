# The second boot: updates on the host.

a_reboot_starts_all_again() {
  [ "$(cat $stage_file)" != "$(cat /proc/sys/kernel/random/boot_id)" ] || fail "it is the same boot"
  says 8081 'sysctr demo: hello from a container with four entries'
  says 8085 'version 1'
  wait_for fetch 7129
  [ -e /var/lib/sysctr/shell/data/x ] || fail "the volume is empty"
  expect "boots in the journal" "$(journalctl --list-boots --no-pager | grep -c '[0-9a-f]\{32\}')" 2
  expect "failed units" "$(systemctl --failed --no-legend --plain | cut -d' ' -f1)" ""
}

an_update_from_an_archive_runs() {
  sysctr update web --image oci-archive:/run/boot-test/web2.tar || fail "update"
  says 8085 'version 2'
  expect active "$(active web)" "web.1 updated"
}

an_unhealthy_update_leads_back() {
  local boot
  boot=$(cat /proc/sys/kernel/random/boot_id)
  sysctr update web --image oci:/run/boot-test/broken && fail "it was taken for healthy"
  says 8085 'version 2'
  expect active "$(active web)" "web.1 updated"
  expect "this boot" "$(cat /proc/sys/kernel/random/boot_id)" "$boot"
}

rollback_and_reset() {
  sysctr update web --image oci:/run/boot-test/web3 || fail "update to 3"
  says 8085 'version 3'
  sysctr rollback web || fail "rollback"
  says 8085 'version 2'
  sysctr reset web || fail "reset"
  says 8085 'version 1'
  expect active "$(active web)" "embedded shipped"
}

an_update_from_a_registry_runs() {
  mkdir -p /etc/containers/registries.conf.d
  printf '[[registry]]\nlocation = "127.0.0.1:5000"\ninsecure = true\n' >/etc/containers/registries.conf.d/it.conf
  REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/var/registry /run/boot-test/docker-registry serve /run/boot-test/registry.yml >/dev/null 2>&1 &
  local registry=$!
  wait_for fetch 5000
  skopeo copy -q --dest-tls-verify=false oci:/run/boot-test/web2 docker://127.0.0.1:5000/web:stable || fail "skopeo"
  sysctr update web || fail "update"
  says 8085 'version 2'
  sysctr update kept || fail "update of kept"
  says 8086 'version 2'
  kill $registry
  sysctr hold kept || fail "hold"
}

for name in a_reboot_starts_all_again an_update_from_an_archive_runs an_unhealthy_update_leads_back rollback_and_reset \
  an_update_from_a_registry_runs; do
  try $name
done
