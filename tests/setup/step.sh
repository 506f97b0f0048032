#!/usr/bin/env bash
# step.sh [--show] TITLE COMMAND…: one line for a step that goes well. Without --show, what the command prints is kept in
# target/logs and shown only when it fails.
set -uo pipefail
show=
[ "$1" != --show ] || { show=yes; shift; }
title=$1
shift
start=$SECONDS
mkdir -p target/logs
log=target/logs/$(printf %s "$title" | tr -cs 'a-zA-Z0-9' -).log
if [ "$show" ]; then
  echo "== $title"
  "$@"
else
  "$@" >"$log" 2>&1 </dev/null
fi
code=$?
if [ $code -eq 0 ]; then
  echo "== $title: ok ($((SECONDS - start)) s)"
else
  [ "$show" ] || cat "$log"
  echo "== $title: FAILED with exit code $code ($((SECONDS - start)) s)"
fi
exit $code
