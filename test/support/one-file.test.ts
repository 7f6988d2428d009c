// SPDX-License-Identifier: GPL-2.0-or-later
// What the runner wraps around each test file: memory for what it writes, its processor time, and no mount
// that it leaves unseen.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import tap from 'tap';
import { until } from './until.js';

const program = fileURLToPath(new URL('../../../test/one-file.py', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'one-'));
tap.teardown(() => rmSync(folder, { recursive: true, force: true }));

async function oneFile(
  bytes: number,
  ...command: string[]
): Promise<{ status: number | null; out: string; told: { seconds: number; mounts: string[] } }> {
  const child = spawn('python3', [program, String(bytes), ...command], {
    stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
    env: { ...process.env, TMPDIR: folder },
  });
  const closed = new Promise<number | null>((resolve) => child.once('close', resolve));
  const [out, told] = await Promise.all([
    text(child.stdout as NodeJS.ReadableStream),
    text(child.stdio[3] as NodeJS.ReadableStream),
  ]);
  return { status: await closed, out, told: JSON.parse(told) as { seconds: number; mounts: string[] } };
}

const mib = 1024 * 1024;

void tap.test('with a size, what it writes is in memory, and nobody else sees it', async (t) => {
  const { status, out, told } = await oneFile(
    8 * mib,
    'sh',
    '-c',
    `stat --file-system --format %T ${folder}; echo x > ${folder}/x; cat ${folder}/x`,
  );
  t.equal(out, 'tmpfs\nx\n');
  t.equal(status, 0);
  t.strictSame(told.mounts, []);
  t.notOk(existsSync(join(folder, 'x')));
});

void tap.test('without one it writes where everybody does', async (t) => {
  await oneFile(0, 'sh', '-c', `echo x > ${folder}/y`);
  t.ok(existsSync(join(folder, 'y')));
});

void tap.test('its status is that of the file, and a signal is one', async (t) => {
  t.equal((await oneFile(0, 'sh', '-c', 'exit 3')).status, 3);
  t.equal((await oneFile(0, 'sh', '-c', 'kill -9 $$')).status, 137);
});

void tap.test('a mount that it leaves is told', async (t) => {
  const { told } = await oneFile(
    8 * mib,
    'sh',
    '-c',
    `mkdir ${folder}/left && mount -t tmpfs left ${folder}/left`,
  );
  t.strictSame(told.mounts, [join(folder, 'left')]);
});

void tap.test('its processor time holds that of a process whose parent did not wait for it', async (t) => {
  const busy = 'import sys, time\nwhile time.process_time() < 0.5: pass\nopen(sys.argv[1], "w")';
  const { told } = await oneFile(
    0,
    'sh',
    '-c',
    '(python3 -c "$1" "$0/busy" &); while [ ! -e "$0/busy" ]; do sleep 0.5; done; sleep 1',
    folder,
    busy,
  );
  t.ok(told.seconds >= 0.5, `${told.seconds} s`);
});

void tap.test('who ends it ends the file', async (t) => {
  const child = spawn('python3', [program, '0', 'sh', '-c', 'echo $$ > $0/pid; exec sleep 1000', folder], {
    stdio: ['ignore', 'ignore', 'inherit', 'pipe'],
  });
  const pid = await until(
    'it starts',
    () => existsSync(join(folder, 'pid')) && /^\d+\n/.exec(readFileSync(join(folder, 'pid'), 'utf8'))?.[0],
  );
  child.kill('SIGKILL');
  await until(
    'it ends',
    () =>
      !existsSync(`/proc/${pid.trim()}`) || /\) Z /.test(readFileSync(`/proc/${pid.trim()}/stat`, 'utf8')),
  );
  t.pass();
});
