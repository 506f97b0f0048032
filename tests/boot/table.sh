#!/usr/bin/env bash
# table.sh: docs/boot.md's part between the marks, from the reports of target/boot: every scenario on every host, and the times of the first
# boot's containers.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/../.."
page=docs/boot.md
[ -n "$(ls target/boot/debian_*.report 2>/dev/null)" ] || { echo "table: there are no reports; make boot-test leaves them" >&2; exit 1; }
mapfile -t hosts < <(cd target/boot && ls debian_*.report | sed 's/\.report$//')
{
  echo '<!-- written by make boot-table -->'
  echo
  echo "| scenario |$(printf ' %s |' "${hosts[@]}")"
  echo "| --- |$(printf ' --- |%.0s' "${hosts[@]}")"
  sed -n 's/^= \([^ ]*\) .*/\1/p' $(printf 'target/boot/%s.report ' "${hosts[@]}") | awk '!seen[$0]++' | while read -r name; do
    printf '| %s |' "${name//_/ }"
    for host in "${hosts[@]}"; do
      # One that several boots tried is told by its worst.
      awk -v name="$name" '$1 == "=" && $2 == name { if (result == "" || $3 != "ok") result = $3 ", " $4 " s" }
        END { printf " %s |", result == "" ? "–" : result }' "target/boot/$host.report"
    done
    echo
  done
  for host in "${hosts[@]}"; do
    echo
    echo "### $host: seconds from the kernel's start"
    echo
    sed -n '/^ostree: /p' "target/boot/$host.report" | head -n1
    echo
    sed -n 's/^@ //p' "target/boot/$host.report" | awk '
      NR == 1 { print "| container | unit begins | launcher | bundle chosen | runtime | process | ready | took |"; print "| --- | --- | --- | --- | --- | --- | --- | --- |"; next }
      NF == 8 { printf "|"; for (i = 1; i <= NF; i++) printf " %s |", $i; print "" }'
  done
  echo
  echo "### One start, when nothing else begins: seconds, the middle of five"
  echo
  echo '| host | how | until the unit is up | until it answers |'
  echo '| --- | --- | --- | --- |'
  for host in "${hosts[@]}"; do
    for way in many-10:sysctr "plain:a plain service" "quadlet:a quadlet of podman"; do
      middle() { sed -n "s/^| alone ${way%%:*} //p" "target/boot/$host.report" | cut -d' ' -f"$1" | sort -n | sed -n 3p; }
      [ -z "$(middle 1)" ] || echo "| $host | ${way#*:} | $(middle 2) | $(middle 1) |"
    done
  done
  echo
  echo '<!-- end -->'
} >target/boot/table
sed -i -e '/^<!-- written by make boot-table -->$/,/^<!-- end -->$/{ /^<!-- end -->$/r target/boot/table
d; }' "$page"
