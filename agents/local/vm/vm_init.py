#!/usr/bin/python3 -IE
# SPDX-License-Identifier: GPL-2.0-or-later
"""The first process of a VM's sandbox. It plays systemd for build-infra-* units: sockets first, then the qrexec agent, so that a call
which starts the VM waits for its service instead of failing; then the services, which it starts again when they crash."""
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import unit_files  # noqa: E402
from unit_service import Service  # noqa: E402

STOP_SECONDS = 10


def log(text):
    print(f'vm-init: {text}', file=sys.stderr, flush=True)


def make_socket(path, unit):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    import grp
    import pwd
    user, group = unit.get('Socket', 'SocketUser', 'root'), unit.get('Socket', 'SocketGroup')
    account = pwd.getpwnam(user)
    os.chown(path, account.pw_uid, grp.getgrnam(group).gr_gid if group else account.pw_gid)
    os.chmod(path, int(unit.get('Socket', 'SocketMode', '0666'), 8))
    sock.listen(int(unit.get('Socket', 'Backlog', '4096')))
    return sock


class Init:
    def __init__(self, features):
        os.makedirs('/run/qubes-service', exist_ok=True)
        for feature in features:
            open(f'/run/qubes-service/{feature}', 'w').close()
        self.make_home()
        self.own_bind_dirs()
        units, sockets = unit_files.read_all()
        self.services = {name: Service(unit, log) for name, unit in units.items()}
        for unit in sockets:
            self.add_sockets(unit)
        self.agent = None
        self.agent_after = 0.0
        self.stopping = None

    @staticmethod
    def make_home():
        os.makedirs('/home/user', mode=0o700, exist_ok=True)
        if os.stat('/home/user').st_uid != 1000:
            os.chown('/home/user', 1000, 1000)

    @staticmethod
    def own_bind_dirs():
        """On Qubes bind-dirs mounts the folder below /rw over the one in the template, so who owns that one owns this."""
        try:
            about = os.stat('/rw/bind-dirs/var/lib/build-infra')
        except FileNotFoundError:
            return
        os.chown('/var/lib/build-infra', about.st_uid, about.st_gid)
        os.chmod('/var/lib/build-infra', about.st_mode & 0o7777)

    def add_sockets(self, unit):
        name = unit.get('Socket', 'Service', unit.name.removesuffix('.socket') + '.service')
        service = self.services.get(name)
        if service is None:
            log(f'{unit.name}: there is no {name}')
            return
        label = unit.get('Socket', 'FileDescriptorName', unit.name)
        for path in unit.all('Socket', 'ListenStream'):
            try:
                service.sockets.append((label, make_socket(path, unit)))
            except (OSError, KeyError, ValueError) as error:
                log(f'{unit.name}: {path}: {error}')

    def start_agent(self):
        self.agent = subprocess.Popen([sys.executable, '-IE', '/usr/lib/qubes/qrexec-agent', '/run/qubes/dom0'], stdin=subprocess.DEVNULL, start_new_session=True)

    def run(self):
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: self.stop())
        self.start_agent()
        for service in self.services.values():
            if service.at_boot():
                service.start()
        while not (self.stopping is not None and self.stopped()):
            self.step(wake_read)

    def step(self, wake_read):
        now = time.monotonic()
        watched = {wake_read: None}
        due = [self.stopping + STOP_SECONDS] if self.stopping is not None else []
        for service in self.services.values():
            if self.stopping is not None:
                continue
            if service.due is not None and service.due <= now:
                service.start()
            if service.due is not None:
                due.append(service.due)
            elif service.pid is None and service.may_start(now):
                watched.update({sock.fileno(): service for _, sock in service.sockets})
            elif service.pid is None:
                due.append(service.blocked_until)
        if self.agent is None and self.stopping is None:
            if self.agent_after <= now:
                self.start_agent()
            else:
                due.append(self.agent_after)
        ready, _, _ = select.select(list(watched), [], [], max(0.0, min(due) - now) if due else None)
        for fd in ready:
            service = watched[fd]
            if service is None:
                os.read(wake_read, 4096)
            elif service.pid is None:
                service.start()
        self.reap()

    def reap(self):
        """Every process of the VM whose parent ended comes to us."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            if self.agent is not None and pid == self.agent.pid:
                log(f'the qrexec agent ended ({code})')
                self.agent, self.agent_after = None, time.monotonic() + 0.2
            for service in self.services.values():
                if service.pid == pid:
                    service.ended(code, self.stopping is not None)

    def stop(self):
        if self.stopping is None:
            self.stopping = time.monotonic()
            for service in self.services.values():
                service.signal(signal.SIGTERM)

    def stopped(self):
        return all(service.pid is None for service in self.services.values()) or time.monotonic() > self.stopping + STOP_SECONDS


if __name__ == '__main__':
    init = Init(json.loads(sys.argv[1])['features'])
    init.run()
    # The end of the first process is the end of all processes in the VM.
    os._exit(0)
