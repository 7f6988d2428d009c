// SPDX-License-Identifier: GPL-2.0-or-later
// Signed commands and who gets them: real gpg signs, the real processor decides, and the jobs are documents
// made here.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CommandRights, CommandsConfig } from '../../agents/build-vm/configuration/commands-config.js';
import {
  CommandProcessor,
  answerLine,
  type CommandOptions,
} from '../../agents/build-vm/github-command/process-command.js';
import type { Promotion } from '../../agents/build-vm/github-command/promotions.js';
import { UsedCommands } from '../../agents/build-vm/github-command/used-commands.js';
import { jobFormat, type Job } from '../../agents/build-vm/jobs/job-document.js';
import { Keys, writeKeys, type TestKey } from './forge.js';
import { evidenceOf } from './jobs.js';

export const keys = new Keys();
/** Older than any signature of a test. */
export function makeKey(
  name: string,
  algorithm = 'ed25519',
  expire = 'never',
  made = '20260101T000000',
): TestKey {
  keys.gpg([
    '--faked-system-time',
    made,
    '--quick-gen-key',
    `${name} <${name}@example.org>`,
    algorithm,
    'sign',
    expire,
  ]);
  return keys.exported(name);
}
export const alice = makeKey('alice');
export const bob = makeKey('bob');
export const stranger = makeKey('stranger');

export const commit = '0123456789abcdef0123456789abcdef01234567';
export const upload = `Upload-component r4.3 hello ${commit} current all`;
export const everything: Omit<CommandRights, 'name' | 'fingerprint'> = {
  verbs: [
    'Upload-component',
    'Upload-template',
    'Build-template',
    'Build-component',
    'Rebuild-component',
    'Retry',
  ],
  components: 'all',
  distributions: 'all',
  repositories: ['current', 'security-testing', 'templates-itl', 'templates-community'],
  templates: 'all',
};

/** What gpg makes of it. `at`: YYYYmmddTHHMMSS, in UTC, in place of now */
export function clearsign(
  line: string,
  by: TestKey | string = alice,
  options: { at?: string; more?: string[] } = {},
): string {
  const time = options.at === undefined ? [] : ['--faked-system-time', `${options.at}!`];
  return keys
    .gpg(
      [
        ...time,
        ...(options.more ?? []),
        '--clearsign',
        '--local-user',
        typeof by === 'string' ? by : by.fingerprint,
      ],
      `${line}\n`,
    )
    .toString();
}

/** For --faked-system-time. */
export const gpgTime = (time: Date): string => time.toISOString().replace(/[-:]|\.\d+Z$/g, '');
export const secondsAgo = (seconds: number): Date => new Date(Date.now() - seconds * 1000);

let count = 0;
export function job(change: Partial<Job> = {}): Job {
  const number = ++count;
  return {
    format: jobFormat,
    kind: 'build',
    change: null,
    job: `hello-2.10-3-${String(number).padStart(12, '0')}`,
    number,
    component: 'hello',
    version: '2.10-3',
    tag: 'v2.10-3',
    tagObject: 'f'.repeat(40),
    url: 'git://forge.example/hello.git',
    env: 'debian',
    dists: ['bookworm', 'trixie'],
    created: '2026-11-20T10:00:00.000Z',
    state: 'done',
    priority: 0,
    configuration: { common: '', dists: {} },
    running: [],
    waiting: [],
    finished: [],
    logs: [],
    evidence: evidenceOf(commit),
    sourceDateEpoch: null,
    artifacts: [],
    uploaded: ((change.state ?? 'done') === 'done' ? (change.dists ?? ['bookworm', 'trixie']) : []).map(
      (dist) => ({ dist, url: '', suite: `${dist}-current-testing`, release: '', files: [] }),
    ),
    reasons: [],
    reason: null,
    ended: '2026-11-20T11:00:00.000Z',
    ...change,
  } as Job;
}

export interface Desk {
  folder: string;
  jobs: Job[];
  /** what was done, one line each */
  done: string[];
  promoted: Promotion[];
  /** what the notifier is to say where it was asked */
  answers: { line: string; code: string; signature: string; signed: string }[];
  /** this VM's own log */
  log: string[];
  config: CommandsConfig;
  /** the answer to a comment, without its line end */
  ask: (comment: string | Buffer) => Promise<string>;
  /** the answer, and the code that only this VM's log has */
  code: (comment: string | Buffer) => Promise<string>;
  /** a new process over the same disk */
  restart: (change?: Partial<CommandOptions>) => Promise<void>;
}

export async function desk(
  test: { teardown: (handler: () => void) => void },
  change: {
    config?: Partial<CommandsConfig>;
    people?: CommandRights[];
    keys?: readonly TestKey[];
    options?: Partial<CommandOptions>;
    begins?: Date;
  } = {},
): Promise<Desk> {
  const folder = mkdtempSync(join(tmpdir(), 'bi-cmd-'));
  test.teardown(() => rmSync(folder, { recursive: true, force: true }));
  writeKeys(join(folder, 'keys'), change.keys ?? [alice, bob]);
  const config: CommandsConfig = {
    releases: ['r4.3'],
    windowSeconds: 259_200,
    distributionWords: [
      { word: 'vm-trixie', dist: 'trixie' },
      { word: 'vm-bookworm', dist: 'bookworm' },
    ],
    people: change.people ?? [
      { name: 'alice', fingerprint: alice.fingerprint, ...everything },
      { name: 'bob', fingerprint: bob.fingerprint, verbs: ['Build-component'], components: ['hello'] },
    ],
    ...change.config,
  };
  const made = {
    folder,
    jobs: [job()],
    done: [] as string[],
    promoted: [] as Promotion[],
    answers: [] as Desk['answers'],
    log: [] as string[],
    config,
  };
  let processor: CommandProcessor;
  const open = (more: Partial<CommandOptions> = {}): Promise<void> => {
    processor = new CommandProcessor({
      config,
      dists: ['bookworm', 'trixie', 'sid'],
      components: ['hello', 'other'],
      templates: ['debian-13'],
      publicKeys: join(folder, 'keys'),
      work: join(folder, 'work'),
      used: new UsedCommands(join(folder, 'commands'), change.begins ?? new Date(0)),
      jobs: () => made.jobs,
      build: async (component) =>
        `${component}-1.0-${made.done.push(`build ${component}`).toString(16).padStart(12, '0')}`,
      retry: (id) => void made.done.push(`retry ${id}`),
      promotions: {
        start: async (promotion) => {
          made.promoted.push(promotion);
          return `promotion-${made.done.push(`promote ${promotion.line}`)}`;
        },
      },
      answer: ({ line, code, signature, signed }) => made.answers.push({ line, code, signature, signed }),
      report: (line) => made.log.push(line),
      ...change.options,
      ...more,
    });
    return processor.resume();
  };
  await open();
  const ask = async (comment: string | Buffer): Promise<string> =>
    answerLine(await processor.process(Buffer.from(comment as string, 'utf8'))).trim();
  return {
    ...made,
    ask,
    restart: open,
    code: async (comment) => {
      made.log.length = 0;
      const answer = await ask(comment);
      const mine = made.log
        .map((line) => /(?:^|: )refused ([A-Z_]+)/.exec(line)?.[1])
        .filter((code) => code !== undefined)
        .at(-1);
      return mine === undefined ? answer : mine;
    },
  };
}
