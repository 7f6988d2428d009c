# SPDX-License-Identifier: GPL-2.0-or-later
"""qrexec-client-vm [options] TARGET SERVICE[+ARG] [LOCAL_PROGRAM [args...]]: a call to another VM, as on Qubes.

It decides nothing: it says what is asked for, and dom0 knows who asks by the socket. Everything a root of this VM could change here
changes only what is asked for.
"""
import _signal
import posix
import sys

import qrexec_streams as streams

USAGE = 'usage: qrexec-client-vm [options] TARGET SERVICE[+ARG] [LOCAL_PROGRAM [args...]]\n'
WITH_VALUE = {'buffer-size', 'agent-socket', 'prefix-data', 'source-qube'}
FLAGS = {
    'filter-escape-chars-stdout', 'filter-escape-chars-stderr', 'no-filter-escape-chars-stdout', 'no-filter-escape-chars-stderr',
    'use-stdin-socket', 'help',
}
SHORT = {'t': 'filter-escape-chars-stdout', 'T': 'filter-escape-chars-stderr', 'h': 'help', 'a': 'agent-socket', 'p': 'prefix-data', 's': 'source-qube'}


def complain(text):
    posix.write(2, text.encode('utf-8', 'surrogateescape'))


def usage(status=2):
    complain(USAGE)
    posix._exit(status)


def read_options(args):
    """Options end at the first word that is none; later ones belong to the local program."""
    options, at = {}, 0
    while at < len(args):
        word = args[at]
        if word == '--':
            at += 1
            break
        if not word.startswith('-') or word == '-':
            break
        at += 1
        if word.startswith('--'):
            name, given, value = word[2:].partition('=')
            fitting = [name] if name in WITH_VALUE | FLAGS else [one for one in WITH_VALUE | FLAGS if one.startswith(name)]
            if len(fitting) != 1 or (given and fitting[0] in FLAGS):
                usage()
            name = fitting[0]
            if name in WITH_VALUE and not given:
                if at >= len(args):
                    usage()
                value, at = args[at], at + 1
            options[name] = value
            continue
        letters = word[1:]
        while letters:
            name, letters = SHORT.get(letters[0]), letters[1:]
            if name is None:
                usage()
            if name in WITH_VALUE:
                if not letters:
                    if at >= len(args):
                        usage()
                    letters, at = args[at], at + 1
                options[name], letters = letters, ''
            else:
                options[name] = ''
    return options, args[at:]


def ask_dom0(socket_path, target, service, source_qube):
    """What dom0 answers: `refused`, `exit N`, or `meet PATH`. The connection stays open as long as the call lasts."""
    try:
        dom0 = streams.connect(socket_path)
    except OSError as error:
        complain(f'qrexec-client-vm: {socket_path}: {error.strerror}\n')
        posix._exit(1)
    answer = b''
    try:
        dom0.sendall(b'\0'.join(text.encode('utf-8', 'surrogateescape') for text in (target, service, source_qube)) + b'\0')
        while not answer.endswith(b'\n'):
            data = dom0.recv(4096)
            if not data:
                break
            answer += data
    except OSError:
        pass
    return dom0, answer.decode('ascii', 'replace').split()


def is_junk(size):
    try:
        return int(size, 0) < 0 if not (size.startswith('0') and size.isdigit()) else int(size, 8) < 0
    except ValueError:
        return True


def main():
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    options, words = read_options(sys.argv[1:])
    if 'help' in options:
        usage(0)
    if len(words) < 2:
        usage()
    if is_junk(options.get('buffer-size', '0')):
        complain('qrexec-client-vm: invalid buffer size\n')
        posix._exit(1)
    target, service, local = words[0].replace('$', '@'), words[1], words[2:]
    escape_stdout = 'filter-escape-chars-stdout' in options or (not local and posix.isatty(1))
    escape_stderr = 'filter-escape-chars-stderr' in options or posix.isatty(2)
    if 'no-filter-escape-chars-stdout' in options:
        escape_stdout = False
    if 'no-filter-escape-chars-stderr' in options:
        escape_stderr = False
    dom0, answer = ask_dom0(options.get('agent-socket', '/var/run/qubes/qrexec-agent'), target, service, options.get('source-qube', ''))
    if answer[:1] == ['exit'] and len(answer) == 2:
        posix._exit(int(answer[1]))
    if answer[:1] != ['meet'] or len(answer) != 2:
        complain('Request refused\n')
        posix._exit(126)
    try:
        channel, letter, text, fds = streams.meet(answer[1])
    except OSError as error:
        complain(f'qrexec-client-vm: the other side went away: {error.strerror}\n')
        posix._exit(1)
    if letter == b'E':
        posix._exit(int(text))
    how = {
        'escape_stdout': escape_stdout, 'escape_stderr': escape_stderr,
        'prefix': options.get('prefix-data', '').encode('utf-8', 'surrogateescape'),
    }
    if local:
        import qrexec_local_program
        status = qrexec_local_program.run(local, how, channel, letter, text, fds)
    else:
        ends = streams.SocketOnStdin(**how) if 'use-stdin-socket' in options else streams.CallerEnds(**how)
        status = streams.talk(channel, letter, text, fds, ends)
    # dom0 counts the call as over when this connection closes, which it does now.
    del dom0
    posix._exit(status)
