# SPDX-License-Identifier: GPL-2.0-or-later
"""One service of a VM: started with its sockets handed over, and again after a crash as its unit says."""
import grp
import os
import pwd
import signal
import time

import process_tree
import unit_files

PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'


class Service:
    def __init__(self, unit, log):
        self.unit, self.log = unit, log
        self.sockets = []
        self.pid = None
        self.due = None
        self.starts = []
        self.blocked_until = 0.0

    def value(self, key, default=''):
        return self.unit.get('Service', key, default)

    def at_boot(self):
        return 'multi-user.target' in self.unit.words('Install', 'WantedBy') and self.unit.wanted()

    def may_start(self, now):
        return now >= self.blocked_until

    def start(self):
        """At most StartLimitBurst starts in StartLimitIntervalSec (5 in 10 s), as systemd has it; then it waits for that time to be over."""
        self.due = None
        now = time.monotonic()
        if not self.unit.wanted():
            self.log(f'{self.unit.name}: a condition does not hold')
            self.blocked_until = now + 1
            return
        interval = unit_files.seconds(self.unit.get('Unit', 'StartLimitIntervalSec', '10'))
        burst = int(self.unit.get('Unit', 'StartLimitBurst', '5'))
        self.starts = [at for at in self.starts if at > now - interval]
        if interval > 0 and len(self.starts) >= burst:
            self.log(f'{self.unit.name}: started too often')
            self.blocked_until = self.starts[0] + interval
            return
        self.starts.append(now)
        self.pid = process_tree.start(self.become)
        self.log(f'{self.unit.name}: started')

    def ended(self, code, stopping):
        self.pid = None
        clean = code in (0, 128 + signal.SIGTERM, 128 + signal.SIGINT, 128 + signal.SIGHUP, 128 + signal.SIGPIPE)
        self.log(f'{self.unit.name}: ended ({code})')
        restart = self.value('Restart', 'no')
        again = restart == 'always' or (restart in ('on-failure', 'on-abnormal', 'on-abort') and not clean)
        if again and not stopping and self.value('Type', 'simple') != 'oneshot':
            self.due = time.monotonic() + unit_files.seconds(self.value('RestartSec', '100ms'))

    def signal(self, number):
        if self.pid is not None:
            try:
                os.kill(self.pid, number)
            except OSError:
                pass

    def become(self):
        """In the child: the unit's user, folders, environment and sockets. Never returns."""
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            null = os.open('/dev/null', os.O_RDONLY)
            os.dup2(null, 0)
            os.dup2(2, 1)
            environment = self.prepare()
            environment.update(self.hand_over_sockets())
            for line in self.unit.all('Service', 'ExecStartPre'):
                argv, ignored = unit_files.command(line)
                if os.waitstatus_to_exitcode(os.waitpid(self.spawn(argv, environment), 0)[1]) != 0 and not ignored:
                    os._exit(1)
            process_tree.die_with_parent()
            argv, _ = unit_files.command(self.value('ExecStart'))
            os.execvpe(argv[0], argv, environment)
        except BaseException as error:  # noqa: BLE001 - the child must end here
            os.write(2, f'{self.unit.name}: {error}\n'.encode())
        os._exit(203)

    @staticmethod
    def spawn(argv, environment):
        pid = os.fork()
        if pid == 0:
            try:
                os.execvpe(argv[0], argv, environment)
            finally:
                os._exit(203)
        return pid

    def prepare(self):
        user = pwd.getpwnam(self.value('User', 'root'))
        group = grp.getgrnam(self.value('Group')).gr_gid if self.value('Group') else user.pw_gid
        environment = {'PATH': PATH, 'LANG': 'C.UTF-8'}
        if self.value('User'):
            environment.update({'HOME': user.pw_dir, 'USER': user.pw_name, 'LOGNAME': user.pw_name, 'SHELL': user.pw_shell})
        for key, parent, variable in (('RuntimeDirectory', '/run', 'RUNTIME_DIRECTORY'), ('StateDirectory', '/var/lib', 'STATE_DIRECTORY')):
            made = [f'{parent}/{name}' for name in self.unit.words('Service', key)]
            for path in made:
                os.makedirs(path, exist_ok=True)
                self.give(path, user.pw_uid, group)
                os.chmod(path, int(self.value(f'{key}Mode', '0755'), 8))
            if made:
                environment[variable] = ':'.join(made)
        import shlex
        for line in self.unit.all('Service', 'Environment'):
            environment.update(word.partition('=')[::2] for word in shlex.split(line))
        os.initgroups(user.pw_name, group)
        for name in self.unit.words('Service', 'SupplementaryGroups'):
            os.setgroups([*os.getgroups(), grp.getgrnam(name).gr_gid])
        os.setgid(group)
        os.setuid(user.pw_uid)
        os.umask(int(self.value('UMask', '0022'), 8))
        os.chdir(self.value('WorkingDirectory', '/').replace('~', user.pw_dir).lstrip('-'))
        return environment

    @staticmethod
    def give(path, uid, gid):
        """A folder that belongs to somebody else changes hands with all that is in it, as in systemd."""
        found = os.stat(path)
        if (found.st_uid, found.st_gid) == (uid, gid):
            return
        for folder, _, files in os.walk(path):
            for entry in (folder, *(os.path.join(folder, name) for name in files)):
                os.lchown(entry, uid, gid)

    def hand_over_sockets(self):
        """Descriptors 3, 4, ... as sd_listen_fds(3) says; first out of the way, so that none overwrites another."""
        count = len(self.sockets)
        copies = [os.dup(sock.fileno()) for _, sock in self.sockets]
        high = [self.above(fd, 3 + count) for fd in copies]
        for index, fd in enumerate(high):
            os.dup2(fd, 3 + index)
        os.closerange(3 + count, 4096)
        if count == 0:
            return {}
        return {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': str(count), 'LISTEN_FDNAMES': ':'.join(label for label, _ in self.sockets)}

    @staticmethod
    def above(fd, lowest):
        import fcntl
        return fcntl.fcntl(fd, fcntl.F_DUPFD, lowest)
