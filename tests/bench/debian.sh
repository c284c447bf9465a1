#!/bin/bash
# Makes the peer of the board's image, for the bench: Debian's kernel for arm64 as the file $1/vmlinuz, and a root with systemd,
# udev and a login prompt on the serial console, of Debian's packages alone, as the initramfs $1/root.cpio, not packed: it
# is unpacked by nobody when it starts. Package lists are its own: nothing is installed. Does nothing when both are there.
set -euo pipefail
out=$1
here=$(dirname "$0")
mkdir -p "$out"
"$here/../gpio/kernel.sh" "$out/vmlinuz"
[ -e "$out/root.cpio" ] && exit 0
tmp=$(mktemp -d "$(realpath "$out")/root.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$tmp/state/lists/partial" "$tmp/cache/archives/partial" "$tmp/root"
apt=(-q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root
  -o "Dir::State=$tmp/state" -o Dir::State::status=/dev/null -o "Dir::Cache=$tmp/cache")
echo "bench: fetching Debian's system for a virtual machine"
apt-get "${apt[@]}" update >/dev/null
apt-get "${apt[@]}" install -y --download-only --no-install-recommends base-files base-passwd systemd-sysv udev login util-linux >/dev/null
for deb in "$tmp"/cache/archives/*.deb; do dpkg-deb -x "$deb" "$tmp/root"; done
root=$tmp/root
rm -rf "$root"/usr/share/{doc,man,info,locale,lintian,bash-completion} "$root"/usr/lib/aarch64-linux-gnu/gconv
cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
echo "ID=debian" >"$root/etc/os-release"
echo peer >"$root/etc/hostname"
: >"$root/etc/machine-id"
mkdir -p "$root"/{dev,proc,sys,run,tmp} "$root/etc/systemd/system/getty.target.wants"
ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
ln -sf /lib/systemd/system/serial-getty@.service "$root/etc/systemd/system/getty.target.wants/serial-getty@ttyAMA0.service"
ln -sf lib/systemd/systemd "$root/init"
bsdtar -C "$root" --format newc -cf "$tmp/root.cpio" .
mv "$tmp/root.cpio" "$out/root.cpio"
