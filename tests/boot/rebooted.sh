#!/usr/bin/env bash
# rebooted.sh: what user-mode Linux runs in its place when its machine reboots (uml.sh).
: >"$HOME/rebooted"
