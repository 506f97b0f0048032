#!/usr/bin/env bash
# demo.sh: what sysctr does, on real parts, with every answer checked. `make demo` builds what it needs and runs it (root).
set -euo pipefail
export LC_ALL=C
top=$(dirname "$(dirname "$(realpath "$0")")")
compose=$top/target/dist/sysctr-compose launcher=$top/target/dist/sysctr
start=$SECONDS proofs=()
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
note() { printf '  %s\n' "$*"; }
run() { printf '  $ %s\n' "${*/#$top\//}" | sed "s|$work|WORK|g; s|$top/||g"; "$@" | sed 's/^/    /'; }
proved() { proofs+=("$*"); printf '  \033[32mok\033[0m %s\n' "$*"; }
die() { printf '\n  \033[31mwrong\033[0m: %s\n' "$*" >&2; exit 1; }
for program in "$compose" "$launcher"; do [ -x "$program" ] || die "there is no $program; run make demo"; done

cache=${SYSCTR_TEST_CACHE:-/var/cache/sysctr}
mkdir -p "$cache/tmp"
work=$(mktemp -d "$cache/tmp/demo.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
cd "$work"

say "1. A host image and two container images"
mapfile -t made < <(bash "$top/fixtures/make.sh" root nginx hello)
mkdir root images
tar --zstd --xattrs --numeric-owner -xpf "${made[0]}/root.tar.zst" -C root
ln -s "${made[1]}" images/nginx
ln -s "${made[2]}" images/hello
cp "$top/manifests/demo.toml" .
note "root/: the root file system of a Debian $(cat root/etc/debian_version), made from packages, $(du -sh root | cut -f1); nothing in it is booted."
note "images/nginx: nginx from Debian packages, three layers. images/hello: a static program on nothing, no /proc, no /dev."
before=$(cd root && find . -xdev | LC_ALL=C sort | sha256sum)

say "2. Compose: the images become part of the host image"
note "The manifest demo.toml names them; sysctr (--add-launcher) is the small program that starts them on the host."
run "$compose" --sysroot root -m demo.toml --add-launcher "$launcher"
[ -f root/usr/lib/containers/atomic/embedded.json ] || die "no embedded.json was written"
[ "$(stat -c %a root/usr/lib/containers/atomic/nginx)" = 700 ] || die "the bundle of nginx is not closed to users"

say "3. What is embedded"
run "$compose" list --sysroot root
"$compose" list --sysroot root --format json | /usr/bin/python3 -c '
import json, sys
names = sorted(container["name"] for container in json.load(sys.stdin)["containers"])
assert names == ["hello", "nginx"], names' || die "list does not show the two containers"
proved "both containers are embedded and listed"
run "$compose" verify --sysroot root
proved "every embedded file is what its record says"
note "Composing again has nothing to do:"
again=$("$compose" --sysroot root -m demo.toml --add-launcher "$launcher")
printf '%s\n' "$again" | sed 's/^/    /'
[[ $again == *"nothing to change"* ]] || die "the second compose changed something"
proved "a second compose changes nothing"

say "4. The units"
for name in nginx hello; do
  note "$name.service starts at boot by: $(cd root/usr/lib/systemd/system && echo *.wants/$name.service)"
  grep -E '^Exec' "root/usr/lib/systemd/system/$name.service" | sed 's/^/    /'
done
complaints=$(systemd-analyze verify --root="$work/root" --man=no --recursive-errors=no nginx.service hello.service 2>&1) || :
[ -z "$complaints" ] || die "systemd-analyze verify says: $complaints"
proved "systemd-analyze verify has nothing to say about them"

say "5. Run: the units' own ExecStart and ExecStop lines, under $(chroot root runc --version | head -n 1)"
note "In namespaces of their own, chrooted into a read-only mount of root/ with empty /run and /var, as after a boot."
exec_lines() { sed -n "s/^$2=-\{0,1\}//p" "root/usr/lib/systemd/system/$1.service"; }
{
  echo 'say() { echo "    $*"; }'
  echo 'fetch() { exec 9<>/dev/tcp/127.0.0.1/$1; printf "GET / HTTP/1.0\r\n\r\n" >&9; cat <&9 | tr -d "\r" | sed -n "\$p"; exec 9<&-; }'
  echo 'answers() { (: </dev/tcp/127.0.0.1/$1) 2>/dev/null; }'
  echo 'payload() { cat /run/sysctr/$1/pid; }'
  for entry in nginx:8080 hello:8081; do
    name=${entry%:*} port=${entry#*:}
    cat <<END
[ ! -e /usr/lib/tmpfiles.d/sysctr-$name.conf ] || systemd-tmpfiles --create sysctr-$name.conf
say "\$ $(exec_lines "$name" ExecStart)"
$(exec_lines "$name" ExecStart)
for _ in \$(seq 100); do ! answers $port || break; sleep 0.1; done
say "127.0.0.1:$port answers: \$(fetch $port)"
echo "$name-answer \$(fetch $port)"
pid=\$(payload $name)
kill -0 "\$pid"
! touch /proc/\$pid/root/written 2>/dev/null || echo "$name-root-is-writable"
say "sysctr list says:"
/usr/bin/sysctr list | sed 's/^/      /'
END
  done
  for entry in nginx:8080 hello:8081; do
    name=${entry%:*} port=${entry#*:}
    cat <<END
pid=\$(payload $name)
say "\$ $(exec_lines "$name" ExecStop)"
code=0; $(exec_lines "$name" ExecStop) || code=\$?
echo "$name-stop \$code"
! kill -0 "\$pid" 2>/dev/null || echo "$name-still-runs"
! answers $port || echo "$name-still-answers"
$(exec_lines "$name" ExecStopPost) || :
END
  done
  echo 'left=$(runc --root /run/sysctr/runtime list -q); echo "left [$left]"'
} >script
code=0
timeout -k 5 120 bash "$top/tests/support/in-root.sh" root script >told 2>problems || code=$?
grep '^    ' told || :
if [ $code -ne 0 ]; then cat told problems >&2; die "the session ended with exit code $code"; fi
said() { grep -qxF "$1" told || { cat problems >&2; die "$2"; }; }
said "nginx-answer sysctr demo: this page comes from inside a read-only image" "nginx gave another answer"
said "hello-answer sysctr demo: hello from a container with four entries" "hello gave another answer"
proved "nginx answers with the page of its image"
proved "the static server without /proc and /dev of its own answers too"
said "nginx-stop 0" "stopping nginx failed"
said "hello-stop 0" "stopping hello failed"
! grep -E -- '-(still-runs|still-answers|root-is-writable)$' told || die "see the line above"
said "left []" "the runtime still knows a container"
proved "both stop with exit status 0, and nothing of them is left running; their roots can't be written"

say "6. Remove: the host image is as it was"
run "$compose" remove nginx hello --launcher --sysroot root
after=$(cd root && find . -xdev | LC_ALL=C sort | sha256sum)
[ "$before" = "$after" ] || die "the root differs from what it was before the compose"
proved "the root has the same names as before the compose"

say "Shown in $((SECONDS - start)) s:"
for proof in "${proofs[@]}"; do note "- $proof"; done
