#!/bin/bash
# licences.sh BINDIR: puts into BINDIR/licences the licences of Go and of the modules that are linked into the host's
# programs there: each asks to go with them. It is part of building: only who has built has the modules' sources for certain,
# who installs may be somebody else.
set -euo pipefail
bin=$(cd "$1" && pwd)
cd "$(dirname "$0")" # where go finds our go.mod
new=$(mktemp -d "$bin/licences.XXXXXX")
trap 'rm -rf "$new"' EXIT
chmod 755 "$new"
modules=$(for program in touchmark touchmark-audit touchmark-hostd touchmark-gpg; do go version -m "$bin/$program"; done | awk '$1 == "dep" {print $2}' | sort -u)
sources=$(go list -m -f '{{.Path}} {{.Dir}}' $modules)
while read -r module source; do
  found=
  [ "$source" ] || { echo "licences: the source of $module is not there: run go mod download" >&2; exit 1; }
  for text in "$source"/{LICENSE,COPYING,NOTICE,PATENTS}*; do
    [ -f "$text" ] || continue
    install -D -m 644 "$text" "$new/$module/$(basename "$text")"
    case $text in */LICENSE* | */COPYING*) found=1 ;; esac
  done
  [ "$found" ] || { echo "licences: $module has no licence that could go with the programs" >&2; exit 1; }
done <<<"$sources"
go=$(go env GOROOT)/LICENSE
[ -f "$go" ] || go=$new/golang.org/x/sys/LICENSE # a distribution's Go may come without; it is the same text
install -D -m 644 "$go" "$new/go/LICENSE"
rm -rf "$bin/licences"
mv "$new" "$bin/licences"
