# SPDX-License-Identifier: GPL-2.0-or-later
"""On the host: a command that dom0 started in a VM, with this process's own streams. Its status is ours.

  exec-client.py MEETING-SOCKET
"""
import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import qrexec_streams as streams  # noqa: E402


def on_terminal(master, channel):
    """Copies between this terminal and the one in the VM, byte for byte, until the command ends."""
    import fcntl
    import termios
    import tty

    def resize(*_):
        fcntl.ioctl(master, termios.TIOCSWINSZ, fcntl.ioctl(0, termios.TIOCGWINSZ, b'\0' * 8))

    before = termios.tcgetattr(0)
    signal.signal(signal.SIGWINCH, resize)
    resize()
    ended = streams.End()
    import _thread
    try:
        tty.setraw(0)
        ends = streams.CallerEnds()
        ends.close_input = lambda: None
        _thread.start_new_thread(streams.send_input, (ends, master, lambda: None))
        _thread.start_new_thread(streams.copy_output, (os.dup(master), 1, False, ended.reached))
        status = streams.read_status(channel, '')
        ended.wait()
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
    return status


def main():
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    channel, letter, text, fds = streams.meet(sys.argv[1])
    if letter == b'T':
        status = on_terminal(fds[0], channel)
    else:
        status = streams.talk(channel, letter, text, fds, streams.CallerEnds())
    os._exit(status)


main()
