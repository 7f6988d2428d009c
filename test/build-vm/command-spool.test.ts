// SPDX-License-Identifier: GPL-2.0-or-later
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { watchCommands } from '../../agents/build-vm/jobs/command-spool.js';
import { until } from '../support/until.js';

function place(test: Test): {
  spool: string;
  handled: string[];
  start: () => void;
  drop: (name: string, text: string) => void;
  answer: (name: string) => Promise<string>;
} {
  const spool = mkdtempSync(join(tmpdir(), 'bi-spool-'));
  const handled: string[] = [];
  const note = async (what: string): Promise<string> => {
    handled.push(what);
    return `queued ${what}\n`;
  };
  return {
    spool,
    handled,
    start: () => {
      const commands = watchCommands(
        spool,
        join(spool, 'answers'),
        {
          trigger: note,
          retry: note,
          cancel: (job) => note(`no ${job}`),
          withdraw: (component, version) => note(`${component} ${version}`),
        },
        () => undefined,
      );
      test.teardown(async () => {
        await commands.close();
        rmSync(spool, { recursive: true });
      });
    },
    drop: (name, text) => {
      writeFileSync(join(spool, `.${name}`), text);
      renameSync(join(spool, `.${name}`), join(spool, `${name}.cmd`));
    },
    answer: (name) =>
      until(
        name,
        () =>
          existsSync(join(spool, 'answers', `${name}.answer`)) &&
          readFileSync(join(spool, 'answers', `${name}.answer`), 'utf8'),
      ),
  };
}

void t.test(
  'commands that were there before and that come in the first moment are all answered once',
  async (t) => {
    const p = place(t);
    p.drop('before', 'trigger a\n');
    p.start();
    for (let i = 0; i < 50; i++) p.drop(`now${i}`, `trigger c${i}\n`);
    t.equal(await p.answer('before'), 'queued a\n');
    for (let i = 0; i < 50; i++) t.equal(await p.answer(`now${i}`), `queued c${i}\n`);
    await new Promise((resolve) => setTimeout(resolve, 1500));
    t.equal(p.handled.length, 51);
    t.same(readdirSync(p.spool), ['answers']);
  },
);

void t.test('a job is cancelled by its name alone', async (t) => {
  const p = place(t);
  p.start();
  p.drop('cancel', 'cancel hello-1-0123456789ab\n');
  p.drop('path', 'cancel ../jobs\n');
  p.drop('two', 'cancel hello-1-0123456789ab bookworm\n');
  t.equal(await p.answer('cancel'), 'queued no hello-1-0123456789ab\n');
  for (const name of ['path', 'two']) t.match(await p.answer(name), /^refused BAD_COMMAND /);
  t.strictSame(p.handled, ['no hello-1-0123456789ab']);
});

void t.test('what is no command is refused, and a link is not followed', async (t) => {
  const p = place(t);
  p.start();
  symlinkSync('/etc/hostname', join(p.spool, 'link.cmd'));
  p.drop('long', `trigger ${'a'.repeat(2000)}\n`);
  p.drop('two', 'trigger a\ntrigger b\n');
  for (const name of ['link', 'long', 'two']) t.match(await p.answer(name), /^refused BAD_COMMAND /);
  t.same(p.handled, []);
});
