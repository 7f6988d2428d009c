# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds and starts the service that a call is for, inside its VM, and hands the ends of its streams to the caller."""
import os
import pwd
import socket
import stat
import time

import rpc_config

FOLDERS = ('/run/qubes-rpc', '/usr/local/etc/qubes-rpc', '/etc/qubes-rpc')
PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'


class CannotRun(Exception):
    """The call ends with this status, and the caller learns no more."""

    def __init__(self, status, why):
        super().__init__(why)
        self.status = status


def start(request, channel):
    """Returns the process to wait for, or None where a socket service has taken over."""
    if request['op'] == 'exec':
        return run_command(request, channel)
    name, argument = request['service'], request['argument']
    if len(name) > 255:
        raise CannotRun(125, 'the name of the service is too long')
    try:
        settings = rpc_config.read(name, argument)
    except rpc_config.BadConfig as error:
        raise CannotRun(125, f'rpc-config: {error}') from error
    path, status = find(name, argument)
    if isinstance(path, tuple):
        connect_tcp(path, argument, request, settings, channel)
        return None
    if stat.S_ISSOCK(status.st_mode):
        connect_socket(path, request, settings, channel)
        return None
    if not status.st_mode & 0o111:
        raise CannotRun(125, f'{path} is not executable')
    return run_program(path, request, settings, channel)


def find(name, argument):
    """`service+arg` in every folder before `service` in any. A link to /dev/tcp/... means: connect there."""
    given = os.environ.get('QREXEC_SERVICE_PATH')
    for wanted in (f'{name}+{argument}', name):
        if len(wanted) > 255:
            continue
        for folder in given.split(':') if given else FOLDERS:
            path = f'{folder}/{wanted}'
            try:
                target = os.readlink(path)
                if target.startswith('/dev/tcp/'):
                    return tuple(target[len('/dev/tcp/'):].split('/')), None
            except OSError:
                pass
            try:
                return path, os.stat(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise CannotRun(125, str(error)) from error
    raise CannotRun(127, 'no such service')


def hand_over(channel, letter, fds, text=''):
    try:
        socket.send_fds(channel, [f'{letter}{text}'.encode()], fds)
    except OSError:
        pass  # The caller is gone; closing our copies is what tells the service.


def socket_flags(settings):
    return ' '.join(key for key in ('exit-on-client-eof', 'exit-on-service-eof') if settings.get(key))


def connect_socket(path, request, settings, channel):
    """As root: the peer credentials that the service sees say nothing about the caller; the descriptor does."""
    service = socket.socket(socket.AF_UNIX)
    service.setblocking(False)
    until = time.monotonic() + 10
    while True:
        try:
            service.connect(path)
            break
        except BlockingIOError:
            # Its queue of connections is full.
            if time.monotonic() > until:
                raise CannotRun(125, f'{path} does not take connections') from None
            time.sleep(0.005)
        except OSError as error:
            raise CannotRun(125, f'{path}: {error.strerror}') from error
    send_descriptor(service, request, settings)
    hand_over(channel, 'S', [service.fileno()], socket_flags(settings))
    service.close()


def send_descriptor(service, request, settings):
    service.setblocking(True)
    if not settings.get('skip-service-descriptor'):
        service.sendall(f"{request['service']}+{request['argument']} {request['source']}\0".encode())


def connect_tcp(parts, argument, request, settings, channel):
    words = [*parts, *(argument.replace('+', ' ').split() if argument else [])]
    try:
        host, port = words
        service = socket.create_connection((host, int(port)), timeout=10)
    except (ValueError, OSError) as error:
        raise CannotRun(125, f'cannot connect: {error}') from error
    send_descriptor(service, request, settings)
    hand_over(channel, 'S', [service.fileno()], socket_flags(settings))
    service.close()


def account(name):
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise CannotRun(125, f'no user {name}') from None


def environment_of(user):
    return {'HOME': user.pw_dir, 'USER': user.pw_name, 'LOGNAME': user.pw_name, 'SHELL': user.pw_shell or '/bin/sh', 'PATH': PATH,
            'PWD': user.pw_dir, 'LANG': 'C.UTF-8', 'QREXEC_AGENT_PID': str(os.getpid())}


def run_program(path, request, settings, channel):
    user = account(settings.get('force-user') or request['user'])
    environment = environment_of(user)
    environment.update({
        'QREXEC_REMOTE_DOMAIN': request['source'],
        'QREXEC_SERVICE_FULL_NAME': f"{request['service']}+{request['argument']}",
        'QREXEC_SERVICE_ARGUMENT': request['argument'],
        'QREXEC_REQUESTED_TARGET_TYPE': '',
    })
    if 'QREXEC_SERVICE_PATH' in os.environ:
        environment['QREXEC_SERVICE_PATH'] = os.environ['QREXEC_SERVICE_PATH']
    # A login shell, as PAM sessions get on Qubes: it also runs a script without #!.
    argv = ['/bin/sh', '-lc', 'exec "$0" "$@"', path] + ([request['argument']] if request['argument'] else [])
    return with_streams(argv, user, environment, user.pw_dir, channel)


def run_command(request, channel):
    user = account(request['user'])
    environment = {**environment_of(user), **request.get('env', {})}
    folder = request.get('cwd') or user.pw_dir
    if request.get('tty'):
        return with_terminal(request['argv'], user, environment, folder, channel)
    return with_streams(request['argv'], user, environment, folder, channel)


def with_streams(argv, user, environment, folder, channel):
    """stdin and stdout are sockets and stderr a pipe: what a service on Qubes finds."""
    its_in, our_in = socket.socketpair()
    its_out, our_out = socket.socketpair()
    our_err, its_err = os.pipe()
    pid = os.fork()
    if pid == 0:
        become(argv, user, environment, folder, (its_in.fileno(), its_out.fileno(), its_err))
    # Each pair is used one way only, so that an end of file on one side is seen on the other.
    our_out.shutdown(socket.SHUT_WR)
    our_in.shutdown(socket.SHUT_RD)
    hand_over(channel, 'X', [our_in.fileno(), our_out.fileno(), our_err])
    for sock in (its_in, our_in, its_out, our_out):
        sock.close()
    os.close(our_err)
    os.close(its_err)
    return pid


def with_terminal(argv, user, environment, folder, channel):
    master, slave = os.openpty()
    pid = os.fork()
    if pid == 0:
        become(argv, user, environment, folder, (slave, slave, slave))
    hand_over(channel, 'T', [master])
    os.close(master)
    os.close(slave)
    return pid


def become(argv, user, environment, folder, fds):
    """In the child: that user, in a session of its own, with nothing of ours but the three streams. Never returns."""
    try:
        import fcntl
        import signal
        import termios
        os.setsid()
        for number, fd in enumerate(fds):
            os.dup2(fd, number)
        if os.isatty(0):
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.closerange(3, 4096)
        os.initgroups(user.pw_name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
        os.umask(0o022)
        os.chdir(folder if os.path.isdir(folder) else '/')
        os.execvpe(argv[0], argv, environment)
    except FileNotFoundError:
        os._exit(127)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the child must end here
        os.write(2, f'{argv[0]}: {error}\n'.encode('utf-8', 'surrogateescape'))
    os._exit(126)
