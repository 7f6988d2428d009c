// SPDX-License-Identifier: GPL-2.0-or-later
import t from 'tap';
import { Rig, textOf } from './rig.js';

t.test('a raw sender gets its path and then the commit that publishes the log', async (t) => {
  const rig = await Rig.make();
  t.teardown(() => rig.stop());
  await rig.start();
  const lines = await rig.call().end('one\ntwo\x1b[31m red\x1b[0m\tx\x01\nlast');
  t.match(lines[0], /^build-debian\/\d{4}-\d\d-\d\d\/log_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d$/);
  t.match(lines[1], /^published [0-9a-f]{40} sha256:[0-9a-f]{64}$/);
  t.equal(lines.length, 2);
  t.strictSame(textOf(rig.file(lines[0] as string)), ['one', 'two red x.', 'last']);
  t.equal(rig.checkHistory('mirror'), 1);
});

t.test('an intent is published with what its VM has logged, and granted', async (t) => {
  const rig = await Rig.make();
  t.teardown(() => rig.stop());
  await rig.start();
  const log = rig.call().send(`${rig.header()}hello\nworld\n`);
  const path = (await log.line(/^opened /)).split(' ')[1] as string;
  await log.line(/^synced 2$/);
  const started = performance.now();
  const reply = await rig.ask(rig.intent({ logs: [path] }));
  t.comment(`${Math.round(performance.now() - started)} ms`);
  if (reply.result !== 'published') return t.fail(JSON.stringify(reply));
  t.strictSame(textOf(rig.file(path, 'mirror', reply.commit)), ['hello', 'world']);
  t.equal(rig.keys.get('build-debian')?.journal.length, 1);
  for (let i = 0; i < 5; i++) {
    const again = performance.now();
    const next = await rig.ask(rig.intent({ logs: [path] }));
    t.equal(next.result, 'published');
    t.comment(`${Math.round(performance.now() - again)} ms`);
  }
  const end = await log.end('> end status=0\n');
  t.equal(end.at(-2), path);
  t.match(end.at(-1), /^published /);
  t.notMatch(rig.file(path).toString(), /truncated/);
  rig.checkHistory();
});
