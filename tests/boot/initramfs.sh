#!/usr/bin/env bash
# initramfs.sh TREE FILE: a small initramfs: busybox, the tree's own ostree-prepare-root with its libraries, and the modules that the root
# needs. It mounts the first disk and lets ostree-prepare-root make a deployment the root, as dracut's does.
set -euo pipefail
tree=$(realpath "$1") out=$(realpath -m "$2")
work=$(mktemp -d "$(dirname "$out")/initramfs.XXXXXX")
trap 'rm -rf "$work"' EXIT
version=$(ls "$tree/usr/lib/modules")
mkdir -p "$work"/{bin,proc,sys,dev,run,sysroot,modules,tmp,usr/lib/ostree,usr/lib64,usr/lib/x86_64-linux-gnu}
ln -s usr/lib64 "$work/lib64"
ln -s usr/lib "$work/lib"
cp /bin/busybox "$work/bin/busybox"
cp "$tree/usr/lib/ostree/ostree-prepare-root" "$tree/usr/lib/ostree/prepare-root.conf" "$work/usr/lib/ostree/"
chroot "$tree" ldd /usr/lib/ostree/ostree-prepare-root | grep -o '/[^ ]*' | while read -r library; do
  real=$(chroot "$tree" readlink -f "$library")
  mkdir -p "$work/${real%/*}"
  cp "$tree/$real" "$work/$real"
  [ "${real##*/}" = "${library##*/}" ] || ln -sfn "${real##*/}" "$work/${real%/*}/${library##*/}"
done
cp -L "$tree/usr/lib64/ld-linux-x86-64.so.2" "$work/usr/lib64/"

# What is built in, or not there, needs no loading; dependencies come first.
for module in virtio_pci virtio_blk overlay erofs; do
  chroot "$tree" modprobe --set-version "$version" --show-depends "$module" 2>/dev/null | sed -n 's/^insmod \([^ ]*\).*/\1/p' || :
done | awk '!seen[$0]++' | while read -r file; do
  module=${file##*/}
  module=${module%%.ko*}
  case $file in
    *.xz) xz -dc "$tree/$file" >"$work/modules/$module.ko" ;;
    *.zst) zstd -qdc "$tree/$file" >"$work/modules/$module.ko" ;;
    *) cp "$tree/$file" "$work/modules/$module.ko" ;;
  esac
  echo "$module" >>"$work/modules/order"
done
touch "$work/modules/order"
cat >"$work/init" <<'INIT'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
$b mount -t tmpfs -o mode=755 run /run
for module in $($b cat /modules/order); do $b insmod /modules/$module.ko; done
for try in 1 2 3 4 5 6 7 8 9 10; do
  for disk in /dev/ubda /dev/vda; do [ -b $disk ] && break 2; done
  $b usleep 50000
done
$b mount -t ext4 -o rw $disk /sysroot || $b echo "initramfs: no root on $disk"
/usr/lib/ostree/ostree-prepare-root /sysroot || $b echo "initramfs: ostree-prepare-root failed"
$b umount /proc /sys
$b mount --move /dev /sysroot/dev
$b mount --move /run /sysroot/run
exec $b switch_root /sysroot /sbin/init
INIT
chmod 0755 "$work/init"
# In sorted order and of one time, so that equal inputs give an equal file.
find "$work" -exec touch -h -d @1700000000 {} +
(cd "$work" && find . | LC_ALL=C sort | busybox cpio -o -H newc 2>/dev/null) >"$out"
chmod 0644 "$out"
