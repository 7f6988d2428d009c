// SPDX-License-Identifier: GPL-2.0-or-later
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { until } from '../support/until.js';
import { Rig, textOf } from './rig.js';
import { smallDisk } from '../support/small-disk.js';

const disk = smallDisk(24);
void t.test('a full disk', { skip: disk === undefined ? 'needs to mount a tmpfs' : false }, async (t) => {
  const root = join(disk as string, 'r');
  mkdirSync(root);
  const rig = await Rig.make({ root, intentSeconds: 10 });
  t.teardown(async () => {
    await rig.stop();
    execFileSync('umount', [disk as string]);
    rmSync(disk as string, { recursive: true });
  });
  await rig.start();
  t.equal((await rig.ask(rig.intent())).result, 'published');

  const call = rig.call().send(rig.header());
  const path = (await call.line(/^opened/)).split(' ')[1] as string;
  const block = Array.from({ length: 2000 }, (_, i) => `line ${i} of a build that fills the disk\n`).join('');
  const feeding = setInterval(() => !call.socket.destroyed && call.send(block), 2);
  t.teardown(() => clearInterval(feeding));
  t.match(await call.line(/^refused/), /^refused DISK_FULL /, 'one clear line');
  clearInterval(feeding);
  const synced = Number((await call.line(/^synced/)).split(' ')[1]);
  t.ok(synced > 0);

  const filler = join(disk as string, 'filler');
  try {
    writeFileSync(filler, Buffer.alloc(64 << 20));
  } catch {
    // Now the reserve is gone too.
  }
  t.match((await rig.call().end('another\n'))[0], /^refused DISK_FULL /);
  t.match(await rig.ask(rig.intent()), { result: 'refused', code: 'DISK_FULL' });

  rmSync(filler);
  rmSync(join(disk as string, 'none'), { force: true });
  // Room for the rest: the limit of the whole disk is moved, as an admin would.
  execFileSync('mount', ['-o', 'remount,size=96m', disk as string]);
  await sleep(10);
  const again = rig.call().send(rig.header({ continues: { path, lines: synced } }));
  const opened = await again.line(/^opened|^refused/);
  t.match(opened, /^opened/, 'it recovers when space is back');
  t.ok(Number(opened.split(' ')[2]) >= synced, 'acknowledged lines are kept');
  const lines = await again.end('after\n> end status=0\n');
  t.match(lines.at(-1), /^published/);
  t.equal((await rig.ask(rig.intent())).result, 'published');
  const final = lines.at(-2) as string;
  const plain = final.endsWith('.xz')
    ? execFileSync('xz', ['-dc'], { input: rig.file(final), maxBuffer: 1 << 30 })
    : rig.file(final);
  t.equal(textOf(plain).length, Number(opened.split(' ')[2]) + 2);
  t.strictSame(textOf(plain).slice(-2), ['after', '> end status=0']);
  await until('the history is whole', () => rig.checkHistory() > 1);
});
