#!/usr/bin/env bash
# shell.sh: the demo's containers in a Debian 12 host on a disk, booted on this terminal with root logged in; gone when it is powered off.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
top=$(realpath "$here/../..")
fixture() { bash "$top/fixtures/make.sh" "$1"; }
work=$(mktemp -d /dev/shm/sysctr-boot-shell.XXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT
uml=$(fixture uml)
LOGIN=yes bash "$here/host.sh" "$(fixture boot-bookworm)" "$uml" "$work/repo"
mkdir "$work/images"
for image in hello nginx; do ln -s "$(fixture $image)" "$work/images/$image"; done
cp "$top"/manifests/*.* "$work/"
(cd "$work" && "$top/target/dist/sysctr-compose" --repo repo --base base --ref demo -m demo.toml --add-launcher "$top/target/dist/sysctr")
bash "$here/disk.sh" "$work/repo" "$work/disk" host demo
# The terminal is the machine's console; `poweroff` leaves it.
touch "$work/rebooted"
while [ -e "$work/rebooted" ]; do
  bash "$here/loader.sh" "$work/disk" "$work/boot"
  echo "systemd.mask=boot-test.service systemd.wants=boot-shell.service quiet" >>"$work/boot.options"
  echo "nginx answers on port 8080, hello on 8081; reboot works, poweroff ends this"
  LOGIN=yes bash "$here/uml.sh" "$uml" "$work/disk" "$work"
done
