// SPDX-License-Identifier: GPL-2.0-or-later
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Config } from '../../agents/build-vm/configuration/config.js';
import { listRemoteTags, type RemoteTag } from '../../agents/build-vm/source/git.js';
import type { Job, JobState } from '../../agents/build-vm/jobs/job-document.js';
import { JobQueue } from '../../agents/build-vm/jobs/job-queue.js';
import { refusedLimit, Trigger, triggerLine } from '../../agents/build-vm/triggers/trigger.js';
import { pollOnce } from '../../agents/build-vm/triggers/poller.js';
import { AnyRefusal } from '../../agents/shared/refusal.js';
import { Forge } from './forge.js';
import { Refusal } from '../../agents/build-vm/refusals.js';
import { evidenceOf } from './jobs.js';

const config = {
  vm: 'build-debian',
  env: 'debian',
  signingKey: 'F'.repeat(40),
  components: [
    {
      name: 'hello',
      url: 'git://forge.example/hello.git',
      tag: 'v{version}',
      maintainers: [{ name: 'alice', fingerprint: 'A'.repeat(40) }],
      requiredSignatures: 1,
    },
  ],
  distributions: [{ name: 'bookworm', engine: 'debian', packages: 'deb' }],
  apt: { upload: '', url: '', origin: '', label: '' },
  pollSeconds: 1,
  buildSeconds: 1,
} as Config;

function place(test: Test): {
  folder: string;
  queue: () => JobQueue;
  ask: (queue: JobQueue, tags: RemoteTag[], component?: string) => Promise<string>;
} {
  const folder = mkdtempSync(join(tmpdir(), 'bi-queue-'));
  test.teardown(() => rmSync(folder, { recursive: true }));
  return {
    folder,
    queue: () => new JobQueue(join(folder, 'jobs'), join(folder, 'highest')),
    ask: async (queue, tags, component = 'hello') => {
      try {
        return triggerLine(
          await new Trigger({ config, queue, listTags: async () => tags }).trigger(component),
        ).trim();
      } catch (error) {
        return error instanceof AnyRefusal ? `refused ${error.code}` : String(error);
      }
    },
  };
}

const tag = (version: string, digit: string, annotated = true): RemoteTag => ({
  name: `v${version}`,
  object: digit.repeat(40),
  annotated,
});
function end(queue: JobQueue, answer: string, state: JobState, highest = false): void {
  const job = queue.get(answer.split(' ')[1] as string);
  if (job === undefined) throw new Error(answer);
  job.state = state;
  queue.save(job);
  if (highest)
    queue.rememberHighest('hello', {
      version: job.version,
      tagObject: job.tagObject,
      job: job.job,
      tag: job.tag,
      sources: {},
    });
}

void t.test('the highest version is queued once and known afterwards, also after a restart', async (t) => {
  const { queue, ask } = place(t);
  const tags = [
    tag('1.0', '1'),
    tag('1.10', '2'),
    tag('1.9', '3'),
    { name: 'not-a-version', object: '4'.repeat(40), annotated: true },
  ];
  const first = await ask(queue(), tags);
  t.match(first, /^queued hello-1\.10-[0-9a-f]{12}$/);
  t.equal(await ask(queue(), tags), first.replace('queued', 'known'));
});

void t.test('a hundred callers at once make one job', async (t) => {
  const { queue } = place(t);
  const q = queue();
  const trigger = new Trigger({ config, queue: q, listTags: async () => [tag('1.0', '1')] });
  const answers = await Promise.all(Array.from({ length: 100 }, () => trigger.trigger('hello')));
  t.equal(answers.filter((answer) => answer.kind === 'queued').length, 1);
  t.equal(q.all().length, 1);
});

void t.test('a component that is not configured is refused', async (t) => {
  const { queue, ask } = place(t);
  t.equal(await ask(queue(), [tag('1.0', '1')], 'other'), 'refused UNKNOWN_COMPONENT');
  t.equal(await ask(queue(), [tag('1.0', '1')], '../hello'), 'refused UNKNOWN_COMPONENT');
});

void t.test('a lower version than the last verified is refused', async (t) => {
  const { queue, ask } = place(t);
  const q = queue();
  end(q, await ask(q, [tag('2.0', '2')]), 'done', true);
  t.equal(await ask(q, [tag('1.0', '1')]), 'refused ROLLBACK');
});

