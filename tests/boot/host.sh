#!/usr/bin/env bash
# host.sh FIXTURE KERNEL REPO [composefs]: the host of a fixture boot-SUITE with the kernel of the fixture KERNEL (uml, boot-kernel) and a
# small initramfs, as the commit `base` of the new bare repository REPO. What no test needs is masked. Where the host has podman, and
# QUADLET names an image's layout and tag, it runs as a quadlet, too. LOGIN=yes: for people.
set -euo pipefail
fixture=$(realpath "$1") kernels=$(realpath "$2") repo=$(realpath -m "$3") form=${4:-}
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d "$(dirname "$repo")/tree.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
tree=$work/root
mkdir "$tree"
tar --zstd --xattrs --xattrs-include='*' --numeric-owner -xpf "$fixture/root.tar.zst" -C "$tree"

cp -a "$kernels"/kernel/* "$tree/usr/lib/modules/"
version=$(ls "$tree/usr/lib/modules")
kernel=$tree/usr/lib/modules/$version
chroot "$tree" depmod "$version"
mkdir -p "$tree/usr/lib/ostree"
{
  [ "$form" != composefs ] || printf '[composefs]\nenabled=yes\n'
  printf '[sysroot]\nreadonly=true\n'
} >"$tree/usr/lib/ostree/prepare-root.conf"
bash "$here/initramfs.sh" "$tree" "$kernel/initramfs.img"

units=$tree/usr/lib/systemd/system
install -D -m 0755 "$here/guest/run" "$tree/usr/lib/boot-test/run"
install -m 0644 "$here"/guest/*.service "$units/"
for unit in boot-test marker-before marker-after marker-network plain; do
  mkdir -p "$units/multi-user.target.wants"
  ln -s "../$unit.service" "$units/multi-user.target.wants/"
done
ln -sfn multi-user.target "$units/default.target"
if [ "${QUADLET:-}" ] && [ -x "$tree/usr/bin/podman" ]; then
  # As an image-based host ships it: the image in a store below /usr, the quadlet beside.
  store=$tree/usr/lib/containers/storage
  # In mounts of its own: it leaves one on the store.
  unshare --mount skopeo copy -q "oci:$QUADLET" "containers-storage:[overlay@$store+$work/runroot]localhost/payload:1"
  printf '[storage]\ndriver = "overlay"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n%s' \
    $'[storage.options]\nadditionalimagestores = ["/usr/lib/containers/storage"]\n' >"$tree/usr/etc/containers/storage.conf"
  install -D -m 0644 "$here/guest/quadlet.container" "$tree/usr/share/containers/systemd/quadlet.container"
fi
# People say `reboot`, which asks logind.
[ "${LOGIN:-}" ] || ln -sfn /dev/null "$tree/usr/etc/systemd/system/systemd-logind.service"
for unit in getty.target serial-getty@.service e2scrub_reap.service e2scrub_all.timer fstrim.timer \
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer systemd-tmpfiles-clean.timer ldconfig.service \
  systemd-hwdb-update.service systemd-udev-trigger.service modprobe@.service systemd-random-seed.service \
  systemd-pcrmachine.service systemd-pcrphase.service docker-registry.service systemd-machine-id-commit.service; do
  ln -sfn /dev/null "$tree/usr/etc/systemd/system/$unit"
done
# Time decides nothing here: a busy machine starts forty containers on one slow processor.
mkdir -p "$units/service.d" "$tree/usr/etc/systemd/journald.conf.d"
printf '[Service]\nTimeoutStartSec=1800\nTimeoutStopSec=600\n' >"$units/service.d/boot-test.conf"
printf '[Journal]\nStorage=persistent\nRateLimitBurst=0\n' >"$tree/usr/etc/systemd/journald.conf.d/boot-test.conf"

labels=(--no-xattrs)
if [ -e "$tree/usr/etc/selinux/config" ]; then
  sed -i 's/^SELINUX=.*/SELINUX=enforcing/' "$tree/usr/etc/selinux/config"
  labels=("--selinux-policy=$tree")
  mkdir -p "$units/sysinit.target.wants"
  ln -s ../selinux-containers.service "$units/sysinit.target.wants/"
fi
ostree --repo="$repo" init --mode=bare
ostree --repo="$repo" config set core.fsync false
ostree --repo="$repo" commit --branch=base --tree=dir="$tree" --timestamp=@1700000000 "${labels[@]}" --bootable \
  --add-metadata-string=ostree.linux="$version" --add-metadata-string=version=1
