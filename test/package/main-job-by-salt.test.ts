// SPDX-License-Identifier: GPL-2.0-or-later
// The main job as `npm run local -- --provisioner salt` runs it: every VM, and dom0's policy, laid by real Salt from the unpacked RPM.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { salted } from '../salt/rig.js';
import { top } from './package-tree.js';

const folder = mkdtempSync(join(tmpdir(), 'by-salt-'));
const program = (name: string, ...args: string[]): Promise<{ status: number; out: string }> => new Promise((resolve) => {
  const child = execFile(process.execPath, [join(top, name), ...args], { maxBuffer: 64 * 1024 * 1024 }, (_error, stdout, stderr) => {
    resolve({ status: child.exitCode ?? 255, out: stdout + stderr });
  });
});
const local = (...args: string[]): Promise<{ status: number; out: string }> => program('dist/local.mjs', '--state', folder, ...args);
t.teardown(async () => {
  await local('down');
  rmSync(folder, { recursive: true, force: true });
});
const machines = ['dom0', 'sys-net', 'build-logs', 'keys-debian', 'build-debian'];

await t.test('an unknown provisioner is a wrong command line', async (t) => {
  const { status, out } = await local('up', '--provisioner', 'puppet');
  t.equal(status, 2);
  t.match(out, /^build-infra: --provisioner is salt or manifests, not puppet\nusage: /);
});

await t.test('the main job ends well on a farm that Salt provisioned', salted, async (t) => {
  const { status, out } = await local('--provisioner', 'salt');
  if (status !== 0) t.comment(out.slice(-5000));
  t.equal(status, 0);
  for (const machine of machines) t.match(out, new RegExp(` ${machine} +provisioned by Salt: \\d+ changed$`, 'm'), machine);
  t.match(out, /installed hello=\d/);
  t.match(out, /one byte changed: +build-infra: refused NO_GRANT/);
  t.match(out, /was built, signed, published, installed and audited/);
});

await t.test('once more, Salt changes nothing, and the farm goes on', salted, async (t) => {
  const { status, out } = await local('up', '--provisioner', 'salt');
  t.equal(status, 0, out.slice(-2000));
  for (const machine of machines) t.match(out, new RegExp(` ${machine} +Salt changes nothing$`, 'm'), machine);
  t.notMatch(out, /provisioned by Salt/);
  t.equal((await local('audit')).status, 0);
});
