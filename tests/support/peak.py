"""peak.py FILE PROGRAM ARG…: runs the program; FILE gets its peak resident memory in KiB and its CPU time in milliseconds,
as wait4(2) tells them."""

import os
import sys

# posix_spawn does not copy this process, whose own memory would count otherwise.
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
with open(sys.argv[1], "w") as file:
    print(usage.ru_maxrss, round(1000 * (usage.ru_utime + usage.ru_stime)), file=file)
sys.exit(os.waitstatus_to_exitcode(status))
