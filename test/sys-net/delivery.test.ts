// SPDX-License-Identifier: GPL-2.0-or-later
// From 202 to the build VM's answer: kills, refusals, build VMs that are down, a full spool.
import { randomUUID } from 'node:crypto';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import tap from 'tap';
import type { SignedComment } from '../../agents/sys-net/comment-event.js';
import type { VersionPush } from '../../agents/sys-net/push-event.js';
import { DeliverySpool } from '../../agents/sys-net/delivery-spool.js';
import {
  DeliveryWorker,
  readCommandAnswer,
  readTriggerAnswer,
  type BuildVmCalls,
} from '../../agents/sys-net/delivery-worker.js';
import { Refusal } from '../../agents/shared/refusals.js';
import { folderOf } from '../support/folders.js';
import { until } from '../support/until.js';
import { baseConfig, makeTree } from './agent.js';
import { githubHeaders, pushPayload } from './push-payload.js';
import { post } from './post.js';
import { TestClock } from '../support/test-clock.js';

const callsOf = (trigger: BuildVmCalls['trigger']): BuildVmCalls => ({
  trigger,
  command: async () => Buffer.from('fault'),
});
const push = {
  repository: 'example/hello',
  component: 'hello',
  tag: 'v2.10-3',
  after: 'd6fde92930d4715a2b49857d24b940956b26d2d3',
};
const hash = (n: number): string[] => [n.toString(16).padStart(64, '0')];
const accept = async (
  spool: DeliverySpool,
  keys: string[],
  what: VersionPush | SignedComment,
  vms: string[],
  now: Date,
  delivery = randomUUID(),
): Promise<string> => {
  await spool.accept(delivery, keys, what, vms, now);
  return delivery;
};

void tap.test(
  'killed after 202 and before the build VM answered, it delivers after its restart, once',
  async (t) => {
    const tree = makeTree(t);
    tree.answer('Request refused\n', 126);
    const first = await tree.start();
    const body = Buffer.from(JSON.stringify(pushPayload()));
    const delivery = randomUUID();
    t.equal(
      (
        await post(
          { socketPath: tree.socketPath },
          body,
          githubHeaders(body, { 'X-GitHub-Delivery': delivery }),
        )
      ).status,
      202,
    );
    await until('the refused call', () => tree.calls().length === 1);
    await first.kill();

    tree.answer('queued hello-2.10-3-0123456789ab\n');
    appendFileSync(join(tree.root, 'var/lib/build-infra/webhooks/deliveries'), '{"told":"half');
    const second = await tree.start();
    await until('the delivery', () => tree.waiting() === 0);
    t.equal(tree.calls().length, 2);
    const again = await post({ socketPath: tree.socketPath }, body, githubHeaders(body));
    t.equal(again.status, 200, 'the replay is still known after the restart');
    await second.kill();

    await tree.start();
    await new Promise((resolve) => setTimeout(resolve, 300));
    t.equal(tree.calls().length, 2, 'nothing is delivered again');
  },
);

void tap.test(
  'killed many times while webhooks come in, it delivers every one that was answered 202',
  async (t) => {
    const tree = makeTree(t);
    tree.answer('known hello-2.10-3-0123456789ab\n');
    const accepted = new Set<string>();
    for (const [round, answers] of [1, 5, 10, 20].entries()) {
      const before = accepted.size;
      const agent = await tree.start();
      const sent = Array.from({ length: 30 }, async (_, i) => {
        const body = Buffer.from(JSON.stringify(pushPayload({ pushedAt: round * 1000 + i })));
        const delivery = randomUUID();
        const reply = await post(
          { socketPath: tree.socketPath },
          body,
          githubHeaders(body, { 'X-GitHub-Delivery': delivery }),
        ).catch(() => undefined);
        if (reply?.status === 202) accepted.add(delivery);
      });
      await until('some answers', () => accepted.size >= before + answers);
      await agent.kill();
      await Promise.all(sent);
    }
    t.ok(accepted.size >= 36);
    const spooled = readFileSync(join(tree.root, 'var/lib/build-infra/webhooks/deliveries'), 'utf8');
    for (const delivery of accepted)
      if (!spooled.includes(delivery)) t.fail(`${delivery} was accepted and is lost`);
    const last = await tree.start();
    await until('everything delivered', () => tree.waiting() === 0);
    await last.kill();
  },
);

