// SPDX-License-Identifier: GPL-2.0-or-later
// How other programs are run: what goes in and comes out in pieces, what ends them, and what is told of a bad
// end.
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { execFile } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import t from 'tap';
import { ProgramFailed, runProgram } from '../../agents/shared/programs/program.js';

const timeoutMs = 60_000;
const folder = mkdtempSync(join(tmpdir(), 'program-'));
t.teardown(() => rmSync(folder, { recursive: true }));

await t.test('input comes from a stream, output goes to a descriptor', async (t) => {
  const path = join(folder, 'out');
  const output = openSync(path, 'w');
  t.equal(
    (
      await runProgram(['tr', 'a', 'b'], {
        input: Readable.from([Buffer.from('aa'), Buffer.from('xa\n')]),
        output,
        timeoutMs,
      })
    ).length,
    0,
  );
  closeSync(output);
  t.equal(readFileSync(path, 'utf8'), 'bbxb\n');
  const broken = new Readable({ read: () => void broken.destroy(new Error('no such log')) });
  await t.rejects(runProgram(['cat'], { input: broken, timeoutMs }), { message: 'no such log' });
});

await t.test(
  'output is handed over in pieces, up to the limit, and whoever cannot take it ends the program',
  async (t) => {
    let size = 0;
    const onChunk = (chunk: Buffer): void => void (size += chunk.length);
    t.equal(
      (await runProgram(['head', '-c', '300000', '/dev/zero'], { onChunk, limitBytes: 300_000, timeoutMs }))
        .length,
      0,
    );
    t.equal(size, 300_000);
    await t.rejects(
      runProgram(['head', '-c', '300001', '/dev/zero'], { onChunk, limitBytes: 300_000, timeoutMs }),
      { code: 'OUTPUT_LIMIT' },
    );
    await t.rejects(
      runProgram(['yes'], {
        onChunk: () => {
          throw new Error('not that');
        },
        timeoutMs,
      }),
      { message: 'not that' },
    );
  },
);

await t.test('a signal ends it with its group, also one that came before', async (t) => {
  const abort = new AbortController();
  const marker = join(folder, 'late');
  const run = runProgram(['sh', '-c', '(sleep 2; touch "$0") & wait', marker], {
    timeoutMs,
    signal: abort.signal,
  });
  setTimeout(() => abort.abort(), 100);
  await t.rejects(run, { message: /^sh was ended by SIGKILL/ });
  await t.rejects(runProgram(['sleep', '60'], { timeoutMs, signal: abort.signal }), {
    message: /^sleep was ended by SIGKILL/,
  });
  await new Promise((resolve) => setTimeout(resolve, 2500));
  t.notOk(existsSync(marker), 'nor does what it had started go on');
});

await t.test('a group ends with the process that started it, before what that does at its end', async (t) => {
  const script = join(folder, 'parent.mjs');
  const marker = join(folder, 'outlived');
  writeFileSync(
    script,
    `import { runProgram } from ${JSON.stringify(new URL('../../agents/shared/programs/program.js', import.meta.url).pathname)};
void runProgram(['sh', '-c', '(sleep 2; touch "$0") & wait', ${JSON.stringify(marker)}], { timeoutMs: 60000 }).catch(() => undefined);
setTimeout(() => process.exit(0), 300);`,
  );
  await new Promise((resolve) => execFile(process.execPath, [script], resolve));
  await new Promise((resolve) => setTimeout(resolve, 2500));
  t.notOk(existsSync(marker));
});

await t.test('a bad end tells the status, the last words and what was printed', async (t) => {
  const error: unknown = await runProgram(
    ['sh', '-c', 'echo out; for i in 1 2 3 4; do echo "line $i" >&2; done; exit 7'],
    { timeoutMs },
  ).catch((caught: unknown) => caught);
  t.ok(error instanceof ProgramFailed);
  const { exitCode, stdout, stderr, complaint, message } = error as ProgramFailed;
  t.strictSame(
    [exitCode, stdout.toString(), stderr, complaint],
    [7, 'out\n', 'line 1\nline 2\nline 3\nline 4', 'line 2 | line 3 | line 4'],
  );
  t.equal(message, 'sh ended with 7: line 2 | line 3 | line 4');
  await t.rejects(runProgram(['sleep', '60'], { timeoutMs: 100 }), { code: 'TIMED_OUT' });
});
