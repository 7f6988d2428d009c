#!/usr/bin/python3 -IE
# SPDX-License-Identifier: GPL-2.0-or-later
"""The VM's end of qrexec. dom0 says over one connection which service to run for whom; the caller then meets us at a socket of
one call, gets the ends of the service's streams, and talks to the service without anyone between."""
import json
import os
import selectors
import signal
import socket
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import qrexec_service as service  # noqa: E402

VCHAN = '/run/qubes/vchan'
MEET_SECONDS = 120


class Agent:
    def __init__(self, dom0_path):
        self.selector = selectors.DefaultSelector()
        self.dom0 = socket.socket(socket.AF_UNIX)
        self.dom0.connect(dom0_path)
        self.partial = b''
        self.waiting = {}
        self.running = {}
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self.selector.register(wake_read, selectors.EVENT_READ, lambda: self.reap(wake_read))
        self.selector.register(self.dom0, selectors.EVENT_READ, self.from_dom0)

    def tell(self, **message):
        self.dom0.sendall(json.dumps(message).encode() + b'\n')

    def run(self):
        self.tell(event='hello')
        while True:
            for key, _ in self.selector.select():
                key.data()

    def from_dom0(self):
        data = self.dom0.recv(65536)
        if not data:
            os._exit(0)
        *lines, self.partial = (self.partial + data).split(b'\n')
        for line in lines:
            message = json.loads(line)
            if message['op'] == 'shutdown':
                os.kill(1, signal.SIGTERM)
            elif message['op'] == 'cancel':
                self.forget(message['id'])
            else:
                self.prepare(message)

    def prepare(self, request):
        """A listening socket for exactly this call. Mode 0666: who reaches it was let in by dom0, into a folder of the caller's VM."""
        path = f"{VCHAN}/{request['id']}"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        os.chmod(path, 0o666)
        listener.listen(1)
        self.waiting[request['id']] = listener, path
        self.selector.register(listener, selectors.EVENT_READ, lambda: self.meet(request, listener))
        self.tell(event='listening', id=request['id'])

    def forget(self, call):
        """The caller went away before it came to us."""
        listener, path = self.waiting.pop(call, (None, None))
        if listener is None:
            return
        self.selector.unregister(listener)
        listener.close()
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass

    def meet(self, request, listener):
        channel, _ = listener.accept()
        self.forget(request['id'])
        self.tell(event='met', id=request['id'])
        try:
            started = service.start(request, channel)
        except service.CannotRun as refusal:
            print(f"qrexec-agent: {request.get('service', 'exec')}: {refusal}", file=sys.stderr, flush=True)
            self.end(request, channel, refusal.status, f'E{refusal.status}')
            return
        if started is None:
            channel.close()
            return
        self.running[started] = request, channel
        if request['op'] == 'exec':
            self.selector.register(channel, selectors.EVENT_READ, lambda: self.hang_up(started, channel))

    def end(self, request, channel, status, text):
        """dom0 first: once the caller knows it may be gone."""
        self.tell(event='ended', id=request['id'], status=status)
        try:
            channel.sendall(text.encode())
        except OSError:
            pass
        channel.close()

    def hang_up(self, pid, channel):
        """Whoever ran a command from dom0 is gone: so is the command. A service, as on Qubes, only sees its streams close."""
        self.selector.unregister(channel)
        try:
            os.killpg(pid, signal.SIGHUP)
            os.killpg(pid, signal.SIGKILL)
        except OSError:
            pass

    def reap(self, wake):
        os.read(wake, 4096)
        while self.running:
            try:
                pid, waited = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            request, channel = self.running.pop(pid, (None, None))
            if request is None:
                continue
            code = os.waitstatus_to_exitcode(waited)
            status = code if code >= 0 else 128 - code
            if channel in self.selector.get_map():
                self.selector.unregister(channel)
            self.end(request, channel, status, f' {status}\n')


if __name__ == '__main__':
    Agent(sys.argv[1]).run()
