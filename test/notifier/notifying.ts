// SPDX-License-Identifier: GPL-2.0-or-later
// A notifier over a temporary state, a GitHub to talk to, and a clock that goes only when somebody waits for
// it.
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { NotifyConfig } from '../../agents/notifier/config.js';
import { Notifier, type NotifierOptions } from '../../agents/notifier/notifier.js';
import { notificationFormat, type Notification } from '../../agents/shared/formats/notification.js';
import { GitHubServer, type GitHubServerOptions } from '../../agents/local/outside/github-server/server.js';
import type { StoredIssue, StoredRepository } from '../../agents/local/outside/github-server/store.js';
import { TestClock } from '../support/test-clock.js';

export const token = 'ghp_this-is-the-secret-token-of-the-test';
export const account = 'build-bot';
export const commitId = 'c0ffee'.padEnd(40, '0');

/** No test waits for this one: a machine that is slow is not a GitHub that is. */
export const patientLimits = { timeoutMs: 300_000, answerBytes: 1024 * 1024 };

export const keyOf = (name: string): string => createHash('sha256').update(name).digest('hex');

export function notification(change: Partial<Notification> = {}, name?: string): Notification {
  const event = change.event ?? 'building';
  const made: Notification = {
    format: notificationFormat,
    key: '',
    time: '2026-11-22T05:00:00.000Z',
    event,
    kind: 'component',
    component: 'hello',
    version: '1.2-3',
    release: null,
    packageSet: null,
    dist: 'bookworm',
    dists: ['bookworm', 'trixie'],
    repository: event === 'uploaded' ? 'current-testing' : null,
    env: 'debian',
    job: 'hello-1.2-3-0123456789ab',
    tag: 'v1.2-3',
    commit: commitId,
    sourceUrl: 'https://github.example/example/hello.git',
    logs: [
      {
        stage: 'build',
        dist: change.dist === undefined ? 'bookworm' : change.dist,
        path: 'build-debian/2026-11-22/log_2026-11-22_05-00-00',
        commit: 'b'.repeat(40),
      },
    ],
    reason:
      event === 'failed' || event === 'upload-failed'
        ? { code: 'BUILD_FAILED', detail: 'dpkg-buildpackage ended with 2' }
        : null,
    excerpt: null,
    commits: [],
    ...change,
  };
  return { ...made, key: keyOf(name ?? JSON.stringify(made)) };
}

export interface Place {
  folder: string;
  outbox: string;
  state: string;
  clock: TestClock;
  config: NotifyConfig;
  github: GitHubServer;
  status: StoredRepository;
  lines: string[];
  options: (change?: Partial<NotifierOptions>) => NotifierOptions;
  open: (change?: Partial<NotifierOptions>) => Promise<Notifier>;
  /** puts documents into the outbox */
  put: (...documents: Notification[]) => void;
  /**
   * lets a notifier work until nothing waits, and closes it; @returns how long that took, in milliseconds of
   * the clock
   */
  drain: (change?: Partial<NotifierOptions>) => Promise<number>;
  /** puts documents into the outbox and drains it */
  tell: (...documents: Notification[]) => Promise<number>;
  /** the same by another notifier, whose state is in a folder of that name */
  tellAs: (state: string, ...documents: Notification[]) => Promise<number>;
  aside: () => { name: string; reason: string }[];
  onlyIssue: () => StoredIssue;
}

export async function place(
  t: Test,
  change: Partial<NotifyConfig> = {},
  server: Partial<GitHubServerOptions> = {},
): Promise<Place> {
  const folder = mkdtempSync(join(tmpdir(), 'bi-notify-'));
  const clock = new TestClock();
  const github = await GitHubServer.start({ token, account, now: () => new Date(clock.time), ...server });
  const lines: string[] = [];
  t.teardown(async () => {
    await github.stop();
    rmSync(folder, { recursive: true, force: true });
    // In every test, whatever else it is about.
    if (github.violations.length > 0)
      throw new Error(`a request is not as GitHub describes it: ${github.violations.join('\n')}`);
    if (lines.some((line) => line.includes(token))) throw new Error('a line holds the token');
  });
  const outbox = join(folder, 'outbox');
  const state = join(folder, 'state');
  mkdirSync(outbox);
  const config: NotifyConfig = {
    format: 'build-infra/notify-config@1',
    vm: 'build-debian',
    baseUrl: github.url,
    webUrl: 'https://github.example',
    account,
    repository: 'example/updates-status',
    issuesRepository: 'example/issues',
    commentIn: ['example/*'],
    logsUrl: 'https://github.example/example/build-logs/blob/{commit}/{path}',
    release: 'r4.3',
    distributions: {
      bookworm: { packageSet: 'vm', family: 'debian' },
      trixie: { packageSet: 'vm', family: 'debian' },
      fc41: { packageSet: 'host', family: 'fedora' },
    },
    componentUrls: {},
    minAgeDays: 5,
    templates: null,
    dryRun: false,
    ...change,
  };
  const status = github.repository('example/updates-status');
  let number = 0;
  const made: Place = {
    folder,
    outbox,
    state,
    clock,
    config,
    github,
    status,
    lines,
    options: (more) => ({
      config,
      outbox,
      state,
      clock,
      token: () => token,
      report: (line) => lines.push(line),
      limits: patientLimits,
      ...more,
    }),
    open: (more) => Notifier.open(made.options(more)),
    put: (...documents) => {
      for (const document of documents)
        writeFileSync(
          join(outbox, `${String(++number).padStart(12, '0')}-${document.key}.json`),
          JSON.stringify(document),
        );
    },
    drain: async (more) => {
      const began = clock.time;
      const notifier = await made.open(more);
      try {
        for (
          let pause = await notifier.deliveries.work();
          pause !== undefined;
          pause = await notifier.deliveries.work()
        )
          clock.time += pause;
      } finally {
        notifier.close();
      }
      return clock.time - began;
    },
    tell: (...documents) => {
      made.put(...documents);
      return made.drain();
    },
    tellAs: (name, ...documents) => {
      made.put(...documents);
      return made.drain({ state: join(folder, name) });
    },
    aside: () =>
      readdirSync(join(state, 'aside'))
        .filter((name) => name.endsWith('.json'))
        .map((name) => ({
          name,
          reason: readFileSync(join(state, 'aside', `${name}.reason`), 'utf8').trim(),
        })),
    onlyIssue: () => {
      if (status.issues.length !== 1) throw new Error(`there are ${status.issues.length} status issues`);
      return status.issues[0] as StoredIssue;
    },
  };
  return made;
}

export const bodies = (issue: StoredIssue): string[] => issue.comments.map((comment) => comment.body);
