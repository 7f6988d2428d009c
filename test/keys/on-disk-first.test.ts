// SPDX-License-Identifier: GPL-2.0-or-later
// The order in which the keys VM's bundle writes, syncs, signs and answers, as the kernel saw it: what a
// power cut at any moment leaves is never less than what somebody was told, and no key is used for a claim
// that a power cut could undo.
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
import { callGpg, refusalCode } from './gpg-caller.js';
import { KeysMachine, sha256 } from './keys-machine.js';

const bundle = fileURLToPath(new URL('../../../dist/keys-agent.mjs', import.meta.url));
const skip = cannotRecord();
const machine = new KeysMachine();
const record = `${machine.root}/record`;
const state = `${machine.root}/var/lib/build-infra`;
const journal = `${state}/journal.jsonl`;
const temporary = /\/\.head\.json\.\d+\.tmp$/;
const entry = (event: string, payload: string): RegExp =>
  new RegExp(`"event":"${event}".*"sha256":"${sha256(payload)}"`);
const toCaller = (service: string, text?: RegExp): ReturnType<typeof writing> =>
  writing(`${machine.root}/run/build-infra/${service}.sock`, text);
/** A payload that waits for gpg has no name, and its loss in a power cut is no loss. */
const notKept = /\/spool(\/|$)/;
const answers = (calls: readonly SystemCall[]): SystemCall[] =>
  calls.filter((one) => /\.sock$/.test(one.of) && writing(one.of).is(one));

if (skip === false) await machine.start({ under: recordingTo(record), program: bundle });
t.teardown(() => machine.close());

await t.test(
  'a refusal is on disk before it is said, with the name of the file that it is the first line of',
  { skip },
  async (t) => {
    t.equal(refusalCode(await callGpg(machine, ['-b', '-u', machine.signingKey], 'nobody\n')), 'NO_GRANT');
    const said = toCaller('qubes.Gpg', /refused NO_GRANT/);
    const calls = await recorded(record, said);
    const [, answer] = inOrder(calls, [writing(journal, entry('refused', 'nobody\n')), onlyThen(said)]);
    t.strictSame(notOnDisk(calls, state, answer as SystemCall, notKept), []);
  },
);

await t.test(
  'a receipt is on disk, whole and under its name, before its grants are, and both before the reply',
  { skip },
  async () => {
    const wish = machine.document([machine.intent('granted\n')]);
    const { commit } = machine.publish([machine.file(wish)]);
    const { reply } = await machine.send(machine.receipt([wish]));
    if (reply.result !== 'accepted') throw new Error(reply.code);
    const replied = onlyThen(toCaller('qubesbuilder.LogReceived', /"result":"accepted"/));
    inOrder(await recorded(record, replied), [
      writing(temporary, new RegExp(commit)),
      syncing(temporary),
      renaming(temporary, `${state}/head.json`),
      syncing(state),
      onlyThen(writing(journal, entry('granted', 'granted\n'))),
      syncing(journal),
      replied,
    ]);
  },
);

await t.test(
  "the claim is on disk before gpg is started, the signature's hash before the first byte of the answer",
  { skip },
  async (t) => {
    t.equal((await callGpg(machine, ['-b', '-u', machine.signingKey], 'granted\n')).status, 0);
    const answered = onlyThen(toCaller('qubes.Gpg', /^(?!.*refused)/s));
    inOrder(await recorded(record, answered), [
      writing(journal, entry('claimed', 'granted\n')),
      syncing(journal),
      onlyThen(starting(/--detach-sign/)),
      onlyThen(writing(journal, entry('signed', 'granted\n'))),
      syncing(journal),
      answered,
    ]);
  },
);

await t.test('without a grant gpg is not started', { skip }, async (t) => {
  for (const [payload, args, code] of [
    ['nobody said this\n', ['-b', '-u', machine.signingKey], 'NO_GRANT'],
    ['granted\n', ['-b', '-u', machine.signingKey], 'GRANT_USED'],
    ['nobody said this\n', ['--clearsign', '-u', machine.signingKey], 'NO_GRANT'],
  ] as const)
    t.equal(refusalCode(await callGpg(machine, args, payload)), code);
  await machine.grant('the last\n');
  t.equal((await callGpg(machine, ['-b', '-u', machine.signingKey], 'the last\n')).status, 0);
  const calls = await recorded(record, writing(journal, entry('signed', 'the last\n')));
  t.equal(
    calls.filter(starting(/--(detach-sign|clearsign)/).is).length,
    2,
    'once for each of the two grants',
  );
});

await t.test(
  'nothing was answered while anything that was written could still be undone',
  { skip },
  async (t) => {
    const calls = await recorded(record, writing(journal, entry('signed', 'the last\n')));
    const said = answers(calls);
    t.ok(said.length >= 8, `${said.length} answers`);
    for (const answer of said)
      t.strictSame(notOnDisk(calls, state, answer, notKept), [], answer.text.slice(0, 60));
  },
);
