#!/bin/bash
# Makes the system whose systemd runs the daemon's unit in tests/systemd, as the directory $1: Debian packages alone, taken
# apart and not installed. Package lists are its own. Does nothing when it is there.
set -euo pipefail
out=$1
[ -d "$out" ] && exit 0
mkdir -p "$(dirname "$out")"
tmp=$(mktemp -d "$(realpath "$(dirname "$out")")/root.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$tmp/state/lists/partial" "$tmp/cache/archives/partial" "$tmp/root"
apt=(-q -o APT::Sandbox::User=root -o "Dir::State=$tmp/state" -o Dir::State::status=/dev/null -o "Dir::Cache=$tmp/cache")
echo "systemd: fetching Debian's system"
apt-get "${apt[@]}" update >/dev/null
apt-get "${apt[@]}" install -y --download-only --no-install-recommends base-files base-passwd systemd-sysv bash coreutils grep passwd util-linux >/dev/null
root=$tmp/root
mkdir -p "$root"/usr/{bin,sbin,lib,lib64} "$root"/{dev,proc,sys,run,tmp}
for dir in bin sbin lib lib64; do ln -s "usr/$dir" "$root/$dir"; done
for deb in "$tmp"/cache/archives/*.deb; do dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$root"; done
rm -rf "$root"/usr/share/{doc,man,info,locale}
cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
: >"$root/etc/machine-id"
ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
for unit in console-getty getty@ systemd-logind systemd-networkd systemd-timesyncd systemd-resolved; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit.service" # nothing of them is wanted here
done
mv "$root" "$out" # last: its presence means that all is there
