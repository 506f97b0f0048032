#!/usr/bin/env bash
# qemu.sh DISK WORK: boots DISK as uml.sh does, but in qemu without virtualization, with the kernel and the initramfs of the host image itself.
# FLUSHES=yes: those of the machine reach DISK.
set -euo pipefail
disk=$1 work=$2 cache=unsafe
[ -z "${FLUSHES:-}" ] || cache=writeback
# -cpu max: with less, systemd of some releases hangs. The console's size is not asked for.
exec timeout -k 5 "${TIME_LIMIT:-2400}" qemu-system-x86_64 -accel tcg,thread=multi -M q35 -cpu max -smp 2 -m 1024 -nodefaults -display none \
  -no-reboot -net none -serial "file:$work/console" -serial "file:$work/report" -serial "file:$work/journal" \
  -drive "file=$disk,format=raw,if=virtio,cache=$cache" -drive "file=$work/payload,format=raw,if=virtio,readonly=on" \
  -kernel "$work/boot.linux" -initrd "$work/boot.initrd" \
  -append "$(cat "$work/boot.options") console=ttyS0 panic=-1 quiet systemd.show_status=0 TERM=dumb" </dev/null
