// SPDX-License-Identifier: GPL-2.0-or-later
// The notifier is killed at every request and at every file that it makes durable: nothing is said twice,
// nothing is lost. What is killed is a process; what finds the state afterwards is a new notifier in this
// one.
import { spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import type { ClosingCommit, Notification } from '../../agents/shared/formats/notification.js';
import type { StoredIssue } from '../../agents/local/outside/github-server/store.js';
import { account, bodies, notification, place, token, type Place } from './notifying.js';

const here = dirname(fileURLToPath(import.meta.url));
const top = join(here, '../../..');
const commits: ClosingCommit[] = [{ commit: 'd'.repeat(40), subject: 'Mend it', issues: ['#1'] }];
const story = [notification({ event: 'failed' }), notification({ event: 'uploaded', commits })];

interface Ended {
  killed: boolean;
  said: string;
}
let hours = 0;
function run(place: Place, args: string[] = [], started?: (child: ChildProcess) => void): Promise<Ended> {
  const start = new Date(place.clock.time + ++hours * 3600_000).toISOString();
  const child = spawn(
    process.execPath,
    [join(here, 'killed-notifier.js'), place.folder, JSON.stringify(place.config), start, ...args],
    { env: { PATH: process.env['PATH'], TEST_TOKEN: token }, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  started?.(child);
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (part: Buffer) => (said += part.toString()));
  return new Promise((resolve) =>
    child.once('close', (_code, signal) => resolve({ killed: signal === 'SIGKILL', said })),
  );
}

async function told(
  t: Test,
  server: Parameters<typeof place>[2] = {},
): Promise<{ place: Place; check: (why: string) => void }> {
  const made = await place(t, {}, server);
  const issue = made.github.store.addIssue(made.github.repository('example/issues'), {
    title: 'It is broken',
    author: 'reporter',
  });
  made.put(...story);
  return {
    place: made,
    check: (why) => {
      t.strictSame(
        bodies(made.onlyIssue()).map((body) => /(failed to build|was uploaded)/.exec(body)?.[1]),
        ['failed to build', 'was uploaded'],
        why,
      );
      t.strictSame(made.onlyIssue().labels, ['r4.3-vm-bookworm-cur-test'], why);
      t.strictSame(
        [issue.comments.filter((comment) => comment.author === account).length, issue.labels],
        [1, ['r4.3-vm-bookworm-cur-test']],
        why,
      );
    },
  };
}

/** Its clock is ahead of the killed one's. */
async function goOn(place: Place): Promise<void> {
  place.clock.time += ++hours * 3600_000;
  await place.drain();
}

const one: Partial<Notification> = { dists: ['bookworm'], event: 'uploaded' };
/** An older version's issue, which the upload that waits supersedes. */
async function replaced(
  t: Test,
  server: Parameters<typeof place>[2] = {},
): Promise<{ place: Place; check: (why: string) => void }> {
  const made = await place(t, {}, server);
  await made.tell(notification(one));
  made.put(notification({ ...one, version: '1.10-1' }));
  const [older] = made.status.issues as [StoredIssue];
  return {
    place: made,
    check: (why) =>
      t.strictSame(
        [older.state, older.comments.length, made.status.issues[1]?.state, made.aside()],
        ['closed', 2, 'open', []],
        why,
      ),
  };
}

for (const [doing, atRequests, make, least] of [
  [
    '',
    'killed at each request, when GitHub has done the work and not answered',
    told,
    { before: 2, after: 10 },
  ],
  [
    ' while it closes what is superseded',
    'killed at each request while it closes what is superseded, when GitHub has done the work and not answered',
    replaced,
    { before: 1, after: 8 },
  ],
] as const) {
  for (const [when, files] of [
    ['before', 'the first of each kind of file'],
    ['after', 'each file'],
  ] as const) {
    t.test(`killed ${when} ${files} that it makes durable${doing}`, async (t) => {
      let kills = 0;
      for (let n = 1; n < 200; n++) {
        const { place, check } = await make(t);
        const first = await run(place, [when, String(n)]);
        if (!first.killed) {
          t.match(first.said, /all said/);
          break;
        }
        kills += 1;
        await goOn(place);
        check(`${when} file ${n}`);
      }
      t.ok(kills > least[when], `${kills} kills`);
    });
  }

  t.test(atRequests, async (t) => {
    let kills = 0;
    for (let n = 1; n < 200; n++) {
      let seen = 0;
      let child: ChildProcess | undefined;
      const { place, check } = await make(t, {
        onWorked: () => void (child !== undefined && ++seen === n && child.kill('SIGKILL')),
      });
      const first = await run(place, [], (started) => (child = started));
      if (!first.killed) break;
      kills += 1;
      await goOn(place);
      check(`request ${n}`);
    }
    t.ok(kills > 8, `${kills} kills`);
  });
}

void t.test('a killed notifier does not keep the next one from starting, a living one does', async (t) => {
  const { place } = await told(t);
  place.github.down = { kind: 'slow', ms: 600_000 };
  let child: ChildProcess | undefined;
  const first = run(place, [], (started) => (child = started));
  await new Promise<void>((resolve) => child?.stdout?.once('data', () => resolve()));
  const second = await run(place);
  t.match(second.said, /ALREADY_RUNNING/);
  child?.kill('SIGKILL');
  await first;
  place.github.down = undefined;
  t.match((await run(place)).said, /all said/);
});

void t.test(
  'the program as it is installed starts, refuses what it must, and never shows the token',
  async (t) => {
    const made = await place(t);
    const root = join(made.folder, 'root');
    for (const folder of ['rw/config/build-infra', 'var/lib/build-infra/outbox', 'usr/lib/build-infra'])
      mkdirSync(join(root, folder), { recursive: true });
    const program = join(root, 'usr/lib/build-infra/build-infra-notifier.mjs');
    copyFileSync(join(top, 'dist/build-infra-notifier.mjs'), program);
    const config = join(root, 'rw/config/build-infra/notify.json');
    const secret = join(root, 'rw/config/build-infra/notify-token');
    const start = (): ChildProcess =>
      spawn(process.execPath, [program], {
        cwd: root,
        env: { PATH: '/usr/bin:/bin', BUILD_INFRA_ROOT: root },
        stdio: ['ignore', 'pipe', 'pipe'],
      });
    const saidBy = (child: ChildProcess, until: RegExp): Promise<string> =>
      new Promise((resolve) => {
        let said = '';
        const heard = (part: Buffer): void => {
          said += part.toString();
          if (until.test(said)) resolve(said);
        };
        child.stderr?.on('data', heard);
        child.once('close', () => resolve(said));
      });
    t.match(await saidBy(start(), /never/), /not started: NO_CONFIG/);
    writeFileSync(config, JSON.stringify(made.config));
    t.match(await saidBy(start(), /never/), /not started: NO_TOKEN/);
    writeFileSync(secret, `${token}\n`);
    chmodSync(secret, 0o644);
    t.match(await saidBy(start(), /never/), /not started: TOKEN_EXPOSED/);
    chmodSync(secret, 0o400);
    writeFileSync(
      join(root, 'var/lib/build-infra/outbox', `000000000001-${story[0]?.key}.json`),
      JSON.stringify(story[0]),
    );
    const child = start();
    const said = await saidBy(child, /: said\n/);
    child.kill('SIGTERM');
    await new Promise((resolve) => child.once('close', resolve));
    t.match(said, /notifier of build-debian: ready\n[^]*failed hello 1\.2-3 bookworm: said/);
    t.notMatch(said, token);
    t.strictSame(made.onlyIssue().labels, ['r4.3-vm-bookworm-failed']);
    writeFileSync(config, JSON.stringify({ ...made.config, baseUrl: 'http://github.example/api' }));
    t.match(await saidBy(start(), /never/), /not started: PLAIN_HTTP/);
    writeFileSync(config, JSON.stringify({ ...made.config, colour: 'red' }));
    t.match(await saidBy(start(), /never/), /not started: BAD_DOCUMENT/);
  },
);
