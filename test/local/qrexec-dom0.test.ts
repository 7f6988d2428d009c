// SPDX-License-Identifier: GPL-2.0-or-later
// dom0 itself: one at a time, killed at any moment, and what a new one finds.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'tap';
import { AdminClient, runInVm } from '../../agents/local/qrexec/admin-client.js';
import { Dom0 } from '../../agents/local/qrexec/dom0.js';
import { ensureRootNamespace } from '../../agents/local/vm/root-namespace.js';
import { folderOf } from '../support/folders.js';

await ensureRootNamespace();

const dom0Module = join(import.meta.dirname, '../../agents/local/qrexec/dom0.js');

const alive = (pid: number): boolean =>
  existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));

test('a killed dom0 takes its VMs with it, and the next one starts where it was', async (t) => {
  const folder = folderOf(t);
  mkdirSync(join(folder, 'policy'));
  mkdirSync(join(folder, 'vms/a'), { recursive: true });
  const program = join(folder, 'dom0.mjs');
  const options = {
    stateFolder: folder,
    policyFolders: [join(folder, 'policy')],
    vms: [{ name: 'a', root: join(folder, 'vms/a'), netvm: null }],
  };
  writeFileSync(
    program,
    `import { Dom0 } from ${JSON.stringify(dom0Module)};
const dom0 = await Dom0.start(${JSON.stringify(options)});
await dom0.startVm('a');
dom0.once('shutdown', () => dom0.close());
console.log(dom0.adminSocket);
`,
  );
  const start = async (): Promise<{ child: ReturnType<typeof spawn>; socket: string }> => {
    const child = spawn(process.execPath, [program], { stdio: ['ignore', 'pipe', 'inherit'] });
    const socket = await new Promise<string>((resolve, reject) => {
      child.stdout?.once('data', (chunk: Buffer) => resolve(chunk.toString().trim()));
      child.once('exit', () => reject(new Error('dom0 ended')));
    });
    return { child, socket };
  };

  const first = await start();
  const admin = await AdminClient.connect(first.socket);
  const pid = (await admin.list())[0]?.pid as number;
  t.equal((await runInVm(admin, 'a', ['sh', '-c', 'echo kept > ~/file; hostname'])).stdout, 'a\n');
  await t.rejects(Dom0.start(options), /running already/, 'a second one does not disturb the first');
  t.ok(alive(pid));
  first.child.kill('SIGKILL');
  await t.rejects(
    admin.startVm('a').then(() => admin.list()),
    /dom0 ended/,
  );
  for (let i = 0; i < 100 && alive(pid); i++) await sleep(20);
  t.notOk(alive(pid), 'the VM ended with it');

  const second = await start();
  const again = await AdminClient.connect(second.socket);
  t.equal((await runInVm(again, 'a', ['cat', '/home/user/file'])).stdout, 'kept\n');
  const ended = new Promise((resolve) => second.child.once('exit', resolve));
  await again.shutdown();
  t.equal(await ended, 0);
  t.notOk(existsSync(second.socket), 'a shutdown leaves no sockets');
  await t.rejects(
    runInVm(again, 'a', ['true']),
    /the connection to dom0 is closed/,
    'and nobody waits for an answer of it',
  );
  t.same(readdirSync(join(folder, 'tmp')), []);
});
