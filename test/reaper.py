# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a command, and adopts whatever process its tests leave behind: so they are found, and told from those of others."""
import ctypes
import os
import sys

PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
child = os.fork()
if child == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
ended = None
while ended != child:
    ended, status = os.wait()
code = os.waitstatus_to_exitcode(status)
sys.exit(code if code >= 0 else 128 - code)
