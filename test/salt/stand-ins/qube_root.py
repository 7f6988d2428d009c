# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs programs in a folder that looks like the root of a qube. What states write to (/etc, /home, /rw, /usr/local, /usr/bin,
/usr/lib/build-infra, /usr/lib/systemd/system, /usr/share/man, /usr/share/bash-completion, /var, /run) are plain folders below it, which stay; everything else is this machine's own, bound read-only. No network,
no other processes. It needs root, or root of a user namespace that maps the accounts of a qube (as test/run.mjs starts all tests), and nothing
of the kernel beyond bind mounts: overlays over folders of unmapped owners cannot be written in a user namespace.

Reads one JSON request {"rounds": [[job, ...], ...], "see": [paths], "write": [paths]} and writes the answers in the same shape. The jobs of a round
run side by side. A job is {"root": folder, "argv": [...] or null, "env": {...}}; with null its root is only laid out. An answer is {"status", "stdout", "stderr"}.
Where argv is Salt's own salt-call, it runs in a fork of this process, which has Salt's modules read already."""
import ctypes
import json
import os
import shutil
import sys
import tempfile
import traceback

libc = ctypes.CDLL(None, use_errno=True)
NEW = 0x00020000 | 0x08000000 | 0x04000000 | 0x40000000 | 0x20000000  # mount, ipc, uts, net, pid
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
PR_SET_PDEATHSIG, SIGKILL = 1, 9
PASSWD = 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n'
GROUP = 'root:x:0:\nqubes:x:98:user\nuser:x:1000:\nnogroup:x:65534:\n'
OWN = ['etc', 'home', 'root', 'rw/config', 'run', 'tmp', 'var/lib', 'var/log', 'var/cache', 'proc', 'dev', 'sys', 'srv', 'usr/local', 'usr/bin', 'usr/lib/systemd/system',
       'usr/share/man', 'usr/share/bash-completion',
       'run/machine/usr/bin']
# Where the programs of this machine are, which /usr/bin of a qube leads to.
MACHINE = '/run/machine'


def call(function, *args):
    if getattr(libc, function)(*args) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f'{function}: {os.strerror(number)}', str(args))


def mount(source, target, kind, flags):
    call('mount', source.encode(), target.encode(), kind, flags, None)


def bind(root, path, writable=False, below=''):
    """The machine's own file or folder at the same place below `root`; locked flags of a mount have to be kept."""
    target = root + below + path
    mount(path, target, None, MS_BIND | MS_REC)
    if not writable:
        kept = os.statvfs(target).f_flag & (2 | 4 | 8 | 1024 | 2048)  # nosuid nodev noexec noatime nodiratime
        kept |= (1 << 21) if os.statvfs(target).f_flag & 4096 else 0  # relatime
        mount('none', target, None, MS_BIND | MS_REMOUNT | MS_RDONLY | kept)


def rest_of(folder, own):
    """The machine's entries of a folder but those that the qube has itself, or parts of."""
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name not in own]


def of_machine():
    """What the qube has of this machine: (paths to bind, paths to link again)."""
    paths = rest_of('/usr', {'local', 'lib', 'bin', 'share'}) + rest_of('/usr/share', {'man', 'bash-completion'}) + rest_of('/usr/lib', {'build-infra', 'systemd'}) + rest_of('/usr/lib/systemd', {'system'}) + ['/etc/alternatives']
    paths += ['/' + name for name in ('bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32') if os.path.lexists('/' + name)]
    return [path for path in paths if not os.path.islink(path) and os.path.exists(path)], [path for path in paths if os.path.islink(path)]


def mount_point(root, path):
    if os.path.isdir(path):
        os.makedirs(root + path, exist_ok=True)
    elif not os.path.exists(root + path):
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        with open(root + path, 'w', encoding='ascii'):
            pass


