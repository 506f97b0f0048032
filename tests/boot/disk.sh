#!/usr/bin/env bash
# disk.sh REPO DISK ORIGIN REF…: a disk with a real deployment of the commit that REF names, which the disk knows as ORIGIN; of the further
# ones it has the objects. No loop device and no mount is needed: a directory, `ostree admin`, `mke2fs -d`. With OWN_OSTREE=yes the host's
# own ostree deploys: Debian 12's knows no composefs.
set -euo pipefail
repo=$(realpath "$1") disk=$(realpath -m "$2") origin=$3
shift 3
root=$(mktemp -d "$(dirname "$disk")/sysroot.XXXXXX")
trap 'rm -rf --one-file-system "$root.host"; chattr -i "$root"/ostree/deploy/*/deploy/*.? 2>/dev/null || :; rm -rf --one-file-system "$root"' EXIT
if [ "${OWN_OSTREE:-}" ]; then
  command ostree --repo="$repo" checkout -H "$1" "$root.host"
  # In mounts of its own, which see this directory where it lies.
  ostree() {
    unshare --mount --propagation private bash -euc 'host=$1; shift
      mount -o bind "$host" "$host"; mount -t tmpfs tmpfs "$host/run"; mount -t proc proc "$host/proc"; mount --rbind /dev "$host/dev"
      exec chroot "$host" /usr/bin/ostree "$@"' own "$root.host" "$@"
  }
fi
ostree admin init-fs "$root"
store=$root/ostree/repo
ostree --repo="$store" config set sysroot.bootloader none
ostree --repo="$store" config set sysroot.readonly true
ostree --repo="$store" config set core.fsync false
ostree --repo="$store" pull-local "$repo" "$@" >/dev/null
ostree --repo="$store" refs --create="$origin" "$1"
ostree admin os-init --sysroot="$root" testos >/dev/null
ostree admin deploy --sysroot="$root" --os=testos --karg=root=LABEL=root --karg=rw --karg=systemd.wants=boot-complete.target "$origin" >/dev/null
# A kernel without SELinux deploys directories and links of /etc without labels; what the commit has is labelled already.
for etc in "$root"/ostree/deploy/testos/deploy/*.0/etc; do
  [ ! -e "$etc/selinux/config" ] || chroot "${etc%/etc}" setfiles /etc/selinux/default/contexts/files/file_contexts /etc
done
ostree --repo="$store" config set core.fsync true
rm -f "$disk"
mke2fs -q -t ext4 -L root -d "$root" "$disk" "${DISK_SIZE:-1500M}"
