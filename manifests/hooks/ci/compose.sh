#!/bin/sh
# compose.sh ROOT MANIFEST: what a CI job does around sysctr-compose. It branches on the exit code and reads the JSON with jq.
#   0  done; says what changed, and whether a new host image is needed
#   1  not done: the root is as it was; a retry may help
#   2  not understood: the manifest or this script is wrong; a retry does not help
set -eu
root=$1 manifest=$2
said=$(mktemp) && trap 'rm -f "$said"' EXIT
code=0
report=$(sysctr-compose --sysroot "$root" --manifest "$manifest" --add-launcher "$(command -v sysctr)" --format json 2>"$said") || code=$?
case $code in
  0)
    cat "$said" >&2 # warnings
    printf '%s\n' "$report" | jq -r '.containers[] | select(.action != "keep") | "\(.action) \(.name) \(.config)"'
    printf '%s\n' "$report" | jq -r '.containers[] | .name as $name | .warnings[] | "warning: \($name): \(.)"' >&2
    if printf '%s\n' "$report" | jq -e .changed >/dev/null; then echo "new image: yes"; else echo "new image: no"; fi
    ;;
  2)
    echo "fix the manifest: $(tail -n 1 "$said")" >&2
    exit 2
    ;;
  *)
    echo "not composed: $(tail -n 1 "$said")" >&2
    exit "$code"
    ;;
esac
# An independent look at what is there now: every file against its record.
sysctr-compose verify --sysroot "$root" --format json | jq -e '[.findings[] | select(.severity == "error")] == []' >/dev/null
