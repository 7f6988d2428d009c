// SPDX-License-Identifier: GPL-2.0-or-later
// The order in which the bundle of build-logs writes, syncs, pushes and answers, as the kernel saw it: no
// line is acknowledged, no commit pushed, no grant asked for and no publication said while a power cut could
// still take it back.
import { fileURLToPath } from 'node:url';
import t from 'tap';
import {
  cannotRecord,
  inOrder,
  notOnDisk,
  onlyThen,
  recorded,
  recordingTo,
  renaming,
  starting,
  syncing,
  writing,
  type SystemCall,
} from '../support/system-calls.js';
import { Rig, sha256 } from './rig.js';

const bundle = fileURLToPath(new URL('../../../dist/build-logs-agent.mjs', import.meta.url));
const skip = cannotRecord();
const rig = await Rig.make();
t.teardown(() => rig.stop());
const record = `${rig.folder}/record`;
const repository = `${rig.state}/repository.git`;
const escaped = (text: string): string => text.replaceAll('.', '\\.');
const toCaller = (text: RegExp): ReturnType<typeof writing> => writing(rig.socket, text);
if (skip === false) await rig.start({ under: recordingTo(record), program: bundle });

await t.test('a line is on disk before it is acknowledged', { skip }, async (t) => {
  const call = rig.call();
  call.send(`${rig.header()}a line to remember\n`);
  await call.line(/^synced [1-9]/);
  const synced = toCaller(/synced [1-9]/);
  const log = new RegExp(`^${escaped(rig.state)}/logs/`);
  const calls = await recorded(record, synced);
  const [written] = inOrder(calls, [writing(log, /a line to remember/)]);
  const acknowledged =
    calls.find((one) => toCaller(/synced [2-9]/).is(one)) ?? calls.find((one) => synced.is(one));
  const file = written?.of as string;
  inOrder(calls, [
    writing(log, /a line to remember/),
    syncing(file),
    { what: 'acknowledge', is: (one) => one === acknowledged, notBefore: true },
  ]);
  t.strictSame(
    notOnDisk(calls, `${rig.state}/logs`, acknowledged as SystemCall),
    [],
    'nor anything else of the logs: their names, their records',
  );
  await call.end('> end status=0\n');
});

await t.test(
  'an intent, its commit and the branch are on disk before the push, the push read back before the receipt, all that came back before the answer',
  { skip },
  async (t) => {
    const document = JSON.stringify(rig.intent());
    const reply = await rig.ask(document);
    if (reply.result !== 'published') throw new Error(reply.code);
    const answered = onlyThen(toCaller(new RegExp(`"result":"published".*${sha256(`${document}\n`)}`)));
    const calls = await recorded(record, answered);
    const object = `${repository}/objects/${reply.commit.slice(0, 2)}/${reply.commit.slice(2)}`;
    const temporary = calls.find(renaming(/^/, object).is)?.text.split('\n')[0] ?? '';
    const push = (name: string): ReturnType<typeof starting> =>
      onlyThen(
        starting(
          new RegExp(`^(\\S*/)?git .*push .*${escaped(rig.remote(name))} ${reply.commit}:refs/heads/main`),
        ),
      );
    const branch = `${repository}/refs/heads/main`;
    const committed = [
      writing(temporary),
      syncing(temporary),
      renaming(temporary, object),
      syncing(`${repository}/objects/${reply.commit.slice(0, 2)}`),
      onlyThen(writing(`${branch}.lock`, new RegExp(reply.commit))),
      syncing(`${branch}.lock`),
      renaming(`${branch}.lock`, branch),
      syncing(`${repository}/refs/heads`),
    ];
    for (const { name } of rig.remotes) {
      const [pushed] = inOrder(calls, [...committed, push(name)]).slice(-1);
      t.strictSame(
        notOnDisk(calls, repository, pushed as SystemCall),
        [],
        `the whole repository, before the push to ${name}`,
      );
      inOrder(calls, [
        push(name),
        starting(new RegExp(`ls-remote .*${escaped(rig.remote(name))}`)),
        onlyThen(starting(new RegExp(`qubesbuilder\\.LogReceived`))),
        answered,
      ]);
    }
    const answer = calls.find(answered.is) as SystemCall;
    for (const folder of ['keys', 'journal']) {
      t.ok(
        calls.some(
          (one) =>
            one.begin < answer.begin && writing(new RegExp(`^${escaped(rig.state)}/${folder}/`)).is(one),
        ),
        `something was noted in ${folder}`,
      );
      t.strictSame(notOnDisk(calls, `${rig.state}/${folder}`, answer), [], folder);
    }
  },
);

await t.test('a log is published, and its file still there, before its end is said', { skip }, async (t) => {
  const call = rig.call();
  const lines = await call.end(`${rig.header({ stage: 'sign' })}the end\n> end status=0\n`);
  t.match(lines.at(-1), /^published /);
  const said = toCaller(new RegExp(escaped(lines.at(-1) as string)));
  const calls = await recorded(record, said);
  const answer = calls.find(said.is) as SystemCall;
  t.strictSame(notOnDisk(calls, rig.state, answer), []);
});