void t.test('another tag object of a version that was built is refused', async (t) => {
  const { queue, ask } = place(t);
  const q = queue();
  end(q, await ask(q, [tag('2.0', '2')]), 'done', true);
  t.equal(await ask(q, [tag('2.0', '3')]), 'refused ROLLBACK');
});

void t.test('only a lightweight tag is refused at once', async (t) => {
  const { queue, ask } = place(t);
  t.equal(await ask(queue(), [tag('1.0', '1', false)]), 'refused NOT_ANNOTATED');
});

void t.test('no version tag at all is refused', async (t) => {
  const { queue, ask } = place(t);
  t.equal(
    await ask(queue(), [{ name: 'latest', object: '1'.repeat(40), annotated: true }]),
    'refused NO_VERSION_TAG',
  );
});

void t.test('a bad tag with a high version does not stand in the way of a good one', async (t) => {
  const { queue, ask } = place(t);
  const q = queue();
  const bad = await ask(q, [tag('999', '9'), tag('1.0', '1'), tag('1000', '8', false)]);
  t.match(bad, /^queued hello-999-/);
  end(q, bad, 'refused');
  t.match(await ask(q, [tag('999', '9'), tag('1.0', '1'), tag('1000', '8', false)]), /^queued hello-1\.0-/);
});

void t.test('a failed job is known, not started again by a webhook', async (t) => {
  const { queue, ask } = place(t);
  const q = queue();
  const first = await ask(q, [tag('1.0', '1')]);
  end(q, first, 'failed', true);
  t.equal(await ask(q, [tag('1.0', '1')]), first.replace('queued', 'known'));
});

void t.test('a job that ran when the agent was killed is queued again', async (t) => {
  const { queue, ask } = place(t);
  const q = queue();
  const first = await ask(q, [tag('1.0', '1')]);
  end(q, first, 'running');
  t.equal(queue().next()?.state, 'queued');
});

void t.test('the poller finds what no webhook told, and a forge that is away stops nothing', async (t) => {
  const { queue } = place(t);
  const q = queue();
  const lines: string[] = [];
  const two = {
    ...config,
    components: [
      {
        ...(config.components[0] as Config['components'][number]),
        name: 'away',
        url: 'git://away.example/x',
      },
      ...config.components,
    ],
  };
  const trigger = new Trigger({
    config: two,
    queue: q,
    listTags: async (url) => {
      if (url.includes('away')) throw new Refusal('FORGE_UNREACHABLE', 'away');
      return [tag('1.0', '1')];
    },
  });
  await pollOnce({
    components: ['away', 'hello'],
    trigger,
    pollSeconds: 1,
    report: (line) => lines.push(line),
  });
  t.equal(q.all().length, 1);
  t.match(lines.join('\n'), /away: refused FORGE_UNREACHABLE[\s\S]*hello: queued/);
});

void t.test('a tag that arrives before the turn of the one before it is queued too', async (t) => {
  const { queue, ask } = place(t);
  const q = queue();
  const first = await ask(q, [tag('1.0', '1')]);
  const second = await ask(q, [tag('1.0', '1'), tag('1.1', '2')]);
  t.match([first, second], [/^queued hello-1\.0-/, /^queued hello-1\.1-/]);
  t.strictSame(
    q.all().map((job) => [job.version, job.state]),
    [
      ['1.0', 'queued'],
      ['1.1', 'queued'],
    ],
  );
});

void t.test('a job that waits stays the one of its tag when the configuration changes', async (t) => {
  const { queue, ask } = place(t);
  const q = queue();
  const first = await ask(q, [tag('1.0', '1')]);
  const more: Config = {
    ...config,
    distributions: [...config.distributions, { name: 'trixie', engine: 'debian', packages: 'deb' }],
  };
  const again = async (): Promise<string> =>
    triggerLine(
      await new Trigger({ config: more, queue: q, listTags: async () => [tag('1.0', '1')] }).trigger('hello'),
    ).trim();
  t.equal(await again(), first.replace('queued', 'known'));
  const job = q.get(first.split(' ')[1] as string) as Job;
  q.rememberHighest('hello', {
    version: job.version,
    tagObject: job.tagObject,
    job: job.job,
    tag: job.tag,
    sources: {},
  });
  job.state = 'refused';
  t.match(
    await again(),
    /^queued hello-1\.0-/,
    'after its end it is queued for the new one, as nothing of it was published',
  );
  t.equal(q.all().length, 2);
});

