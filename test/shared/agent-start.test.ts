// SPDX-License-Identifier: GPL-2.0-or-later
// What an agent's last line says of its end.
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const module = join(dirname(fileURLToPath(import.meta.url)), '../../agents/shared/calls/agent-start.js');
const endOf = (start: string): [number | null, string] => {
  const { status, stderr } = spawnSync(
    process.execPath,
    [
      '--input-type=module',
      '--eval',
      `import { startOrSay } from ${JSON.stringify(module)};\nstartOrSay('an agent', ${start});`,
    ],
    { encoding: 'utf8' },
  );
  return [status, stderr];
};

void t.test('reports what is wrong at the start, and no more', (t) => {
  t.strictSame(endOf('async () => { throw new Error("no\\nfile"); }'), [
    1,
    'an agent: not started: no.file\n',
  ]);
  t.end();
});

void t.test('a fault hours after the start does not say that the agent did not start', (t) => {
  t.strictSame(
    endOf(
      'async () => async () => { await new Promise((resolve) => setTimeout(resolve, 1)); throw new Error("the disk\\nis gone"); }',
    ),
    [1, 'an agent: ended by a fault: the disk.is gone\n'],
  );
  t.end();
});

void t.test('an agent that has started, and one that goes on and comes to an end, say nothing', (t) => {
  t.strictSame(endOf('async () => undefined'), [0, '']);
  t.strictSame(endOf('async () => async () => undefined'), [0, '']);
  t.end();
});
