# SPDX-License-Identifier: GPL-2.0-or-later
"""A service and everything it starts end together, as in a systemd control group: also what made itself a session of its own."""
import ctypes
import os
import signal

SET_PDEATHSIG, SET_CHILD_SUBREAPER = 1, 36
libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent():
    """Call it after the last change of user, which would undo it."""
    libc.prctl(SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def children():
    found = []
    for entry in os.listdir('/proc'):
        if entry.isdigit():
            try:
                with open(f'/proc/{entry}/stat', 'rb') as file:
                    if int(file.read().rpartition(b')')[2].split()[1]) == os.getpid():
                        found.append(int(entry))
            except OSError:
                pass
    return found


def start(become):
    """Starts `become` (which never returns) under a process that kills what it leaves behind. Returns that process; its status is 128+n for signal n."""
    pid = os.fork()
    if pid != 0:
        return pid
    try:
        supervise(become)
    finally:
        os._exit(203)


def supervise(become):
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    libc.prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    main = os.fork()
    if main == 0:
        become()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: os.kill(main, received))
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == main:
            break
    code = os.waitstatus_to_exitcode(status)
    while left := children():
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(-1, 0)
    os._exit(code if code >= 0 else 128 - code)