void t.test(
  'a version of which something was published is not queued again, whatever became of the rest',
  async (t) => {
    const { queue, ask } = place(t);
    const q = queue();
    const first = await ask(q, [tag('1.0', '1')]);
    const job = q.get(first.split(' ')[1] as string) as Job;
    job.uploaded = [{ dist: 'bookworm', url: '', suite: '', release: '', files: [] }];
    end(q, first, 'failed', true);
    const other = { ...config, signingKey: 'E'.repeat(40) };
    await t.rejects(
      new Trigger({ config: other, queue: q, listTags: async () => [tag('1.0', '1')] }).trigger('hello'),
      { code: 'ROLLBACK' },
    );
  },
);

void t.test(
  'versions whose webhooks were lost are built before the newest one, none twice, and not without bound',
  async (t) => {
    const { queue, ask } = place(t);
    const q = queue();
    const versions = (): string[] => q.all().map((job) => job.version);
    end(q, await ask(q, [tag('0.9', '8'), tag('1.0', '1')]), 'done', true);
    t.same(versions(), ['1.0'], 'of a new component the newest is enough');
    const tags = [tag('0.9', '8'), tag('1.0', '1'), tag('1.1', '2'), tag('1.2', '3', false), tag('1.3', '4')];
    t.match(await ask(q, tags), /^queued hello-1\.3-/);
    t.same(versions(), ['1.0', '1.1', '1.3'], 'older ones never, lightweight ones never');
    t.match(await ask(q, tags), /^known hello-1\.3-/);
    t.same(versions(), ['1.0', '1.1', '1.3']);
    t.match(await ask(q, [...tags, tag('1.2', '5')]), /^known hello-1\.3-/, 'one that comes late');
    t.same(versions(), ['1.0', '1.1', '1.3', '1.2']);
    end(q, `x ${q.all().find((job) => job.version === '1.3')?.job}`, 'done', true);
    t.match(await ask(q, [...tags, tag('1.25', '6')]), /^queued hello-1\.25-/, 'higher than 1.3');
    const many = Array.from({ length: 50 }, (_, index): RemoteTag => ({
      name: `v2.${index}`,
      object: String(index).padStart(40, '0'),
      annotated: true,
    }));
    const before = q.all().length;
    t.match(await ask(q, many), /^queued hello-2\.49-/);
    t.equal(q.all().length, before + 11);
  },
);

void t.test(
  'callers that come while a listing runs share the next one, and each sees what was there when it came',
  async (t) => {
    const { queue } = place(t);
    const q = queue();
    let listings = 0;
    const held: (() => void)[] = [];
    const tags = [tag('1.0', '1')];
    const trigger = new Trigger({
      config,
      queue: q,
      listTags: async () => {
        listings++;
        const seen = [...tags];
        await new Promise<void>((resolve) => held.push(resolve));
        return seen;
      },
    });
    const first = trigger.trigger('hello');
    tags.push(tag('1.1', '2'));
    const later = Array.from({ length: 1000 }, () => trigger.trigger('hello'));
    held.shift()?.();
    t.match(await first, { kind: 'queued', job: /^hello-1\.0-/ });
    while (held.length === 0) await new Promise((resolve) => setImmediate(resolve));
    held.shift()?.();
    for (const answer of await Promise.all(later)) t.match(answer, { job: /^hello-1\.1-/ });
    t.equal(listings, 2);
    const again = trigger.trigger('hello');
    held.shift()?.();
    t.match(await again, { kind: 'known' }, 'and after that it is asked again');
    t.equal(listings, 3);
  },
);

void t.test('a listing that fails is over for those who share it, and the next one is asked', async (t) => {
  const { queue } = place(t);
  let fails = true;
  const trigger = new Trigger({
    config,
    queue: queue(),
    listTags: async () => {
      await new Promise((resolve) => setImmediate(resolve));
      if (fails) throw new Refusal('FORGE_UNREACHABLE', 'away');
      return [tag('1.0', '1')];
    },
  });
  const codes = await Promise.all(
    Array.from({ length: 5 }, () =>
      trigger.trigger('hello').then(
        () => 'none',
        (error: AnyRefusal) => error.code,
      ),
    ),
  );
  t.strictSame(
    codes,
    codes.map(() => 'FORGE_UNREACHABLE'),
  );
  fails = false;
  t.match(await trigger.trigger('hello'), { kind: 'queued' });
});

