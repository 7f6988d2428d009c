// SPDX-License-Identifier: GPL-2.0-or-later
// When a Release is made anew: by what it says itself, whatever was restarted, and with pauses that grow
// while it does not work.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { isReleaseDue } from '../../agents/build-vm/repositories/apt/release-renewal.js';
import { pauseAfter, queueRenewals } from '../../agents/build-vm/repositories/apt/renewals.js';
import { schedule } from '../../agents/build-vm/jobs/schedule.js';
import { pruneOldJobs } from '../../agents/build-vm/jobs/old-jobs.js';
import type { Job } from '../../agents/build-vm/jobs/job-document.js';
import type { JobQueue } from '../../agents/build-vm/jobs/job-queue.js';
import { Generations } from '../../agents/build-vm/repositories/repository-generations.js';
import { configFor, jobOf, queueFor } from './jobs.js';

const day = 86_400_000;
const made = Date.parse('2026-11-01T00:00:00Z');
const words = (time: number): string => new Date(time).toUTCString().replace('GMT', 'UTC');
const release = (days: number | undefined, date = made): string =>
  `Codename: x\nDate: ${words(date)}\n${days === undefined ? '' : `Valid-Until: ${words(date + days * day)}\n`}MD5Sum:\n`;

for (const [what, text, validDays, first] of [
  ['with a third of its time left', release(9), 9, made + 6 * day],
  ['and not later where it shall be valid for longer', release(9), 90, made + 6 * day],
  ['and sooner where it shall be valid for less', release(9), 3, made + 2 * day],
  ['and of a Release of one day eight hours before', release(1), 1, made + 16 * 3600_000],
] as const) {
  void t.test(`a Release is due ${what}`, (t) => {
    t.equal(isReleaseDue(text, validDays, first - 1000), false);
    t.equal(isReleaseDue(text, validDays, first), true);
    t.equal(isReleaseDue(text, validDays, made + 400 * day), true, 'and when it is over');
    t.end();
  });
}

void t.test(
  'a Release is due at once where the setting came or went, and where its date is still to come',
  (t) => {
    t.equal(isReleaseDue(release(undefined), 9, made), true);
    t.equal(isReleaseDue(release(9), undefined, made), true);
    t.equal(
      isReleaseDue(release(undefined), undefined, made + 9999 * day),
      false,
      'without the setting nothing is ever due',
    );
    t.equal(isReleaseDue(release(9, made + 3600_000), 9, made), true, 'a clock was ahead');
    t.equal(isReleaseDue(release(9, made + 60_000), 9, made), false, 'a little');
    t.throws(() => isReleaseDue('Codename: x\n', 9, made));
    t.throws(() => isReleaseDue('Date: yesterday\n', 9, made));
    t.end();
  },
);

interface Stand {
  queue: JobQueue;
  again: () => JobQueue;
  generations: () => Generations;
  make: (texts: string | Record<string, string>) => void;
  look: (now: number, days?: number | null, queue?: JobQueue) => string[];
  lines: string[];
}

function stand(test: Test): Stand {
  const { folder, queue, again } = queueFor(test);
  const home = join(folder, 'apt/bookworm');
  const lines: string[] = [];
  const generations = (): Generations => new Generations(home);
  return {
    queue,
    again,
    generations,
    lines,
    make: (texts) => {
      const one = generations().next('a'.repeat(12));
      for (const suite of ['current-testing', 'current', 'security-testing']) {
        mkdirSync(join(one.folder, `dists/bookworm-${suite}`), { recursive: true });
        const text = typeof texts === 'string' ? texts : texts[suite];
        if (text !== undefined) writeFileSync(join(one.folder, `dists/bookworm-${suite}/InRelease`), text);
      }
      writeFileSync(join(one.folder, 'made-by.json'), '{"job":"x","base":null}');
      generations().switching(one);
    },
    look: (now, days = 9, its = queue) => {
      const before = its.all().length;
      const apt = {
        upload: '',
        url: '',
        origin: '',
        label: '',
        ...(days === null ? {} : { validDays: days }),
      };
      queueRenewals({
        config: configFor(['bookworm'], { apt }),
        queue: its,
        repositories: join(folder, 'apt'),
        report: (line) => lines.push(line),
        now: () => new Date(now),
      });
      return its
        .all()
        .slice(before)
        .map(({ job }) => job);
    },
  };
}
const ended = (job: Job, state: Job['state'], at: number): Job =>
  Object.assign(job, { state, ended: new Date(at).toISOString() });

