# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs one test file, and says on descriptor 3 how many seconds of processor time all its processes took, and which mounts it left.

With a size, its temporary folder is in memory: a folder of its own in a mount namespace of its own, gone with its last process. Most tests
make and remove small files all the time, and a disk's journal costs more than they do. Where nothing may be mounted, the folder stays on the disk.
"""
import ctypes
import json
import os
import resource
import signal
import sys
import tempfile

CLONE_NEWNS = 0x20000
MS_PRIVATE_RECURSIVE = 0x40000 | 0x4000
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

libc = ctypes.CDLL(None, use_errno=True)


def keep_in_memory(folder, size):
    if libc.unshare(CLONE_NEWNS) == 0 and libc.mount(None, b"/", None, MS_PRIVATE_RECURSIVE, None) == 0:
        libc.mount(b"tmpfs", folder.encode(), b"tmpfs", 0, b"mode=1777,size=%d" % size)


def mounts():
    with open("/proc/self/mountinfo", encoding="utf8", errors="surrogateescape") as lines:
        return [line.split()[4] for line in lines]


def run(argv):
    """Its exit status, and the processor time of what ended before it or with it."""
    child = os.fork()
    if child == 0:
        # Who ends us ends it.
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.close(3)
        os.execvp(argv[0], argv)
    ended = None
    while ended != child:
        ended, status = os.wait()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


def main():
    size, argv = int(sys.argv[1]), sys.argv[2:]
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if size > 0:
        keep_in_memory(tempfile.gettempdir(), size)
    before = mounts()
    code, seconds = run(argv)
    left = [mount for mount in mounts() if size > 0 and mount not in before]
    os.write(3, json.dumps({"seconds": seconds, "mounts": left}).encode())
    sys.exit(code if code >= 0 else 128 - code)


main()
