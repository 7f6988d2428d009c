// SPDX-License-Identifier: GPL-2.0-or-later
// A chroot that is laid over a clean one: what one job writes or removes is in no other, and the clean one
// stays as it is.
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { layerChroot, removeLayers } from '../../agents/engines/chroot/layered-chroot.js';
import type { LineSink } from '../../agents/shared/programs/logged-program.js';

const log: LineSink = {
  say: () => undefined,
  tool: () => true,
  drained: () => Promise.resolve(),
  whenFailed: new Promise(() => undefined),
};

function place(
  test: Test,
  content: string,
): { folder: string; tar: string; pack: (content: string) => void } {
  const folder = mkdtempSync(join(tmpdir(), 'bi-layer-'));
  test.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const tar = join(folder, 'cache/suite-0.tar');
  mkdirSync(join(folder, 'cache'));
  const pack = (text: string): void => {
    rmSync(join(folder, 'tree'), { recursive: true, force: true });
    mkdirSync(join(folder, 'tree/etc'), { recursive: true });
    for (const name of ['kept', 'changed', 'removed']) writeFileSync(join(folder, 'tree/etc', name), text);
    execFileSync('tar', ['--create', '--file', tar, '--directory', join(folder, 'tree'), '.']);
  };
  pack(content);
  return { folder, tar, pack };
}

async function chrootIn(folder: string, name: string, tar: string): Promise<string | undefined> {
  const chroot = join(folder, name, 'chroot');
  mkdirSync(chroot, { recursive: true });
  return (await layerChroot(tar, chroot, log)) ? chroot : undefined;
}

void t.test('jobs side by side and one after the other have a clean chroot each', async (t) => {
  const { folder, tar } = place(t, 'clean');
  const [one, two] = await Promise.all([chrootIn(folder, 'one', tar), chrootIn(folder, 'two', tar)]);
  if (one === undefined || two === undefined)
    return void t.pass('no overlay file system here', { skip: true });
  t.teardown(() => Promise.all(['one', 'two', 'three'].map((name) => removeLayers(join(folder, name)))));
  t.equal(statSync(one).mode & 0o777, 0o755);
  writeFileSync(join(one, 'etc/changed'), 'by one');
  rmSync(join(one, 'etc/removed'));
  writeFileSync(join(one, 'etc/added'), '');
  t.strictSame(readdirSync(join(two, 'etc')).sort(), ['changed', 'kept', 'removed']);
  t.equal(readFileSync(join(two, 'etc/changed'), 'utf8'), 'clean');

  await removeLayers(join(folder, 'one'));
  t.strictSame(readdirSync(one), [], 'nothing is mounted there any more');
  rmSync(join(folder, 'one'), { recursive: true });
  const three = (await chrootIn(folder, 'three', tar)) as string;
  t.strictSame(readdirSync(join(three, 'etc')).sort(), ['changed', 'kept', 'removed']);
  t.equal(readFileSync(join(three, 'etc/changed'), 'utf8'), 'clean');
  const trees = readdirSync(join(folder, 'cache')).filter((name) => name !== 'suite-0.tar');
  t.equal(trees.length, 1, 'unpacked once, and nothing half left');
  t.equal(readFileSync(join(folder, 'cache', trees[0] as string, 'etc/changed'), 'utf8'), 'clean');
});

void t.test('a new tar is a new tree, and the one before stays for who still reads it', async (t) => {
  const { folder, tar, pack } = place(t, 'old');
  const one = await chrootIn(folder, 'one', tar);
  if (one === undefined) return void t.pass('no overlay file system here', { skip: true });
  t.teardown(() => Promise.all(['one', 'two'].map((name) => removeLayers(join(folder, name)))));
  pack('new');
  utimesSync(tar, 1, 1);
  const two = (await chrootIn(folder, 'two', tar)) as string;
  t.equal(readFileSync(join(two, 'etc/kept'), 'utf8'), 'new');
  t.equal(readFileSync(join(one, 'etc/kept'), 'utf8'), 'old');
});

void t.test('a tar that cannot be unpacked is no chroot', async (t) => {
  const { folder, tar } = place(t, 'x');
  writeFileSync(tar, 'no tar');
  t.equal(await chrootIn(folder, 'one', tar), undefined);
  await removeLayers(join(folder, 'one'));
  t.notOk(readdirSync(join(folder, 'cache')).some((name) => name.includes('.tree')));
  t.ok(existsSync(join(folder, 'one/chroot')));
});
