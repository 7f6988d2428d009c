// SPDX-License-Identifier: GPL-2.0-or-later
// A few real sandboxes for one test file: dom0, VMs with services of every kind, and a way to call from one
// to another.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Test } from 'tap';
import { runInVm, type RunOptions, type RunResult } from '../../agents/local/qrexec/admin-client.js';
import { Dom0 } from '../../agents/local/qrexec/dom0.js';
import type { CallEvent, Dom0Event } from '../../agents/local/qrexec/events.js';
import { ensureRootNamespace } from '../../agents/local/vm/root-namespace.js';
import type { VmSpec } from '../../agents/local/vm/vm-spec.js';

// As an ordinary user, the test file starts again in a user namespace here and never comes back.
await ensureRootNamespace();

export interface Farm {
  dom0: Dom0;
  folder: string;
  policyFile: string;
  events: Dom0Event[];
  calls: () => CallEvent[];
  /** a file of a VM, by its path inside */
  write: (vm: string, path: string, content: string, mode?: number) => void;
  run: (vm: string, argv: readonly string[], options?: RunOptions) => Promise<RunResult>;
  /** `sh -c script` as `user` */
  sh: (vm: string, script: string, options?: RunOptions) => Promise<RunResult>;
}

/** A unit pair that starts socket-services.py with one socket for each service. */
export const socketAgent = `
import os, socket, sys, threading, time
listeners = {name: socket.socket(fileno=3 + i) for i, name in enumerate(os.environ['LISTEN_FDNAMES'].split(':'))}
assert os.environ['LISTEN_PID'] == str(os.getpid())
def descriptor(s):
    seen = b''
    while not seen.endswith(b'\\0'):
        byte = s.recv(1)
        if not byte: break
        seen += byte
    return seen[:-1].decode()
def rest(s):
    while (data := s.recv(1 << 20)): yield data
def echo(s, _): [s.sendall(data) for data in rest(s)]
def who(s, said): s.sendall(said.encode())
def sink(s, _):
    buffer, count = bytearray(1 << 18), 0
    while (size := s.recv_into(buffer)): count += size
    s.sendall(b'%d' % count)
def source(s, said):
    block = b'x' * (1 << 20)
    for _ in range(int(said.split()[0].split('+')[1])): s.sendall(block)
def after(s, _):
    count = sum(map(len, rest(s)))
    time.sleep(0.1)
    s.sendall(b'got %d after your end' % count)
def half(s, _):
    s.sendall(b'done'); s.shutdown(socket.SHUT_WR)
    with open('/tmp/half', 'w') as file: file.write(str(sum(map(len, rest(s)))))
def gone(s, _): s.sendall(b'bye')
def raw(s, _): s.sendall(b'first:' + s.recv(100))
def slow(s, _):
    sum(map(len, rest(s))); time.sleep(0.5); s.sendall(b'too late for some')
def serve(name, s):
    try: globals()[name](s, descriptor(s) if name != 'raw' else '')
    except OSError: pass
    s.close()
def accept(name, listener):
    while True: threading.Thread(target=serve, args=(name, listener.accept()[0]), daemon=True).start()
for name, listener in listeners.items(): threading.Thread(target=accept, args=(name.rpartition('.')[2], listener)).start()
`;

export function addSocketServices(
  farm: Pick<Farm, 'write'> & { folder: string },
  vm: string,
  names: readonly string[],
): void {
  farm.write(vm, '/usr/lib/build-infra/socket-services.py', socketAgent);
  farm.write(
    vm,
    '/usr/lib/systemd/system/build-infra-test.service',
    `[Unit]
ConditionPathExists=/run/qubes-service/build-infra-test
[Service]
ExecStart=/usr/bin/python3 -B /usr/lib/build-infra/socket-services.py
User=user
Restart=on-failure
RestartSec=100ms
Environment=GREETING="good morning" OTHER=x
RuntimeDirectory=test
StateDirectory=build-infra
`,
  );
  for (const name of names) {
    farm.write(
      vm,
      `/usr/lib/systemd/system/build-infra-${name}.socket`,
      `[Unit]
ConditionPathExists=/run/qubes-service/build-infra-test
[Socket]
ListenStream=/run/build-infra/test.${name}.sock
FileDescriptorName=test.${name}
Service=build-infra-test.service
SocketUser=root
SocketGroup=qubes
SocketMode=0660
[Install]
WantedBy=sockets.target
`,
    );
    const link = join(farm.folder, 'vms', vm, 'usr/local/etc/qubes-rpc', `test.${name}`);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(`/run/build-infra/test.${name}.sock`, link);
  }
}

export type FarmVm = Partial<VmSpec> & { name: string };

/** @param prepare writes the VMs' files, before any of them starts */
export async function startFarm(
  t: Test,
  policy: string,
  vms: readonly FarmVm[],
  prepare: (farm: Pick<Farm, 'write' | 'folder'>) => void = () => undefined,
): Promise<Farm> {
  const folder = mkdtempSync(join(tmpdir(), 'farm-'));
  const policyFile = join(folder, 'policy/30-user.policy');
  const write: Farm['write'] = (vm, path, content, mode = 0o644) => {
    const outside = join(folder, 'vms', vm, path);
    mkdirSync(dirname(outside), { recursive: true });
    writeFileSync(outside, content, { mode });
  };
  mkdirSync(dirname(policyFile), { recursive: true });
  writeFileSync(policyFile, policy);
  for (const { name } of vms) mkdirSync(join(folder, 'vms', name), { recursive: true });
  prepare({ write, folder });
  const dom0 = await Dom0.start({
    stateFolder: folder,
    policyFolders: [dirname(policyFile)],
    vms: vms.map((vm) => ({ root: join(folder, 'vms', vm.name), netvm: null, ...vm })),
  });
  const events: Dom0Event[] = [];
  dom0.on('event', (event) => events.push(event));
  t.teardown(async () => {
    await dom0.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const run: Farm['run'] = (vm, argv, options) => runInVm(dom0, vm, argv, { timeoutMs: 60_000, ...options });
  return {
    dom0,
    folder,
    policyFile,
    events,
    write,
    run,
    calls: () => events.filter((event) => event.event === 'call'),
    sh: (vm, script, options) => run(vm, ['sh', '-c', script], options),
  };
}

export const client = '/usr/bin/qrexec-client-vm';