void tap.test('each build VM is told, and one that is down does not hold up the other', async (t) => {
  const tree = makeTree(t, { ...baseConfig, buildVms: ['build-debian', 'build-fedora'] });
  tree.answer('queued hello-2.10-3-0123456789ab\n');
  tree.answer('', 125, 'build-fedora');
  await tree.start();
  const body = Buffer.from(JSON.stringify(pushPayload()));
  await post({ socketPath: tree.socketPath }, body, githubHeaders(body));
  await until(
    'a retry',
    () => tree.calls().filter((call) => call === 'build-fedora qubesbuilder.TriggerBuild+hello').length >= 2,
  );
  t.equal(tree.calls().filter((call) => call.startsWith('build-debian ')).length, 1);
  tree.answer('refused UNKNOWN_COMPONENT hello\n', 0, 'build-fedora');
  await until('the end', () => tree.waiting() === 0);
});

void tap.test('a refusal of the build VM ends the delivery', async (t) => {
  const spool = new DeliverySpool(folderOf(t));
  await accept(spool, hash(1), push, ['build-debian'], new Date());
  let calls = 0;
  const worker = new DeliveryWorker(
    spool,
    callsOf(async () => Buffer.from(`refused NO_${(calls += 1) > 1 ? 'TWICE' : 'SUCH'}\n`)),
    { report: () => undefined },
  );
  worker.wake();
  await until('the end', () => spool.pending === 0);
  t.equal(calls, 1);
});

void tap.test(
  'what is no answer of a build VM is tried again with growing pauses, then given up with a line in the log',
  async (t) => {
    const spool = new DeliverySpool(folderOf(t));
    await accept(spool, hash(1), push, ['build-debian'], new Date());
    const answers = [
      '',
      'fault\n',
      'queued\n',
      'queued a\nqueued b\n',
      'queued ../x\n',
      'accepted x\n',
      'refused lower\n',
    ];
    const times: number[] = [];
    const lines: string[] = [];
    const worker = new DeliveryWorker(
      spool,
      callsOf(async () => Buffer.from(answers[times.push(Date.now()) - 1] ?? '')),
      { report: (line) => lines.push(line), firstPauseMs: 30, longestPauseMs: 480, giveUpMs: 4000 },
    );
    worker.wake();
    await until('giving up', () => spool.pending === 0);
    t.ok(times.length > answers.length, 'every one of them was tried again');
    // A timer may ring a millisecond early. That a busy machine makes a pause longer does not make all of
    // them long enough.
    [30, 60, 120, 240, 480, 480].forEach((pause, at) =>
      t.ok(
        (times[at + 1] as number) - (times[at] as number) >= pause - 2,
        `pause ${at} is ${pause} ms or more`,
      ),
    );
    t.ok(times.length < 20, 'the longest pause is kept');
    t.match(lines.at(-1), /gave up/);
    worker.stop();
  },
);

void tap.test('after an answer the pauses begin with the first one again', async (t) => {
  const spool = new DeliverySpool(folderOf(t));
  const times: number[] = [];
  const worker = new DeliveryWorker(
    spool,
    callsOf(async () => Buffer.from(times.push(Date.now()) === 6 ? 'queued hello-1\n' : '')),
    { report: () => undefined, firstPauseMs: 20, longestPauseMs: 60_000 },
  );
  await accept(spool, hash(1), push, ['build-debian'], new Date());
  worker.wake();
  await until('the answer', () => spool.pending === 0);
  await accept(spool, hash(2), push, ['build-debian'], new Date());
  worker.wake();
  await until('two more attempts', () => times.length >= 8);
  // 640 ms and more, had the count of failures gone on.
  t.ok((times[7] as number) - (times[6] as number) < 640);
  worker.stop();
});

void tap.test('one component that fails for ever does not hold up another', async (t) => {
  const spool = new DeliverySpool(folderOf(t));
  await accept(spool, hash(1), { ...push, component: 'broken' }, ['build-debian'], new Date(1000));
  await accept(spool, hash(2), push, ['build-debian'], new Date(2000));
  const worker = new DeliveryWorker(
    spool,
    callsOf(async (_vm, component) => {
      if (component === 'broken') throw new Refusal('CALL_REFUSED', 'Request refused');
      return Buffer.from('queued hello-1\n');
    }),
    { report: () => undefined, firstPauseMs: 5, clock: new TestClock(3000) },
  );
  worker.wake();
  await until('hello', () => spool.pending === 1);
  t.equal(spool.waitingFor('build-debian')[0]?.push?.component, 'broken');
  worker.stop();
});

const comment = {
  repository: 'example/updates-status',
  id: 1,
  author: 'alice',
  block: '-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n-----END PGP SIGNATURE-----',
};

