#!/bin/bash
# Fetches Debian's kernel for the virtual machine of tests/serial into the directory $1, without installing it: the
# kernel as vmlinux, the modules of its USB and gadget drivers and of configfs as modules/*.ko. Does nothing when it is there.
set -euo pipefail
out=$1
[ -e "$out/vmlinux" ] && exit 0
arch=$(dpkg --print-architecture)
package=$(apt-cache depends "linux-image-$arch" | awk '$1 == "Depends:" && $2 ~ /^linux-image-[0-9]/ {print $2; exit}')
if [ -z "$package" ]; then echo "kernel.sh: apt knows no linux-image-$arch: run apt-get update" >&2; exit 1; fi
mkdir -p "$out"
tmp=$(mktemp -d "$out/fetch.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
download() { (cd "$tmp" && apt-get -q -o APT::Sandbox::User=root download "$package" >/dev/null); }
echo "setup: fetching $package for the tests' virtual machine"
download || { apt-get -q -o DPkg::Lock::Timeout=500 update; download; }
dpkg-deb --fsys-tarfile "$tmp"/*.deb | tar -x -C "$tmp" --wildcards './boot/vmlinuz-*' '*/kernel/drivers/usb/*' '*/kernel/fs/configfs/*'
find "$tmp" -name '*.ko.xz' -exec xz -d {} +
rm -rf "$out/modules"
mkdir "$out/modules"
find "$tmp" -name '*.ko' -exec cp -t "$out/modules" {} +
# Unpacking itself takes the kernel six seconds without KVM. Where its packed self lies is in the header of the image
# (Documentation/x86/boot.rst: setup_sects, payload_offset, payload_length; four bytes at its end are the size unpacked).
image=$(echo "$tmp"/boot/vmlinuz-*)
number() { od -An -t "u$2" -j "$1" -N "$2" "$image" | tr -d ' '; }
start=$((($(number 497 1) + 1) * 512 + $(number 584 4)))
length=$(($(number 588 4) - 4))
case $(od -An -t x1 -j "$start" -N 4 "$image" | tr -d ' ') in
  fd377a58) unpack=xz ;;
  28b52ffd) unpack=zstd ;;
  *) echo "kernel.sh: $package is packed in a way not known here" >&2; exit 1 ;;
esac
head -c "$((start + length))" "$image" | tail -c "$length" | "$unpack" -dc >"$tmp/vmlinux"
mv "$tmp/vmlinux" "$out/vmlinux" # last: its presence means that all is there