void t.test(
  'a renewal is made when one of the suites is due, once, and what is public is what counts',
  (t) => {
    const { queue, make, generations, look, again, lines } = stand(t);
    t.strictSame(look(made), [], 'there is no repository yet');
    make({
      'current-testing': release(9, made + day),
      current: release(9),
      'security-testing': release(9, made + day),
    });
    generations().switched(generations().all()[0] as never);
    t.strictSame(look(made + 6 * day - 1000), []);
    const [id] = look(made + 6 * day) as [string];
    t.match(queue.get(id), {
      kind: 'renewal',
      component: 'apt-repository',
      dists: ['bookworm'],
      version: /^2026/,
      state: 'queued',
    });
    t.match(lines, [/a Release of bookworm is due: queued renewal-bookworm-/]);
    t.strictSame(look(made + 6 * day + 1), [], 'it waits to be done');
    t.strictSame(look(made + 6 * day + 1, 9, again()), [], 'also after a restart');
    ended(queue.get(id) as Job, 'done', made + 6 * day);
    t.equal(
      look(made + 6 * day + 60_000).length,
      1,
      'what is public is still the old one, whatever a job says',
    );
    make({
      ...Object.fromEntries(
        ['current-testing', 'current', 'security-testing'].map((suite) => [
          suite,
          release(9, made + 6 * day),
        ]),
      ),
    });
    queue.all().forEach((job) => ended(job, 'done', made));
    t.equal(look(made + 6 * day + 60_000).length, 1, 'nobody knows whether the server switched');
    queue.all().forEach((job) => ended(job, 'done', made));
    generations().switched(generations().all().at(-1) as never);
    t.strictSame(look(made + 6 * day + 60_000), []);
    t.strictSame(look(made + 6 * day + 60_000, 9, again()), [], 'after a restart too');
    make(release(9));
    t.equal(
      look(made + 6 * day + 60_000).length,
      1,
      'nobody knows whether the server switched to one that is due',
    );
    queue.all().forEach((job) => ended(job, 'done', made));
    generations().switched(generations().all().at(-2) as never);
    t.strictSame(look(made + 6 * day + 60_000), []);
    t.equal(look(made + 7 * day, null).length, 1, 'the setting is gone, and with it the end goes');
    t.end();
  },
);

void t.test('while it does not work the next renewal comes later and later, across restarts', (t) => {
  const { queue, make, generations, look, again } = stand(t);
  make(release(9));
  generations().switched(generations().all()[0] as never);
  let now = made + 6 * day;
  for (const minutes of [10, 20, 40, 80, 80]) {
    const [id] = look(now) as [string];
    ended(queue.get(id) as Job, 'failed', now);
    queue.save(queue.get(id) as Job);
    t.strictSame(look(now + minutes * 60_000 - 1, 9, again()), [], `not within ${minutes} minutes`);
    now += minutes * 60_000;
  }
  const [id] = look(now) as [string];
  ended(queue.get(id) as Job, 'done', now);
  t.equal(pauseAfter(queue.all()), 0, 'it worked');
  rmSync((generations().all()[0] as { folder: string }).folder, { recursive: true });
  t.equal(look(now).length, 1, 'what is public is lost: the job says so');
  t.end();
});

void t.test(
  "a renewal has the lane of uploads, goes before a build and not before a security fix, and takes no build's files",
  (t) => {
    const { queue, make, generations, look } = stand(t);
    make(release(9));
    generations().switched(generations().all()[0] as never);
    const config = configFor(['bookworm']);
    const done = ['fetch', 'build bookworm', 'sign bookworm'];
    queue.add(jobOf(config, 'one', '1', 1, done));
    t.equal(look(made + 8 * day).length, 1);
    const first = (): string[] =>
      schedule(queue.all(), new Map(), { builds: 4 }, 0).start.map(
        ({ job, step }) => `${job.component} ${step.stage}`,
      );
    t.strictSame(first(), ['apt-repository renew']);
    queue.add(jobOf(config, 'two', '1', 3, done, { priority: 10 }));
    t.strictSame(first(), ['two publish']);
    for (const job of queue.all()) ended(job, 'done', job.kind === 'renewal' ? made + day : made);
    writeFileSync(join(queue.folderOf(queue.all()[0]?.job as string), 'built'), '');
    t.strictSame(pruneOldJobs(queue, 2), []);
    t.end();
  },
);
