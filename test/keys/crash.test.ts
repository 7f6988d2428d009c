// SPDX-License-Identifier: GPL-2.0-or-later
// The agent killed at any point and started again: never a second signature for one grant, never one without
// its claim in the journal.
import { execFileSync } from 'node:child_process';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { callGpg, refusalCode } from './gpg-caller.js';
import { KeysMachine, sha256 } from './keys-machine.js';

const machine = new KeysMachine();
t.before(() => machine.start());
t.teardown(() => machine.close());

const args = (): string[] => ['-b', '-u', machine.signingKey];

await t.test('killed between the claim and the signature, the grant is gone', async (t) => {
  await machine.grant('warm\n');
  t.equal((await callGpg(machine, args(), 'warm\n')).status, 0);
  await machine.grant('claimed\n');
  const said = execFileSync('/usr/bin/gpg-connect-agent', [
    '--homedir',
    machine.keysHome.folder,
    'GETINFO pid',
    '/bye',
  ]).toString();
  const gpgAgent = Number(/^D ([0-9]+)$/m.exec(said)?.[1]);
  process.kill(gpgAgent, 'SIGSTOP');
  const answer = callGpg(machine, args(), 'claimed\n');
  while (machine.events().at(-1) !== 'claimed') await sleep(5);
  await machine.kill();
  process.kill(gpgAgent, 'SIGCONT');
  t.equal((await answer).raw.length, 0);
  await machine.start();
  t.equal(refusalCode(await callGpg(machine, args(), 'claimed\n')), 'GRANT_USED');
  const ours = machine
    .journal()
    .filter((entry) => entry.sha256 === sha256('claimed\n'))
    .map(({ event }) => event);
  t.same(ours, ['granted', 'claimed', 'refused']);
});

await t.test('grants that nobody has used yet survive a restart of the agent', async (t) => {
  await machine.grant('survives\n');
  await machine.restart();
  t.equal((await callGpg(machine, args(), 'survives\n')).status, 0);
});

await t.test(
  'the remembered commit survives, and an intent is not granted again after a restart',
  async (t) => {
    const wish = machine.document([machine.intent('restart\n')]);
    machine.publish([machine.file(wish)]);
    const receipt = machine.receipt([wish]);
    t.match((await machine.send(receipt)).reply, { result: 'accepted' });
    await machine.restart();
    t.match((await machine.send(receipt)).reply, {
      code: 'ALREADY_RECEIVED',
      head: machine.history.at(-1)?.commit,
    });
  },
);

await t.test(
  'killed at any moment of receipt and signature, each grant gives at most one signature and the chain holds',
  async (t) => {
    const signatures = new Map<string, string[]>();
    const take = (payload: string, bytes: Buffer | undefined, status: number | undefined): void => {
      if (status === 0 && bytes !== undefined)
        signatures.set(payload, [...(signatures.get(payload) ?? []), sha256(bytes)]);
    };
    for (let round = 0; round < 16; round++) {
      const payload = `round ${round}\n`;
      const wish = machine.document([machine.intent(payload)]);
      machine.publish([machine.file(wish)]);
      const receipt = machine.receipt([wish]);
      const work = (async () => {
        const { reply } = await machine.send(receipt);
        if (reply.result !== 'accepted') return;
        const answer = await callGpg(machine, args(), payload);
        take(payload, answer.streams[0], answer.status);
      })().catch(() => undefined);
      await sleep(round * 2);
      await machine.restart();
      await work;
      const { reply } = await machine.send(receipt);
      t.ok(reply.result === 'accepted' || reply.code === 'ALREADY_RECEIVED');
      machine.believed = machine.history.length;
      const again = await callGpg(machine, args(), payload);
      take(payload, again.streams[0], again.status);
      const ours = machine.journal().filter((entry) => entry.sha256 === sha256(payload));
      t.equal(ours.filter(({ event }) => event === 'granted').length, 1);
      t.equal(ours.filter(({ event }) => event === 'claimed').length, 1);
      const handedOut = signatures.get(payload) ?? [];
      t.ok(handedOut.length <= 1);
      for (const signature of handedOut)
        t.equal(ours.find(({ event }) => event === 'signed')?.result, `sha256:${signature}`);
    }
  },
);

await t.test('half a line at the end of the journal is what a kill left, and is cut off', async (t) => {
  await machine.kill();
  const entries = machine.journal().length;
  appendFileSync(`${machine.root}/var/lib/build-infra/journal.jsonl`, '{"format":"build-infra/jour');
  await machine.start();
  t.equal(machine.journal().length, entries + 1);
});

await t.test('a journal with one changed, one dropped or one repeated line stops the agent', async (t) => {
  await machine.kill();
  const path = `${machine.root}/var/lib/build-infra/journal.jsonl`;
  const lines = readFileSync(path, 'utf8').split('\n');
  const damaged = [
    lines.map((line, index) => (index === 2 ? line.replace('"time":"2', '"time":"1') : line)),
    lines.filter((_, index) => index !== 2),
    [...lines.slice(0, 3), ...lines.slice(2)],
    lines.map((line, index) => (index === 2 ? line.replace(',"source"', ', "source"') : line)),
  ];
  for (const bad of damaged) {
    writeFileSync(path, bad.join('\n'));
    await t.rejects(machine.start(), { message: /is broken at entry [34]: .*nothing will be signed/ });
  }
  writeFileSync(path, lines.slice(0, 3).join('\n') + '\n');
  await t.rejects(machine.start(), { message: /nothing will be signed/ });
  writeFileSync(path, lines.join('\n'));
  await machine.start();
});
