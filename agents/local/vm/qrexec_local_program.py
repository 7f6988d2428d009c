# SPDX-License-Identifier: GPL-2.0-or-later
"""A call whose caller's end is a program of this VM, started once the call is allowed."""
import _signal
import _socket
import posix

import qrexec_streams as streams


def saved(fd):
    """The caller's own descriptor under a number that the program inherits."""
    copy = posix.dup(fd)
    posix.set_inheritable(copy, True)
    return copy


def start(argv, to_program, from_program):
    environment = dict(posix.environ)
    agent = posix.getpid()
    keep = {'SAVED_FD_0': saved(0), 'SAVED_FD_1': saved(1)}
    if b'PASS_LOCAL_STDERR' in environment:
        keep['SAVED_FD_2'] = saved(2)
    pid = posix.fork()
    if pid == 0:
        try:
            posix.dup2(to_program.fileno(), 0)
            posix.dup2(from_program.fileno(), 1)
            for name, fd in keep.items():
                environment[name.encode()] = str(fd).encode()
            environment[b'QREXEC_AGENT_PID'] = str(agent).encode()
            _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
            name = argv[0].rpartition('/')[2]
            posix.execve(argv[0], [name] + argv[1:], environment)
        except OSError as error:
            posix.write(2, f'qrexec-client-vm: {argv[0]}: {error.strerror}\n'.encode('utf-8', 'surrogateescape'))
        posix._exit(255)
    for fd in keep.values():
        posix.close(fd)
    return pid


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
    pid = start(argv, its_stdin, its_stdout)
    its_stdin.close()
    its_stdout.close()
    status = streams.talk(channel, letter, text, fds, ends)
    ends.close_input()
    ends.end_output()
    _, waited = posix.waitpid(pid, 0)
    local = posix.waitstatus_to_exitcode(waited)
    return status or (local if local >= 0 else 128 - local)
