#!/usr/bin/env bash
# setup.sh: installs the Debian packages of packages.txt that are missing, and checks that a fitting Rust is there.
# Asks the package archive only when something is missing.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
die() { echo "setup: $*" >&2; exit 1; }

rust=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$here/../../Cargo.toml")
have=$(rustc --version 2>/dev/null | cut -d' ' -f2) || die "there is no rustc; install Rust $rust or newer"
[ "$(printf '%s\n' "$rust" "$have" | sort -V | head -n 1)" = "$rust" ] || die "rustc is $have; install Rust $rust or newer"
cargo fmt --version >/dev/null 2>&1 || die "cargo fmt is missing; run: rustup component add rustfmt"
cargo clippy --version >/dev/null 2>&1 || die "cargo clippy is missing; run: rustup component add clippy"

# The launcher's C library, where Rust has it for this machine. One that can't be had is no reason to stop.
musl=$(rustc -vV | sed -n 's/^host: \(.*\)-gnu$/\1-musl/p')
if [ "$musl" ] && [ ! -d "$(rustc --print sysroot)/lib/rustlib/$musl/lib" ]; then
  echo "setup: adding Rust's library for $musl"
  timeout 300 rustup target add "$musl" ||
    echo "setup: without it the launcher is linked with glibc, and each start of a container takes a millisecond longer" >&2
fi

command -v dpkg-query >/dev/null || die "this is not Debian; install by hand what $here/packages.txt lists"
missing=()
while read -r package; do
  case $package in '' | '#'*) continue ;; esac
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done <"$here/packages.txt"
if [ ${#missing[@]} -eq 0 ]; then
  echo "setup: everything is there"
  exit 0
fi
[ "$(id -u)" = 0 ] || die "missing: ${missing[*]}; run \`make setup\` as root"
echo "setup: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get -q update || die "the package archive can't be reached; missing: ${missing[*]}"
apt-get -q -y install --no-install-recommends "${missing[@]}" || die "installing failed; missing: ${missing[*]}"
