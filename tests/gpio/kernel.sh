#!/bin/bash
# Fetches Debian's kernel for arm64 as the file $1, with package lists of its own: nothing is installed, and apt keeps
# knowing this machine's architecture only. Does nothing when the file is there.
set -euo pipefail
out=$1
[ -e "$out" ] && exit 0
mkdir -p "$(dirname "$out")"
tmp=$(mktemp -d "$(realpath "$(dirname "$out")")/fetch.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$tmp/state/lists/partial" "$tmp/cache/archives/partial"
apt=(-q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root
  -o "Dir::State=$tmp/state" -o Dir::State::status=/dev/null -o "Dir::Cache=$tmp/cache")
echo "arm64: fetching the kernel for a virtual machine"
apt-get "${apt[@]}" update >/dev/null
package=$(apt-cache "${apt[@]}" depends linux-image-arm64 | awk '$1 == "Depends:" && $2 ~ /^linux-image-[0-9]/ {print $2; exit}')
if [ -z "$package" ]; then echo "kernel.sh: apt knows no linux-image-arm64" >&2; exit 1; fi
(cd "$tmp" && apt-get "${apt[@]}" download "$package" >/dev/null)
dpkg-deb --fsys-tarfile "$tmp"/*.deb | tar -x -C "$tmp" --wildcards './boot/vmlinuz-*'
mv "$tmp"/boot/vmlinuz-* "$out"