void tap.test('a push does not wait while a comment is not taken', async (t) => {
  const spool = new DeliverySpool(folderOf(t));
  await accept(spool, hash(1), comment, ['build-debian'], new Date(1000));
  let asked = 0;
  const worker = new DeliveryWorker(
    spool,
    {
      command: async () => {
        asked += 1;
        return Buffer.from('later BUSY\n');
      },
      trigger: async () => Buffer.from('queued hello-1\n'),
    },
    { report: () => undefined, firstPauseMs: 3_600_000, clock: new TestClock(3000) },
  );
  worker.wake();
  await until('the comment to be asked about', () => asked === 1);
  await accept(spool, hash(2), push, ['build-debian'], new Date(2000));
  worker.wake();
  await until('the push', () => spool.pending === 1);
  t.equal(asked, 1, 'the comment waits for its pause');
  worker.stop();
});

void tap.test(
  'comments, which anybody can write, never fill the spool for pushes, and those of one author not for another one',
  async (t) => {
    const path = folderOf(t);
    const spool = new DeliverySpool(path, { pushes: 2, comments: 3, commentsOfOne: 2, remembered: 100 });
    const by = (author: string, n: number): SignedComment => ({ ...comment, author, id: n });
    await accept(spool, hash(1), by('mallory', 1), ['build-debian'], new Date());
    await accept(spool, hash(2), by('mallory', 2), ['build-debian'], new Date());
    await t.rejects(accept(spool, hash(3), by('mallory', 3), ['build-debian'], new Date()), {
      code: 'SPOOL_FULL',
    });
    await accept(spool, hash(4), by('alice', 4), ['build-debian'], new Date());
    await t.rejects(accept(spool, hash(5), by('bob', 5), ['build-debian'], new Date()), {
      code: 'SPOOL_FULL',
    });
    await accept(spool, hash(6), push, ['build-debian'], new Date());
    await accept(spool, hash(7), { ...push, component: 'other' }, ['build-debian'], new Date());
    await t.rejects(accept(spool, hash(8), { ...push, component: 'third' }, ['build-debian'], new Date()), {
      code: 'SPOOL_FULL',
    });
    t.equal(
      await spool.accept(randomUUID(), hash(4), comment, ['build-debian'], new Date()),
      'known',
      'what is known is known in a full spool too',
    );
    spool.close();
    const again = new DeliverySpool(path);
    t.same(
      again
        .waitingFor('build-debian')
        .map(({ comment: one, push: other }) => one?.author ?? other?.component)
        .sort(),
      ['alice', 'hello', 'mallory', 'mallory', 'other'],
      'both kinds are read again',
    );
    t.equal(
      await again.accept(
        randomUUID(),
        hash(8),
        { ...push, component: 'third' },
        ['build-debian'],
        new Date(),
      ),
      'accepted',
      'and what was refused may come again',
    );
    again.close();
  },
);

void tap.test(
  'a component that is pushed to without end has one call waiting for each build VM, and a push that comes during a call has one more',
  async (t) => {
    const path = folderOf(t);
    const spool = new DeliverySpool(path);
    const asked: string[] = [];
    let answer: (bytes: Buffer) => void = () => undefined;
    const worker = new DeliveryWorker(
      spool,
      callsOf((vm, component) => {
        asked.push(`${vm} ${component}`);
        return new Promise((resolve) => (answer = resolve));
      }),
      { report: () => undefined },
    );
    const vms = ['build-debian'];
    for (let n = 1; n <= 50; n++) await accept(spool, hash(n), { ...push, tag: `v${n}` }, vms, new Date());
    t.equal(spool.pending, 1);
    worker.wake();
    await until('the call', () => asked.length === 1);
    for (let n = 51; n <= 100; n++) await accept(spool, hash(n), { ...push, tag: `v${n}` }, vms, new Date());
    t.equal(spool.pending, 2, 'the call that runs may have looked before');
    await accept(spool, hash(101), push, ['build-debian', 'build-fedora'], new Date());
    t.equal(spool.pending, 3, 'a VM that nothing waits for is told');
    t.equal(spool.waitingFor('build-fedora').length, 1);
    answer(Buffer.from('queued hello-1\n'));
    await until('the second call', () => asked.length === 2);
    answer(Buffer.from('known hello-1\n'));
    await until('build-debian has heard of all', () => spool.waitingFor('build-debian').length === 0);
    t.same(asked, ['build-debian hello', 'build-debian hello']);
    worker.stop();
    spool.close();
    const again = new DeliverySpool(path);
    for (const n of [1, 25, 50, 51, 100, 101])
      t.equal(await again.accept(randomUUID(), hash(n), push, vms, new Date()), 'known');
    again.close();
  },
);

