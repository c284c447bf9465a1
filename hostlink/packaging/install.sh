#!/bin/bash
# install.sh BINDIR DESTDIR: puts the host's programs and all that belongs to them below DESTDIR, as a distribution's
# package has them. BINDIR is what make build makes, programs and licences; manual pages and completions are made by the
# programs. Whoever runs it needs neither Go nor the modules.
set -euo pipefail
bin=$1 dest=$2 here=$(cd "$(dirname "$0")" && pwd)
docs=$(cd "$here/../../docs" && pwd)
unset TOUCHMARK_SOCKET TOUCHMARK_TRUST # the manual tells the defaults of everybody

put() { install -D -m "$1" "$2" "$dest/$3"; }
page() { # page NAME.md UP: a page of the guides, UP from what is beside docs; a link there leads to nothing here, and is its words
  put 644 "$docs/$1" "usr/share/doc/touchmark/$1"
  sed -i -E "s#\]\($2appliance/policy/examples#](../examples#g; s#\[([^][]*)\]\($2[^)]*\)#\1#g" "$dest/usr/share/doc/touchmark/$1"
}
made() { # made PATH COMMAND...: a file of what a command prints
  install -d "$(dirname "$dest/$1")"
  "${@:2}" >"$dest/$1"
  chmod 644 "$dest/$1"
}

for program in touchmark touchmark-audit touchmark-hostd; do
  put 755 "$bin/$program" "usr/bin/$program"
  section=1
  [ "$program" != touchmark-hostd ] || section=8
  made "usr/share/man/man$section/$program.$section" "$bin/$program" man
  gzip -9 -n -f "$dest/usr/share/man/man$section/$program.$section"
  made "usr/share/bash-completion/completions/$program" "$bin/$program" completion bash
  made "usr/share/zsh/site-functions/_$program" "$bin/$program" completion zsh
  made "usr/share/fish/vendor_completions.d/$program.fish" "$bin/$program" completion fish
done
put 755 "$bin/touchmark-gpg" usr/bin/touchmark-gpg
put 755 "$bin/touchmark-wait" usr/bin/touchmark-wait
put 755 "$here/touchmark-log-sync" usr/bin/touchmark-log-sync
put 644 "$here/touchmark-gpg.1" usr/share/man/man1/touchmark-gpg.1
gzip -9 -n -f "$dest/usr/share/man/man1/touchmark-gpg.1"
for name in touchmark-sign-release touchmark-wait; do # which that page is about too
  ln -sfn touchmark-gpg.1.gz "$dest/usr/share/man/man1/$name.1.gz"
done
ln -sfn touchmark-gpg "$dest/usr/bin/touchmark-sign-release"
install -d "$dest/usr/lib/touchmark/gpg" # for the PATH of tools that call gpg
for name in gpg gpgconf; do
  ln -sfn ../../../bin/touchmark-gpg "$dest/usr/lib/touchmark/gpg/$name"
done
put 644 "$here/touchmark-hostd.service" usr/lib/systemd/system/touchmark-hostd.service
put 644 "$here/touchmark.sysusers" usr/lib/sysusers.d/touchmark.conf
put 644 "$here/touchmark.tmpfiles" usr/lib/tmpfiles.d/touchmark.conf
put 644 "$here/60-touchmark.rules" usr/lib/udev/rules.d/60-touchmark.rules
put 644 "$here/hostd.toml" etc/touchmark/hostd.toml
for page in host-guide operator-guide rounds tools auditor-guide findings threat-model comparison; do
  page "$page.md" ../
done
for policy in "$here"/policies/*.toml; do
  put 644 "$policy" "usr/share/touchmark/policies/$(basename "$policy")"
done
for dir in spec guides image decisions; do
  for page in "$docs/$dir"/*.md; do
    page "$dir/$(basename "$page")" ../../
  done
done
for policy in "$docs"/../appliance/policy/examples/*.toml; do
  put 644 "$policy" "usr/share/doc/touchmark/examples/$(basename "$policy")"
done
put 644 "$docs/../LICENSE" usr/share/doc/touchmark/copyright
# Each module that is linked into the programs asks for its licence to go with them.
(cd "$bin/licences" && find . -type f -print0) | while IFS= read -r -d '' text; do
  put 644 "$bin/licences/$text" "usr/share/doc/touchmark/licences/$text"
done
