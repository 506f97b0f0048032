"""peak.py FILE PROGRAM ARG…: runs the program and writes its peak resident memory in KiB, as wait4(2) tells it, to FILE."""

import os
import sys

# posix_spawn does not copy this process, whose own memory would count otherwise.
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
with open(sys.argv[1], "w") as file:
    print(usage.ru_maxrss, file=file)
sys.exit(os.waitstatus_to_exitcode(status))
