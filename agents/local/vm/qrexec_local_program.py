# SPDX-License-Identifier: GPL-2.0-or-later
"""A call whose caller's end is a program of this VM, started once the call is allowed."""
import _signal
import _socket
import fcntl
import posix

import qrexec_streams as streams


def become(argv, its_stdin, its_stdout, agent):
    """In the child: sockets as stdin and stdout, the caller's own from descriptor 3 on (a shell takes one digit only). Never returns."""
    environment = dict(posix.environ)
    environment[b'QREXEC_AGENT_PID'] = str(agent).encode()
    try:
        count = 3 if b'PASS_LOCAL_STDERR' in environment else 2
        callers = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in range(count)]
        sockets = [fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, 20) for sock in (its_stdin, its_stdout)]
        for number, fd in enumerate(callers):
            posix.dup2(fd, 3 + number)
            environment[f'SAVED_FD_{number}'.encode()] = str(3 + number).encode()
        for number, fd in enumerate(sockets):
            posix.dup2(fd, number)
        for number in (_signal.SIGPIPE, _signal.SIGUSR1):
            _signal.signal(number, _signal.SIG_DFL)
        posix.execve(argv[0], [argv[0].rpartition('/')[2]] + argv[1:], environment)
    except OSError as error:
        posix.write(2, f'qrexec-client-vm: {argv[0]}: {error.strerror}\n'.encode('utf-8', 'surrogateescape'))
    posix._exit(255)


class ProgramEnds(streams.CallerEnds):
    """The program's stdin and stdout are socket pairs. On SIGUSR1 it speaks both ways over its stdin."""

    def __init__(self, program_in, program_out, **how):
        super().__init__(**how)
        self.program_in, self.program_out, self.switched = program_in, program_out, False
        self.stdout = program_in.fileno()

    def switch(self, _number, _frame):
        self.switched = True
        self.stop(self.program_out, _socket.SHUT_RD)

    def read_input(self, size):
        data = self.program_out.recv(size)
        return self.program_in.recv(size) if not data and self.switched else data

    def close_input(self):
        self.stop(self.program_out, _socket.SHUT_RD)

    def end_output(self):
        self.stop(self.program_in, _socket.SHUT_WR)

    @staticmethod
    def stop(sock, direction):
        try:
            sock.shutdown(direction)
        except OSError:
            pass


def run(argv, how, channel, letter, text, fds):
    """The service's status if it is not zero, otherwise the program's."""
    program_in, its_stdin = _socket.socketpair()
    program_out, its_stdout = _socket.socketpair()
    ends = ProgramEnds(program_in, program_out, **how)
    _signal.signal(_signal.SIGUSR1, ends.switch)
    agent = posix.getpid()
    pid = posix.fork()
    if pid == 0:
        become(argv, its_stdin, its_stdout, agent)
    its_stdin.close()
    its_stdout.close()
    status = streams.talk(channel, letter, text, fds, ends)
    ends.close_input()
    ends.end_output()
    _, waited = posix.waitpid(pid, 0)
    local = posix.waitstatus_to_exitcode(waited)
    return status or (local if local >= 0 else 128 - local)