void tap.test(
  'two that come at once under one name are one, and neither is told before it is on disk',
  async (t) => {
    const path = folderOf(t);
    const spool = new DeliverySpool(path);
    const both = [
      spool.accept(randomUUID(), hash(1), comment, ['build-debian'], new Date()),
      spool.accept(randomUUID(), hash(1), comment, ['build-debian'], new Date()),
    ];
    t.equal(readFileSync(join(path, 'deliveries'), 'utf8'), '', 'nothing is written yet');
    t.same(await Promise.all(both), ['accepted', 'known']);
    t.equal(spool.pending, 1);
    spool.close();
  },
);

void tap.test('a command that the build VM asks for later is brought again', async (t) => {
  const spool = new DeliverySpool(folderOf(t));
  await accept(spool, hash(1), comment, ['build-debian'], new Date());
  const answers = ['later FORGE_UNREACHABLE\n', '', 'fault\n', 'queued hello-1\n', 'accepted hello-1\n'];
  const heard: string[] = [];
  const worker = new DeliveryWorker(
    spool,
    {
      trigger: async () => Buffer.from('queued x\n'),
      command: async (_vm, block) => Buffer.from(answers[heard.push(block) - 1] ?? ''),
    },
    { report: () => undefined, firstPauseMs: 1 },
  );
  worker.wake();
  await until('the end', () => spool.pending === 0);
  t.same(
    heard,
    answers.map(() => comment.block),
  );
});

void tap.test(
  'the record of deliveries is bounded, keeps the young ones, and what still waits',
  async (t) => {
    const path = folderOf(t);
    const limits = { remembered: 10, commentsOfOne: 0 };
    let spool = new DeliverySpool(path, limits);
    const waiting = await accept(spool, hash(0), push, ['build-debian'], new Date());
    // What is not known is refused, since no comment may wait.
    const knows = (delivery: string, keys: string[]): Promise<boolean> =>
      spool.accept(delivery, keys, comment, ['build-debian'], new Date()).then(
        (answer) => answer === 'known',
        () => false,
      );
    for (let n = 1; n <= 60; n++) {
      const delivery = await accept(spool, hash(n), push, ['build-fedora'], new Date());
      await spool.record(delivery, 'build-fedora', 'queued x');
    }
    for (const again of [false, true]) {
      if (again) spool = new DeliverySpool(path, limits);
      t.ok((await knows(randomUUID(), hash(60))) && (await knows(randomUUID(), hash(51))), 'young');
      t.ok(await knows(waiting, hash(99)), 'waiting');
      t.notOk(await knows(randomUUID(), hash(5)), 'old');
      t.equal(spool.pending, 1);
    }
    t.ok(readFileSync(join(path, 'deliveries'), 'utf8').split('\n').length <= 45);
  },
);

for (const line of [
  '{"format":"build-infra/webhook-delivery@1"}',
  '{"told":"x"}',
  '{"half',
  'hello',
  `${randomUUID()} ../x`,
]) {
  void tap.test(
    `a line that is not ours stops the agent, so that nothing is lost unseen: ${line.slice(0, 12)}`,
    async (t) => {
      const path = folderOf(t);
      writeFileSync(join(path, 'deliveries'), `${line}\n`);
      t.throws(() => new DeliverySpool(path), { code: /^(?:BAD_DOCUMENT|NOT_JSON)$/ });
    },
  );
}

void tap.test('only one line of the three kinds is an answer', async (t) => {
  t.equal(
    readTriggerAnswer(Buffer.from('known hello-2.10-3-0123456789ab\n')),
    'known hello-2.10-3-0123456789ab',
  );
  t.equal(readTriggerAnswer(Buffer.from('refused BUSY try later')), 'refused BUSY try later');
  t.equal(
    readCommandAnswer(Buffer.from('accepted hello-2.10-3-0123456789ab\n')),
    'accepted hello-2.10-3-0123456789ab',
  );
  t.equal(readCommandAnswer(Buffer.from('refused BAD_COMMAND\n')), 'refused BAD_COMMAND');
  for (const bad of [
    'later BUSY\n',
    'queued x\n',
    'known x\n',
    'accepted\n',
    'accepted ../x\n',
    'accepted a\nrefused B\n',
    '',
  ])
    t.equal(readCommandAnswer(Buffer.from(bad)), undefined, JSON.stringify(bad));
  for (const bad of [
    '',
    '\n',
    'queued',
    'queued a b\n',
    'queued a\n\n',
    'Queued a\n',
    'refused X \u001b[1m\n',
  ])
    t.equal(readTriggerAnswer(Buffer.from(bad)), undefined, JSON.stringify(bad));
});
