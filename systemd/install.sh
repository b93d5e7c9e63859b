#!/bin/sh
# Puts sigd onto a server, or takes it away again: `make install`, `make uninstall`. In the environment: PREFIX, DESTDIR
# (a root to put it under, as for a package or an image), INTERPRETER (which runs it there), EXTRAS (dtls,jwt).
set -eu
umask 022
cd "$(dirname "$0")/.."
lib=$PREFIX/lib/sigd
to=$DESTDIR$PREFIX
etc=$DESTDIR/etc/sigd
units='sigd.service sigd.socket sigd-admin.socket'
pages='man1/sigctl.1 man5/sigd.toml.5 man8/sigd.8'

refuse() { echo "install: $*" >&2; exit 1; }
live() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; }

# All of it is made beside what is there, so that a failure leaves that as it was.
program() {
  new=$(mktemp -d); trap 'rm -rf "$new" "$to/lib/sigd.new"' EXIT
  "$INTERPRETER" -m venv "$new/venv"
  from=
  if [ -d wheels ]; then from="--no-index --find-links wheels"
  else echo 'install: there is no folder wheels (make wheels): pip asks its index' >&2; fi
  # By the environment, not --constraint: so it holds for the build backend too.
  # shellcheck disable=SC2086 # several words
  PIP_CONSTRAINT=$PWD/constraints.txt "$new/venv/bin/python" -m pip --quiet --disable-pip-version-check \
    install $from --no-compile --target "$new/sigd" ".${EXTRAS:+[$EXTRAS]}" ||
    refuse "pip fails${from:+: has the folder wheels all of it, for this Python? make wheels INTERPRETER=$INTERPRETER EXTRAS=$EXTRAS}"
  rm -rf "$new/sigd/bin" "$to/lib/sigd.new"
  install -d "$to/lib" "$to/bin"
  cp -R "$new/sigd" "$to/lib/sigd.new"
  # The service cannot write there.
  "$INTERPRETER" -m compileall -q -s "$to/lib/sigd.new" -p "$lib" "$to/lib/sigd.new"
  rm -rf "$to/lib/sigd"
  mv "$to/lib/sigd.new" "$to/lib/sigd"
  launcher sigd cli
  launcher sigctl ctl
}

launcher() {
  # -I: neither the environment of who calls it nor where it is called counts.
  printf '%s\n' "#!$INTERPRETER -I" 'import sys' '' "sys.path.insert(0, \"$lib\")" "from sigd.$2 import main" '' \
    'sys.exit(main())' >"$new/launcher"
  install -m 755 "$new/launcher" "$to/bin/$1"
}

papers() {
  install -D -m 644 -t "$to/share/doc/sigd" LICENSE README.md protocol.md systemd/sigd-dtls.conf
  for page in $pages; do
    [ ! -e "man/${page#*/}" ] || install -D -m 644 "man/${page#*/}" "$to/share/man/$page"
  done
  for shell in bash zsh fish; do
    PYTHONPATH=$to/lib/sigd "$INTERPRETER" -B -m sigd.ctl completion $shell >"$new/completion"
    install -D -m 644 "$new/completion" "$to/$(completion $shell)"
  done
}

# Where a shell looks for them of its own accord; zsh as distributions build it.
completion() {
  case $1 in
  bash) echo share/bash-completion/completions/sigctl ;;
  zsh) echo share/zsh/site-functions/_sigctl ;;
  fish) echo share/fish/vendor_completions.d/sigctl.fish ;;
  esac
}

service() {
  for unit in $units; do
    sed "s|/usr/bin/\\(sig[a-z]*\\)|$PREFIX/bin/\\1|" "systemd/$unit" >"$new/$unit"
    install -D -m 644 -t "$to/lib/systemd/system" "$new/$unit"
  done
  install -D -m 644 systemd/sysusers.conf "$to/lib/sysusers.d/sigd.conf"
  if [ -z "$DESTDIR" ] && ! getent group sigd >/dev/null; then
    if command -v systemd-sysusers >/dev/null; then systemd-sysusers "$lib/../sysusers.d/sigd.conf"
    else groupadd --system sigd; fi
  fi
}

# What is the operator's is made once, and then left alone.
configuration() {
  if [ ! -e "$etc/sigd.toml" ]; then
    { cat systemd/sigd.toml; printf '# Not edited since it was written, if this is the SHA-256 of all above: '
      sha256sum <systemd/sigd.toml | cut -d ' ' -f 1; } >"$new/sigd.toml"
    install -D -m 644 "$new/sigd.toml" "$etc/sigd.toml"
  fi
  [ ! -e "$etc/secret" ] || return 0
  (umask 077 && head -c 32 /dev/urandom | base64 >"$etc/secret")
  if chgrp sigd "$etc/secret" 2>/dev/null; then chmod 640 "$etc/secret"
  else echo "install: there is no group sigd here: later, chgrp sigd /etc/sigd/secret; chmod 640 /etc/sigd/secret"; fi
}

case $1 in
install)
  case $INTERPRETER in /*) ;; *) refuse "INTERPRETER=$INTERPRETER is no absolute path" ;; esac
  case $("$INTERPRETER" -c 'import os, sys; print(os.path.realpath(sys.executable))') in
  /root/* | /home/*) refuse "$INTERPRETER is below /root or /home, where the service may not go: INTERPRETER=..." ;;
  esac
  program
  papers
  service
  configuration
  if live; then systemctl daemon-reload; fi
  if live && systemctl --quiet is-active sigd.service; then
    printf '%s\n' 'sigd is installed. To have the new one take over, which drops nobody:' '  systemctl restart sigd'
  elif [ -z "$DESTDIR" ]; then
    printf '%s\n' 'sigd is installed. To have it serve on a public address, now and after each boot:' \
      '  sigctl setup --tls NAME' 'or on this machine alone:' '  systemctl enable --now sigd.socket'
  fi
  ;;
uninstall)
  # shellcheck disable=SC2086 # several words
  if live; then systemctl disable --now $units || :; fi
  rm -rf "$to/lib/sigd" "$to/share/doc/sigd"
  rm -f "$to/bin/sigd" "$to/bin/sigctl" "$to/lib/sysusers.d/sigd.conf"
  for shell in bash zsh fish; do rm -f "$to/$(completion $shell)"; done
  for unit in $units; do rm -f "$to/lib/systemd/system/$unit"; done
  for page in $pages; do rm -f "$to/share/man/$page"; done
  # What sigctl setup has written for these units; drop-ins of the operator's own stay.
  for unit in $units; do
    rm -f "$DESTDIR/etc/systemd/system/$unit.d/50-sigctl-setup.conf"
    rmdir "$DESTDIR/etc/systemd/system/$unit.d" 2>/dev/null || :
  done
  if live; then systemctl daemon-reload; fi
  ;;
esac