def lay_out(root, request):
    """What a fresh qube has of its own; nothing that is there already is touched."""
    for name in OWN:
        os.makedirs(os.path.join(root, name), mode=0o755, exist_ok=True)
    os.chmod(os.path.join(root, 'tmp'), 0o1777)
    bound, linked = of_machine()
    for path in linked:
        if not os.path.lexists(root + path):
            os.symlink(os.readlink(path), root + path)
    for path in bound + request['see'] + request['write']:
        mount_point(root, path)
    for name, text in (('passwd', PASSWD), ('group', GROUP), ('hosts', '127.0.0.1 localhost\n'), ('hostname', 'qube\n')):
        if not os.path.exists(os.path.join(root, 'etc', name)):
            with open(os.path.join(root, 'etc', name), 'w', encoding='ascii') as file:
                file.write(text)
    for name in ('ld.so.cache', 'os-release'):
        if os.path.exists('/etc/' + name) and not os.path.exists(os.path.join(root, 'etc', name)):
            shutil.copyfile('/etc/' + name, os.path.join(root, 'etc', name))
    units = os.path.join(root, 'usr/lib/systemd/system')
    if not os.path.exists(os.path.join(units, 'basic.target')) and os.path.isdir('/usr/lib/systemd/system'):
        shutil.copytree('/usr/lib/systemd/system', units, symlinks=True, dirs_exist_ok=True, copy_function=shutil.copyfile)
    # States add programs beside this machine's.
    for path in rest_of('/usr/bin', ()):
        if not os.path.lexists(root + path):
            os.symlink(MACHINE + path, root + path)


def assemble(root, see, write):
    mount('none', '/', None, MS_REC | MS_PRIVATE)
    for path in of_machine()[0] + see:
        bind(root, path)
    for path in write:
        bind(root, path, writable=True)
    bind(root, '/usr/bin', below=MACHINE)
    mount('/dev', root + '/dev', None, MS_BIND | MS_REC)
    try:
        mount('proc', root + '/proc', b'proc', 0)
    except OSError:
        # A container that hides parts of /proc does not let us have a whole one; then ours shows more than it should, to our own programs.
        mount('/proc', root + '/proc', None, MS_BIND | MS_REC)


def is_salt_call(argv):
    return len(argv) > 1 and os.path.basename(argv[1]) == 'salt-call'


def inside(job, request, out, err):
    """In the new namespaces, as their first process. Does not come back."""
    libc.prctl(PR_SET_PDEATHSIG, SIGKILL)
    os.umask(0o077 if job.get('strict-umask') else 0o022)
    assemble(job['root'], request['see'], request['write'])
    os.chroot(job['root'])
    os.chdir('/')
    os.dup2(os.open('/dev/null', os.O_RDONLY), 0)
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    os.environ.clear()
    os.environ.update(job['env'])
    if not is_salt_call(job['argv']):
        os.execvp(job['argv'][0], job['argv'])
    import gc
    import salt.scripts
    # It lives for a second.
    gc.disable()
    sys.argv = job['argv'][1:]
    try:
        salt.scripts.salt_call()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def start(job, request):
    """The id of the process to wait for, and where its output goes."""
    lay_out(job['root'], request)
    out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
    if job['argv'] is None:
        return None, out, err
    outer = os.fork()
    if outer == 0:
        status = 70
        try:
            libc.prctl(PR_SET_PDEATHSIG, SIGKILL)
            call('unshare', NEW)
            first = os.fork()
            if first == 0:
                inside(job, request, out, err)
            status = os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])
        except BaseException:  # pylint: disable=broad-except
            err.write(traceback.format_exc().encode())
            err.flush()
        finally:
            os._exit(status if 0 <= status < 256 else 71)
    return outer, out, err


def finish(started):
    process, out, err = started
    status = 0 if process is None else os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    texts = []
    for file in (out, err):
        file.seek(0)
        texts.append(file.read().decode('utf-8', 'replace'))
        file.close()
    return {'status': status, 'stdout': texts[0], 'stderr': texts[1]}


def main():
    request = json.load(sys.stdin)
    os.umask(0o022)
    if sys.base_prefix != '/usr':
        if sys.base_prefix == '/usr/local':
            sys.exit('Python is in /usr/local, which a qube has on its own volume: make the virtual environment with /usr/bin/python3')
        request['see'].append(sys.base_prefix)
    if any(job['argv'] is not None and is_salt_call(job['argv']) for jobs in request['rounds'] for job in jobs):
        # What every salt-call reads; its children have it from here.
        import salt.cli.call, salt.cli.caller, salt.client, salt.fileclient, salt.loader, salt.minion, salt.pillar, salt.scripts, salt.state  # noqa: E401,F401
    answers = []
    for jobs in request['rounds']:
        started = [start(job, request) for job in jobs]
        answers.append([finish(one) for one in started])
    json.dump(answers, sys.stdout)


if __name__ == '__main__':
    main()
