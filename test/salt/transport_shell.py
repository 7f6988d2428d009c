# SPDX-License-Identifier: GPL-2.0-or-later
"""Stands in for the ssh and scp that a management disposable has: those pipe a script through qrexec into the VM, these run it in a folder that looks
like the root of one ($BUILD_INFRA_QUBE). Only the two forms that salt-ssh uses; what the VM sees of this machine is its Python, not our Salt."""
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'stand-ins'))
import qube_root  # noqa: E402

#: Of the VM, whatever the disposable's own is.
ENVIRONMENT = {'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'HOME': '/root', 'LANG': 'C.UTF-8', 'USER': 'root'}


def note(line):
    with open(os.environ['BUILD_INFRA_QUBE'] + '.calls', 'a', encoding='utf-8') as file:
        file.write(line + '\n')


def ssh(words):
    """ssh HOST [options] COMMAND: the command is one word, for a shell."""
    note(f'ssh {words[0]}')
    job = {'root': os.environ['BUILD_INFRA_QUBE'], 'argv': ['/bin/sh', '-c', words[-1]], 'env': ENVIRONMENT}
    answer = qube_root.finish(qube_root.start(job, {'see': [], 'write': []}))
    sys.stdout.write(answer['stdout'])
    sys.stderr.write(answer['stderr'])
    return answer['status']


def scp(words):
    """scp [options] FILE HOST:PATH; a path that is not absolute lies in root's home."""
    note('scp')
    source, target = [word for word in words if not word.startswith('-') and '=' not in word][-2:]
    path = os.path.join(os.environ['BUILD_INFRA_QUBE'], os.path.join('/root', target.split(':', 1)[1]).lstrip('/'))
    shutil.copyfile(source, path)
    return 0


sys.exit({'ssh': ssh, 'scp': scp}[sys.argv[1]](sys.argv[2:]))
