#!/usr/bin/env bash
# walls.sh LAUNCHER COMPOSER: the launcher is small and links what a host needs and nothing more (docs/decisions.md, "Three packages"), and no
# program holds a path of the machine that built it. Both are the release binaries before `strip`: the same code as the shipped
# ones, with the names still on it.
set -euo pipefail
launcher=$1 composer=$2
unwanted='ostree|glib|gobject|gio|openssl|libssl|native-tls|rustls|tokio|async-std'
status=0
wrong() { echo "walls: $*" >&2; status=1; }

tree=$(cargo tree --locked -p sysctr -e normal --prefix none)
grep -q '^sysctr-core ' <<<"$tree" || wrong "cargo tree -p sysctr does not show sysctr-core; this check sees nothing"
! grep -E "$unwanted" <<<"$tree" || wrong "the launcher depends on the packages above"
compose=$(cargo tree --locked -p sysctr-compose -e normal --prefix none)
! grep -E '^sysctr v' <<<"$compose" || wrong "the composer depends on the launcher"

dynamic=$(readelf -d "$launcher")
! grep -E 'NEEDED' <<<"$dynamic" || wrong "the launcher is not static; it needs the libraries above"
! readelf -l "$launcher" | grep -q INTERP || wrong "the launcher asks for a dynamic loader"

symbols=$(nm "$launcher" | cut -d' ' -f3)
grep -q sysctr_core <<<"$symbols" || wrong "no symbols of sysctr-core in $launcher; this check sees nothing"
! grep -E '^(g_object_|g_variant_|g_main_|ostree_|SSL_|EVP_)|tokio' <<<"$symbols" || wrong "the launcher contains the functions above"

# Design §10. It is read at every start of every container.
small=$(mktemp)
trap 'rm -f "$small"' EXIT
strip -s -o "$small" "$launcher"
size=$(stat -c %s "$small")
[ "$size" -le $((4 << 20)) ] || wrong "the stripped launcher has $size bytes, more than 4 MiB"

# Without unwind tables a captured backtrace ends the program.
code=0
RUST_BACKTRACE=1 "$launcher" logs no-such-container >/dev/null 2>&1 || code=$?
[ "$code" = 1 ] || wrong "an error of the launcher ends with $code where RUST_BACKTRACE is set"

for program in "$launcher" "$composer"; do
  for path in "$PWD/" "${CARGO_HOME:-$HOME/.cargo}/"; do
    ! grep -q -a -F -e "$path" "$program" || wrong "$program holds the build path $path"
  done
done

exit $status