void t.test(
  'who may push tags and sign none makes so many refused jobs of a component in a day, and no more',
  async (t) => {
    const { queue } = place(t);
    const q = queue();
    let now = new Date('2026-11-22T00:00:00Z');
    const tags: RemoteTag[] = [];
    const trigger = new Trigger({ config, queue: q, now: () => now, listTags: async () => tags });
    const add = (version: number): void =>
      void tags.push({
        name: `v${version}`,
        object: version.toString(16).padStart(40, '0'),
        annotated: true,
      });
    const ask = async (): Promise<string> =>
      trigger.trigger('hello').then(
        (answer) => triggerLine(answer).trim(),
        (error: AnyRefusal) => error.line(),
      );
    const refuseAll = (): void => {
      for (const job of q.all())
        if (job.state === 'queued') Object.assign(job, { state: 'refused', ended: now.toISOString() });
    };
    // One that was verified, so that tags that were missed are made good.
    add(1);
    end(q, await ask(), 'done', true);
    Object.assign(q.all()[0] as Job, { evidence: evidenceOf() });
    for (let version = 2; version < 400; version++) add(version);
    for (let round = 0; round < 20; round++) {
      await ask();
      refuseAll();
    }
    t.equal(q.all().length - 1, refusedLimit);
    t.match(await ask(), /^refused TOO_MANY_TAGS hello: 30 /);
    const junk = tags.splice(1);
    t.match(await ask(), /^known hello-1-/, 'what is built is answered all the same');
    tags.push(...junk);
    now = new Date('2026-11-23T00:00:01Z');
    t.match(await ask(), /^queued /, 'a day later it goes on');
  },
);

void t.test('tags that are built do not count, however many', async (t) => {
  const { queue } = place(t);
  const q = queue();
  const tags: RemoteTag[] = [];
  const trigger = new Trigger({ config, queue: q, listTags: async () => tags });
  for (let version = 1; version <= refusedLimit + 5; version++) {
    tags.push({ name: `v${version}`, object: version.toString(16).padStart(40, '0'), annotated: true });
    const answer = triggerLine(await trigger.trigger('hello')).trim();
    t.match(answer, /^queued /);
    Object.assign(q.get(answer.split(' ')[1] as string) as Job, { evidence: evidenceOf() });
    end(q, answer, version % 2 === 0 ? 'done' : 'failed', true);
  }
});

void t.test(
  'tags of one push, of which a forge tells nobody when there are more than three, are found by one round of the poller',
  async (t) => {
    const forge = new Forge();
    await forge.start();
    t.teardown(() => forge.end());
    const there = forge.create('hello');
    const work = forge.create('work');
    const commit = work.commit(work.tree([{ path: 'README', content: 'hello' }]));
    const push = (...versions: string[]): string => {
      for (const version of versions)
        work.ref(`v${version}`, work.tagObject(work.tagText(`v${version}`, commit)));
      return work.git([
        'push',
        '--quiet',
        there.folder,
        ...versions.map((version) => `refs/tags/v${version}`),
      ]);
    };
    const { queue } = place(t);
    const q = queue();
    const lines: string[] = [];
    const trigger = new Trigger({
      config: {
        ...config,
        components: [{ ...(config.components[0] as Config['components'][number]), url: forge.url('hello') }],
      },
      queue: q,
      listTags: (url) => listRemoteTags(url, { sshConfig: '/dev/null', timeoutMs: 60_000 }),
    });
    const round = (): Promise<void> =>
      pollOnce({ components: ['hello'], trigger, pollSeconds: 1, report: (line) => lines.push(line) });
    const built = (): string[] => q.all().map((job) => job.version);

    push('1.0');
    await round();
    end(q, lines[0]?.split(': ')[2] ?? '', 'done', true);
    push('1.1', '1.2', '1.2.1', '1.9', '1.10', '0.9');
    await round();
    t.same(
      built().sort(),
      ['1.0', '1.1', '1.10', '1.2', '1.2.1', '1.9'],
      'each once, and none below what was built',
    );
    const waiting = q
      .all()
      .filter((job) => job.state === 'queued')
      .map((job) => [job.number, job.version] as const);
    t.same(
      waiting.sort(([a], [b]) => a - b).map(([, version]) => version),
      ['1.1', '1.2', '1.2.1', '1.9', '1.10'],
      'the lowest first',
    );
    await round();
    t.equal(built().length, 6, 'and the next round finds nothing new');
    push(...Array.from({ length: 14 }, (_, n) => `2.${n}`));
    await round();
    t.same(
      built().filter((version) => version.startsWith('2.')).length,
      11,
      'the newest and ten before it, at once',
    );
    await round();
    t.same(
      built().filter((version) => version.startsWith('2.')).length,
      14,
      'and the others in the next round',
    );
  },
);
