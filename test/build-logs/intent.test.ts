// SPDX-License-Identifier: GPL-2.0-or-later
import t from 'tap';
import type { IntentReply } from '../../agents/shared/formats/intent.js';
import { Rig, sha256, textOf } from './rig.js';

const rig = await (await Rig.make({ sources: ['build-debian', 'build-fedora'] })).start();
t.teardown(() => rig.stop());

const code = (reply: IntentReply): string => (reply.result === 'refused' ? reply.code : reply.result);

async function logOf(source: string): Promise<string> {
  return (await rig.call('', source).end('a line\n'))[0] as string;
}

void t.test('an intent is published with what its VM has logged, and granted', async (t) => {
  const log = rig.call().send(`${rig.header()}hello\nworld\n`);
  const path = (await log.line(/^opened /)).split(' ')[1] as string;
  await log.line(/^synced 2$/);
  const document = JSON.stringify(rig.intent({ logs: [path] }));
  const reply = await rig.ask(document);
  if (reply.result !== 'published') throw new Error(JSON.stringify(reply));
  t.equal(reply.intent, sha256(document));
  for (const remote of ['origin', 'mirror']) {
    t.strictSame(textOf(rig.file(path, remote, reply.commit)), ['hello', 'world']);
    t.equal(rig.file(`intents/build-debian/${new Date().toISOString().slice(0, 10)}/${reply.intent}.json`, remote, reply.commit).toString(), document);
  }
  const keysVm = rig.keys.get('build-debian');
  t.equal(keysVm?.head, reply.commit);
  t.strictSame(keysVm?.receipts.at(-1)?.remotes, ['mirror', 'origin']);
  t.equal(JSON.parse(keysVm?.journal.at(-1) ?? '').result, reply.grantedUntil);
  const end = await log.end('> end status=0\n');
  t.match(end.at(-1), /^published /);
});

void t.test('what a VM had sent before its intent is in the same commit, acknowledged or not', async (t) => {
  const log = rig.call().send(`${rig.header()}`);
  const path = (await log.line(/^opened /)).split(' ')[1] as string;
  log.send('the very last line\n');
  const reply = await rig.ask(rig.intent({ logs: [path] }));
  if (reply.result !== 'published') throw new Error(JSON.stringify(reply));
  t.match(textOf(rig.file(path, 'origin', reply.commit)), ['the very last line']);
  await log.end('> end status=0\n');
});

void t.test('a document of several intents is one grant each', async (t) => {
  const { format: _format, ...one } = rig.intent();
  const { format: _again, ...two } = rig.intent();
  const reply = await rig.ask({ format: 'build-infra/intent@1', intents: [one, two] });
  t.equal(reply.result, 'published');
  t.equal(rig.keys.get('build-debian')?.receipts.at(-1)?.grants.length, 2);
});

void t.test('50 intents at once share one or two publications', async (t) => {
  const replies = await Promise.all(Array.from({ length: 50 }, () => rig.ask(rig.intent())));
  t.ok(replies.every((reply) => reply.result === 'published'));
  t.ok(new Set(replies.map((reply) => reply.result === 'published' && reply.commit)).size <= 2);
});

void t.test('refused:', async (t) => {
  const commits = rig.git(rig.remote('origin'), 'rev-list', '--count', 'main');
  const foreign = await logOf('build-fedora');
  const own = await logOf('build-debian');
  t.equal((await rig.ask(rig.intent({ logs: [own] }))).result, 'published', 'the same with nothing wrong');
  const cases: [string, unknown, string][] = [
    ['an unknown field', rig.intent({ extra: 1 }), 'BAD_DOCUMENT'],
    ['an unknown purpose', rig.intent({ purpose: 'fun' as 'other' }), 'BAD_DOCUMENT'],
    ['a payload without size', rig.intent({ payload: { name: 'x', sha256: '0'.repeat(64) } as never }), 'BAD_DOCUMENT'],
    ['a field that stands twice', JSON.stringify(rig.intent()).replace('"job":', '"job":"another","job":'), 'AMBIGUOUS_JSON'],
    ['a number in another spelling', JSON.stringify(rig.intent()).replace(/"size":([0-9]+)/, '"size":$1.0'), 'AMBIGUOUS_JSON'],
    ['a letter in another spelling', JSON.stringify(rig.intent()).replace('"job":', '"j\\u006fb":'), 'AMBIGUOUS_JSON'],
    ['no JSON', '{"format":', 'NOT_JSON'],
    ['nothing', '', 'NOT_JSON'],
    ['a document that is too large', ' '.repeat(300_000), 'TOO_LARGE'],
    ['a key that is not allowed', rig.intent({ key: 'B'.repeat(40) }), 'KEY_NOT_ALLOWED'],
    ['a log that does not exist', rig.intent({ logs: ['build-debian/2020-01-01/log_2020-01-01_00-00-00'] }), 'LOG_UNKNOWN'],
    ['a log of another VM', rig.intent({ logs: [foreign] }), 'LOG_UNKNOWN'],
    ['a path that is no log', rig.intent({ logs: ['intents/x'] }), 'BAD_DOCUMENT'],
  ];
  for (const [what, document, expected] of cases) t.equal(code(await rig.ask(document)), expected, what);
  t.equal(code(await rig.ask(rig.intent(), 'build-other')), 'UNKNOWN_SOURCE', 'a VM that is not configured');
  t.equal(Number(rig.git(rig.remote('origin'), 'rev-list', '--count', 'main')), Number(commits) + 3, 'nothing of it was published');
});

void t.test('the same document a second time is refused: whoever wants the bytes again says so with another nonce', async (t) => {
  const document = rig.intent();
  t.equal((await rig.ask(document)).result, 'published');
  t.equal(code(await rig.ask(document)), 'INTENT_KNOWN');
  t.equal((await rig.ask({ ...document, nonce: '0'.repeat(32) })).result, 'published');
});

void t.test('the history that came of all this is signed, in line, and true', async (t) => {
  t.ok(rig.checkHistory('origin') > 5);
  t.equal(rig.checkHistory('mirror'), rig.checkHistory('origin'));
});
