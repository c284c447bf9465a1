#!/bin/bash
# packages.sh BINDIR OUTDIR VERSION: makes of the built programs in BINDIR
#   touchmark_VERSION_ARCH.deb                      for Debian and its kin
#   touchmark-VERSION-1-ARCH.pkg.tar.zst, PKGBUILD  for Arch, with touchmark-VERSION-ARCH.tar.gz that it takes apart
# The same programs and the same SOURCE_DATE_EPOCH give the same bytes.
set -euo pipefail
bin=$(cd "$1" && pwd) version=$3 here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:?set it to the time of the commit, in seconds} LC_ALL=C.UTF-8
umask 022
[[ $version =~ ^[0-9][0-9a-z.]*$ ]] || { echo "packages: '$version' is no version: it begins with a digit; a-z 0-9 . follow" >&2; exit 1; }
for tool in dpkg-deb makepkg fakeroot; do
  command -v "$tool" >/dev/null || { echo "packages: $tool is not installed: run make setup" >&2; exit 1; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work" # makepkg may be another user
"$here/install.sh" "$bin" "$work/tree"

# .deb
arch=$(dpkg --print-architecture)
cp -a "$work/tree" "$work/deb"
mv "$work/deb/usr/share/zsh/site-functions" "$work/deb/usr/share/zsh/vendor-completions" # where Debian's zsh looks
install -d "$work/deb/DEBIAN"
sed "s/@VERSION@/$version/; s/@ARCH@/$arch/; s/@SIZE@/$(du -sk "$work/tree" | cut -f1)/" "$here/deb/control" >"$work/deb/DEBIAN/control"
install -m 755 "$here"/deb/{postinst,prerm,postrm} "$work/deb/DEBIAN/"
install -m 644 "$here/deb/conffiles" "$work/deb/DEBIAN/"
(cd "$work/deb" && find usr etc -type f -print0 | sort -z | xargs -0 md5sum) >"$work/deb/DEBIAN/md5sums"
dpkg-deb --root-owner-group -Zgzip -z6 --build "$work/deb" "$out/touchmark_${version}_$arch.deb" >/dev/null

# The same tree for makepkg, which refuses root: then somebody else runs it.
machine=$(uname -m)
tarball=touchmark-$version-$machine.tar.gz
tar -C "$work/tree" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -c . | gzip -6 -n >"$out/$tarball"
sed "s/@VERSION@/$version/; s/@ARCH@/$machine/; s/@SHA256@/$(sha256sum "$out/$tarball" | cut -d' ' -f1)/" "$here/arch/PKGBUILD" >"$out/PKGBUILD"
install -d "$work/arch"
cp "$out/PKGBUILD" "$out/$tarball" "$here/arch/makepkg.conf" "$work/arch/"
run=()
if [ "$(id -u)" = 0 ]; then
  run=(runuser -u nobody --)
  chown -R nobody "$work/arch"
fi
(cd "$work/arch" && "${run[@]}" env -u CDPATH HOME="$work/arch" TMPDIR="$work/arch" PKGDEST="$work/arch" SRCDEST="$work/arch" BUILDDIR="$work/arch/build" \
  makepkg --config "$work/arch/makepkg.conf" --nodeps --force --noconfirm --nocolor >"$work/makepkg.log" 2>&1) || { cat "$work/makepkg.log" >&2; exit 1; }
install -m 644 "$work/arch/touchmark-$version-1-$machine.pkg.tar.zst" "$out/"
ls "$out"
