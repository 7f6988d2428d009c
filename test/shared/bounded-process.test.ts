// SPDX-License-Identifier: GPL-2.0-or-later
// A program may hang, flood, or not be there: whatever goes wrong is a status other than 0, in time.
import { execFileSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import t from 'tap';
import { runProcess } from '../../agents/shared/programs/bounded-process.js';
import { Room } from '../../agents/shared/room.js';

const run = (
  program: string,
  args: string[],
  input: Uint8Array = new Uint8Array(),
  timeoutMs = 60_000,
): ReturnType<typeof runProcess> =>
  runProcess({
    program,
    args,
    env: { PATH: '/usr/bin:/bin', LANG: 'C.UTF-8', HOME: '/nonexistent' },
    input,
    limitBytes: 1000,
    timeoutMs,
  });

await t.test('output, status stream and exit status come back', async (t) => {
  t.match(await run('/bin/sh', ['-c', 'cat; echo err >&2; echo said >&3; exit 7'], Buffer.from('in')), {
    status: 7,
    stdout: Buffer.from('in'),
    stderr: 'err\n',
    statusText: 'said\n',
  });
});

await t.test('a program that hangs, floods, is killed or is not there has no status', async (t) => {
  t.equal((await run('/bin/sleep', ['600'], undefined, 500)).status, -1);
  t.equal((await run('/bin/sh', ['-c', 'exec yes'])).status, -1);
  t.equal((await run('/bin/sh', ['-c', 'exec yes >&3'])).status, -1);
  t.equal((await run('/bin/sh', ['-c', 'kill -9 $$'])).status, -1);
  t.equal((await run('/nonexistent/gpg', [])).status, -1);
});

await t.test('a program that does not read its input ends with its own status', async (t) => {
  t.equal((await run('/bin/true', [], Buffer.alloc(1_000_000))).status, 0);
});

await t.test(
  'output is bounded to the byte, and what broke a limit has no status although it ended well',
  async (t) => {
    const printing = (bytes: number, where: string): ReturnType<typeof runProcess> =>
      run('/bin/sh', ['-c', `head -c ${bytes} /dev/zero ${where}; sleep 0.1; exit 0`]);
    t.match(await printing(1000, ''), { status: 0, stdout: Buffer.alloc(1000) });
    t.equal((await printing(1001, '')).status, -1);
    for (const where of ['>&2', '>&3']) {
      t.equal((await printing(256 * 1024, where)).status, 0);
      t.equal((await printing(256 * 1024 + 1, where)).status, -1);
    }
    t.equal(
      (await run('/bin/sh', ['-c', '(sleep 0.2; head -c 2000 /dev/zero) & exit 0'])).status,
      -1,
      'it had ended with 0 before',
    );
  },
);

await t.test('an open file may be its input, and descriptor 4 a second one', async (t) => {
  const fd = openSync('/proc/self/stat', 'r');
  t.match(
    (
      await runProcess({
        program: '/bin/cat',
        args: [],
        env: { PATH: '/usr/bin:/bin', LANG: 'C.UTF-8', HOME: '/' },
        input: { fd },
        limitBytes: 1000,
        timeoutMs: 60_000,
      })
    ).stdout.toString(),
    /^\d+ \(/,
  );
  closeSync(fd);
  const two = await runProcess({
    program: '/bin/sh',
    args: ['-c', 'cat; cat <&4; pwd; echo $LANG'],
    env: { PATH: '/usr/bin:/bin', LANG: 'C.UTF-8', HOME: '/' },
    input: Buffer.from('one '),
    secondInput: Buffer.from('two '),
    limitBytes: 1000,
    timeoutMs: 60_000,
  });
  t.equal(two.stdout.toString(), 'one two /\nC.UTF-8\n');
  t.equal(
    (
      await runProcess({
        program: '/bin/true',
        args: [],
        env: { PATH: '/usr/bin:/bin', LANG: 'C.UTF-8', HOME: '/' },
        input: Buffer.alloc(0),
        secondInput: Buffer.alloc(1_000_000),
        limitBytes: 1000,
        timeoutMs: 60_000,
      })
    ).status,
    0,
  );
});

await t.test('it gets a clean environment and no descriptor of ours', async (t) => {
  process.env['KEYS_TEST_SECRET'] = 'x';
  // The shell names its descriptors itself: while it makes a pipeline it has others for a moment. One is of
  // the reading of the folder.
  const script =
    'env -0 | cut -z -d= -f1 | sort -z | tr "\\0" " "; for fd in /proc/$$/fd/?; do if [ -e "$fd" ]; then printf "%s " "${fd##*/}"; fi; done';
  const end = await runProcess({
    program: '/bin/sh',
    args: ['-c', script],
    env: { PATH: '/usr/bin:/bin', LANG: 'C.UTF-8', HOME: '/' },
    input: new Uint8Array(),
    limitBytes: 1000,
    timeoutMs: 60_000,
  });
  // tap's own recorder adds variables of its name to every child of a test.
  const said = end.stdout
    .toString()
    .split(' ')
    .filter((word) => !/^(_?TAP|NODE_OPTIONS)/.test(word))
    .join(' ');
  t.equal(said, 'HOME LANG PATH PWD 0 1 2 3 ', said);
});

await t.test('without descriptors left it is a failure, not a fault', async (t) => {
  const module = new URL('../../agents/shared/programs/bounded-process.js', import.meta.url).href;
  const script = `import { openSync } from 'node:fs'; import { runProcess } from ${JSON.stringify(module)};
    try { for (;;) openSync('/dev/null'); } catch {}
    console.log((await runProcess({ program: '/bin/true', args: [], env: { PATH: '/usr/bin:/bin', LANG: 'C.UTF-8', HOME: '/' }, input: new Uint8Array(), limitBytes: 1, timeoutMs: 60_000 })).status);`;
  const said = execFileSync(
    '/bin/sh',
    ['-c', 'ulimit -n 100; exec "$0" --input-type=module -e "$1"', process.execPath, script],
    { encoding: 'utf8', env: { PATH: '/usr/bin:/bin' }, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  t.equal(said, '-1\n');
});

await t.test('a turnstile lets so many in, in order, also after a failure', async (t) => {
  const turnstile = new Room(2);
  let inside = 0;
  let most = 0;
  const order: number[] = [];
  await Promise.allSettled(
    Array.from({ length: 20 }, (_, index) =>
      turnstile.pass(async () => {
        most = Math.max(most, ++inside);
        order.push(index);
        await new Promise((resolve) => setTimeout(resolve, 1));
        inside--;
        if (index % 3 === 0) throw new Error('one fails');
      }),
    ),
  );
  t.equal(most, 2);
  t.same(
    order,
    Array.from({ length: 20 }, (_, index) => index),
  );
  most = 0;
  await Promise.all(
    Array.from({ length: 5 }, () =>
      turnstile.pass(async () => {
        most = Math.max(most, ++inside);
        await new Promise((resolve) => setTimeout(resolve, 1));
        inside--;
      }),
    ),
  );
  t.equal(most, 2, 'and so many the next time');
  const leave = turnstile.enterNow(2);
  const next = turnstile.enter();
  t.equal(turnstile.enterNow(0), undefined, 'nobody passes those who wait');
  leave?.();
  (await next)();
  turnstile.enterNow(2)?.();
  await t.rejects(turnstile.enter(1, AbortSignal.abort(new Error('gone'))), { message: 'gone' });
});
