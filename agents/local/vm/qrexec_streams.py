# SPDX-License-Identifier: GPL-2.0-or-later
"""The caller's half of a call, once dom0 has said where the other half waits: no relay stands between the two.

The target's agent sends one message: a letter, and the ends of the service's own streams as descriptors.
  S  one socket: a socket service, both directions
  X  stdin, stdout, stderr of a program; its status follows as a line
  T  the master side of a terminal; the status follows
  E  a status: there is nothing to talk to
Builtins only, because a call must start in a few milliseconds.
"""
import _socket
import _thread
import posix
import select

# Below the size from which malloc asks the kernel each time.
CHUNK = 65536
MSG_CMSG_CLOEXEC = 0x40000000
FILTER = bytes(b if 0x20 <= b <= 0x7e or b in (7, 8, 9, 10, 13) else 0x5f for b in range(256))


def connect(path):
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    sock.connect(path)
    return sock


def meet(path):
    """Connects to the target's agent and returns (connection, letter, text, descriptors)."""
    channel = connect(path)
    data, ancillary, _, _ = channel.recvmsg(4096, 256, MSG_CMSG_CLOEXEC)
    fds = []
    for level, kind, packed in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            fds += [int.from_bytes(packed[i:i + 4], 'little') for i in range(0, len(packed), 4)]
    return channel, data[:1], data[1:].decode('ascii', 'replace'), fds


def write_all(fd, data):
    view = memoryview(data)
    while view:
        view = view[posix.write(fd, view):]


def close(fd):
    try:
        posix.close(fd)
    except OSError:
        pass


class End:
    """Something another thread reached; wait() returns once it did."""

    def __init__(self):
        self.lock = _thread.allocate_lock()
        self.lock.acquire()

    def reached(self):
        self.lock.release()

    def wait(self):
        self.lock.acquire()


def send_input(ends, sink, at_end):
    """The caller's bytes to the service. A service that reads no more ends the caller's writing (EPIPE), not the call."""
    try:
        write_all(sink, ends.prefix)
        while data := ends.read_input(CHUNK):
            write_all(sink, data)
    except OSError:
        pass
    ends.close_input()
    at_end()


def copy_output(source, sink, escape, at_end):
    """The service's bytes to the caller. When nobody reads them any more they are dropped: the service is not told."""
    dropped = False
    while True:
        try:
            data = posix.read(source, CHUNK)
        except OSError:
            break
        if not data:
            break
        if dropped:
            continue
        try:
            write_all(sink, data.translate(FILTER) if escape else data)
        except OSError:
            dropped = True
    close(source)
    at_end()


def half_close(fd):
    sock = _socket.socket(fileno=posix.dup(fd))
    try:
        sock.shutdown(_socket.SHUT_WR)
    except OSError:
        pass
    sock.close()


class CallerEnds:
    """The caller's own streams, and how the bytes are treated."""

    def __init__(self, escape_stdout=False, escape_stderr=False, prefix=b''):
        self.stdout, self.stderr = 1, 2
        self.escape_stdout, self.escape_stderr, self.prefix = escape_stdout, escape_stderr, prefix

    def read_input(self, size):
        return posix.read(0, size)

    def close_input(self):
        close(0)

    def end_output(self):
        close(self.stdout)


class SocketOnStdin(CallerEnds):
    """Standard input is a socket that is used both ways (--use-stdin-socket)."""

    def __init__(self, **how):
        super().__init__(**how)
        self.stdout = 0

    def close_input(self):
        pass

    def end_output(self):
        half_close(0)


def talk(channel, letter, text, fds, ends):
    """Runs the call to its end; returns its status."""
    if letter == b'S':
        return with_socket(fds[0], text.split(), ends)
    if letter == b'X':
        return with_program(channel, text, fds, ends)
    if letter == b'E':
        return int(text)
    return 1


def with_socket(service, flags, ends):
    def at_end():
        if 'exit-on-client-eof' in flags:
            posix._exit(0)
        half_close(service)

    _thread.start_new_thread(send_input, (ends, service, at_end))
    copy_output(posix.dup(service), ends.stdout, ends.escape_stdout, ends.end_output)
    if 'exit-on-service-eof' not in flags:
        # It may still read. Once both sides have closed, or it is gone, the socket hangs up.
        poll = select.poll()
        poll.register(service, 0)
        poll.poll()
    return 0


def with_program(channel, text, fds, ends):
    service_in, service_out, service_err = fds
    out, err = End(), End()

    def copy_stdout():
        copy_output(service_out, ends.stdout, ends.escape_stdout, ends.end_output)
        out.reached()

    _thread.start_new_thread(send_input, (ends, service_in, lambda: close(service_in)))
    _thread.start_new_thread(copy_output, (service_err, ends.stderr, ends.escape_stderr, err.reached))
    _thread.start_new_thread(copy_stdout, ())
    status = read_status(channel, text)
    out.wait()
    err.wait()
    return status


def read_status(channel, text):
    while not text.endswith('\n'):
        data = channel.recv(64)
        if not data:
            return 255
        text += data.decode('ascii', 'replace')
    return int(text.split()[-1])
