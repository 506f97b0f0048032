#!/usr/bin/env python3
"""shell.py COMMAND…: what a person does at `make boot-shell`, at a terminal of its own: looks, reboots, looks again, powers off.

Ends with 0 when all of it was answered and COMMAND ended well; what the terminal showed goes to standard output."""
import os
import pty
import select
import sys
import time

# For a machine that is busy with other things; nothing is decided by it but that something hangs.
LIMIT = time.monotonic() + 1800
# User-mode Linux at times takes what was typed only when more is typed: after so long a silence a person presses Enter, too.
SILENCE = 20
PROMPT = b"# "


def main():
    child, terminal = pty.fork()
    if child == 0:
        os.execvp(sys.argv[1], sys.argv[1:])
    seen = b""

    def shown(until):
        """What the terminal shows next; nothing when COMMAND has ended."""
        while not select.select([terminal], [], [], SILENCE)[0]:
            if time.monotonic() > LIMIT:
                sys.exit(f"shell: {until} did not come")
            say(b"")
        try:
            data = os.read(terminal, 65536)
        except OSError:
            data = b""
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        return data

    def wait_for(what):
        """Until the terminal shows it, after what was waited for before."""
        nonlocal seen
        while what not in seen:
            data = shown(what)
            if not data:
                sys.exit(f"shell: it ended before {what!r} came")
            seen += data
        before, seen = seen.split(what, 1)
        return before

    def say(line):
        os.write(terminal, line + b"\n")

    boots = set()
    for last in (b"reboot", b"poweroff"):
        wait_for(b"poweroff ends this")
        wait_for(PROMPT)
        # What is typed is shown, too: so the answers are spelt otherwise.
        say(b"for i in $(seq 600); do systemctl -q is-active hello nginx && break; sleep 1; done; echo all-$((40 + 2))")
        wait_for(b"all-42")
        say(b"echo b''oot-$(cat /proc/sys/kernel/random/boot_id)-")
        wait_for(b"boot-")
        boots.add(wait_for(b"-\r"))
        say(b"sysctr list | grep -c -e hello -e nginx | sed 's/^/count-/'; exec 9<>/dev/tcp/127.0.0.1/8081")
        wait_for(b"count-2")
        say(b"printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&9; cat <&9; exec 9<&-")
        wait_for(b"sysctr demo: hello from a container")
        wait_for(PROMPT)
        say(last)
    while shown("the end"):
        pass
    if len(boots) != 2:
        sys.exit(f"shell: it did not boot twice: {boots}")
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


main()
