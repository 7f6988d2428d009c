// SPDX-License-Identifier: GPL-2.0-or-later
// Comments whose webhook did not come, asked for at the test server, which holds each question against
// GitHub's published description.
import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import tap from 'tap';
import { GitHubServer } from '../../agents/local/outside/github-server/server.js';
import type { StoredIssue } from '../../agents/local/outside/github-server/store.js';
import { DeliverySpool, type SpoolLimits } from '../../agents/sys-net/delivery-spool.js';
import {
  MissedComments,
  type Answer,
  type MissedCommentsOptions,
} from '../../agents/sys-net/missed-comments.js';
import { folderOf } from '../support/folders.js';
import { TestClock } from '../support/test-clock.js';
import { until } from '../support/until.js';
import { baseConfig, makeTree } from './agent.js';
import { block, comment } from './comment-payload.js';
import { githubHeaders } from './push-payload.js';
import { post } from './post.js';

const repository = 'example/updates-status';
const commands = { repositories: [repository, 'example/private'], buildVms: ['build-debian'] };
const start = Date.parse('2026-11-22T10:00:00Z');

interface Rig {
  server: GitHubServer;
  /** seconds after the start */
  at: (seconds: number) => void;
  /** a comment, posted at that time */
  say: (body: string, author?: string) => number;
  edit: (id: number, body: string) => void;
  spool: DeliverySpool;
  asker: MissedComments;
  options: MissedCommentsOptions;
  lines: string[];
  /** numbers of the comments that wait */
  found: () => number[];
  again: (limits?: Partial<SpoolLimits>) => void;
}

async function rig(
  t: { teardown: (act: () => unknown) => void },
  limits: Partial<SpoolLimits> = {},
): Promise<Rig> {
  const clock = new TestClock(start);
  const server = await GitHubServer.start({ token: 'none', account: 'bot', now: () => new Date(clock.time) });
  const stored = server.repository(repository);
  const issue = server.store.addIssue(stored, {
    title: 'status',
    body: '',
    author: 'bot',
    labels: [],
    visibleFrom: 0,
    at: new Date(clock.time).toISOString(),
  });
  const folder = folderOf(t);
  const made = {
    server,
    lines: [] as string[],
    at: (seconds: number) => void (clock.time = start + seconds * 1000),
    say: (body: string, author = 'alice') =>
      server.store.addComment(issue, {
        body,
        author,
        visibleFrom: 0,
        at: `${new Date(clock.time).toISOString().slice(0, 19)}Z`,
      }).id,
    edit: (id: number, body: string) =>
      void Object.assign(issue.comments.find((one) => one.id === id) ?? {}, {
        body,
        edited: `${new Date(clock.time).toISOString().slice(0, 19)}Z`,
      }),
    found: () =>
      made.spool
        .waitingFor('build-debian')
        .map(({ comment: one }) => one?.id ?? 0)
        .sort((a, b) => a - b),
    again: (more: Partial<SpoolLimits> = limits) => {
      (made as Partial<Rig>).spool?.close();
      made.spool = new DeliverySpool(folder, more);
      made.options = {
        commands,
        api: server.url,
        folder,
        spool: made.spool,
        onAccepted: () => undefined,
        report: (line) => made.lines.push(line),
        clock,
      };
      made.asker = new MissedComments(made.options);
    },
  } as Rig;
  made.again();
  t.teardown(async () => {
    made.spool.close();
    await server.stop();
  });
  return made;
}

void tap.test(
  'a command that came while nobody listened is found, once, and what was said before the first start is not',
  async (t) => {
    const r = await rig(t);
    r.at(-8000);
    r.say(block);
    r.at(0);
    t.equal(await r.asker.ask(repository), 120_000);
    t.same(r.found(), []);
    r.at(3600);
    const wanted = [r.say(block), r.say(`Please:\r\n\r\n${block.replaceAll('\n', '\r\n')}\r\n`, 'bob')];
    for (const other of ['Nice work!', `${block}\n${block}`, block.replace('hello', 'hell\u043e')])
      r.say(other);
    r.at(3700);
    r.again();
    await r.asker.ask(repository);
    t.same(r.found(), wanted);
    t.equal(r.spool.waitingFor('build-debian')[0]?.comment?.block, block);
    r.at(4000);
    r.again();
    await r.asker.ask(repository);
    t.same(r.found(), wanted, 'not twice');
    const edited = r.say(block);
    r.at(4010);
    r.edit(edited, `${block}\n`);
    await r.asker.ask(repository);
    t.same(r.found(), wanted, 'an edited comment is not what its writer said');
    t.equal(r.lines.filter((line) => line.includes('had not come')).length, 2);
    t.same(r.server.violations, []);
  },
);

void tap.test('of thousands that were missed each is found, also where hundreds have one time', async (t) => {
  const r = await rig(t, { comments: 5000, commentsOfOne: 5000 });
  const wanted: number[] = [];
  for (let n = 0; n < 700; n++) {
    r.at(100 + Math.floor(n / 250) * 60);
    wanted.push(r.say(block));
  }
  r.at(86_400);
  await r.asker.ask(repository);
  t.same(r.found(), wanted);
  t.same(r.server.violations, []);
});

void tap.test('a list that is behind is looked at again', async (t) => {
  const r = await rig(t);
  r.at(10);
  const late = r.server.store.addComment(r.server.repository(repository).issues[0] as StoredIssue, {
    body: block,
    author: 'alice',
    visibleFrom: 3,
    at: '2026-11-22T10:00:10Z',
  }).id;
  r.at(60);
  const early = r.say(block);
  await r.asker.ask(repository);
  t.same(r.found(), [early]);
  await r.asker.ask(repository);
  await r.asker.ask(repository);
  t.same(r.found(), [late, early]);
});

void tap.test('where the spool is full nothing is passed over', async (t) => {
  const r = await rig(t, { commentsOfOne: 2 });
  r.at(10);
  const wanted = [r.say(block), r.say(block), r.say(block), r.say(block, 'bob')];
  r.at(500);
  await r.asker.ask(repository);
  t.same(r.found(), wanted.slice(0, 2));
  t.match(r.lines.join('\n'), /SPOOL_FULL/);
  r.at(90_000);
  r.again({});
  await r.asker.ask(repository);
  t.same(r.found(), wanted);
});

void tap.test(
  'a forge that does not answer is asked less and less often, as it wants, and that is said once',
  async (t) => {
    const r = await rig(t);
    r.server.plan({ times: 3, how: { kind: 'bad-gateway' } });
    t.same(
      [await r.asker.ask(repository), await r.asker.ask(repository), await r.asker.ask(repository)],
      [120_000, 240_000, 480_000],
    );
    t.equal(r.lines.length, 1);
    r.server.plan(
      { how: { kind: 'too-many', retryAfter: 900 } },
      { how: { kind: 'primary-limit', resetInSeconds: 1800 } },
      { how: { kind: 'drop' } },
      { how: { kind: 'answer', contentType: 'text/html', body: '<p>' } },
    );
    t.equal(await r.asker.ask(repository), 900_000);
    t.equal(await r.asker.ask(repository), 1_801_000, 'a second after');
    t.ok((await r.asker.ask(repository)) > 120_000);
    t.ok((await r.asker.ask(repository)) <= 3_600_000);
    t.equal(await r.asker.ask(repository), 120_000);
    t.match(r.lines, [
      /answered 502/,
      /answered 429/,
      /answered 403/,
      /: (?:UND_ERR_SOCKET|ECONNRESET|other side closed|fetch failed)/,
      /NOT_JSON/,
      /answers again/,
    ]);
    t.equal(await r.asker.ask('example/private'), 120_000);
    t.match(r.lines.at(-1), /answered 404, as for a repository that not everybody can read/);
  },
);

for (const [name, odd] of [
  ['without a writer', { user: null }],
  ['without a text', { body: null }],
  ['with a number that is none', { id: 'x' }],
] as const) {
  void tap.test(`a comment ${name} is in nobody's way`, async (t) => {
    const r = await rig(t);
    const times = { created_at: '2026-11-22T10:00:00Z', updated_at: '2026-11-22T10:00:00Z' };
    const list = [
      { id: 1, body: block, user: { login: 'alice' }, ...times, ...odd },
      { id: 2, body: block, user: { login: 'alice' }, ...times },
    ];
    const get = async (): Promise<Answer> => ({
      status: 200,
      headers: new Headers(),
      body: Buffer.from(JSON.stringify(list)),
    });
    const folder = folderOf(t);
    await new MissedComments({
      commands,
      api: '',
      folder,
      spool: r.spool,
      onAccepted: () => undefined,
      report: () => undefined,
      get,
    }).ask(repository);
    t.same(r.found(), name === 'without a writer' ? [1, 2] : [2]);
  });
}

for (const after of ['soon', 'NaN', '-5', '1e9', 'Sun, 99 Nov 2026 99:99:99 GMT', '0', '999999999999999']) {
  void tap.test(`"retry-after: ${after}" never makes a question follow at once, or never`, async (t) => {
    const r = await rig(t);
    const get = async (): Promise<Answer> => ({
      status: 429,
      headers: new Headers({ 'retry-after': after }),
      body: Buffer.from(''),
    });
    const asker = new MissedComments({ ...r.options, get });
    const pause = await asker.ask(repository);
    t.ok(pause >= 120_000 && pause <= 3_600_000, String(pause));
  });
}

for (const [name, remembered] of [
  ['no JSON', '{"half'],
  ['a list', '[]'],
  ['a time that there is not', JSON.stringify({ [repository]: '2026-99-99T99:99:99Z' })],
  ['another kind of value', JSON.stringify({ [repository]: 5 })],
] as const) {
  void tap.test(`where what it remembered is ${name}, the last hour is asked for`, async (t) => {
    const r = await rig(t);
    r.at(1);
    const id = r.say(block);
    r.at(10);
    writeFileSync(join(r.options.folder, 'asked.json'), remembered);
    await new MissedComments(r.options).ask(repository);
    t.same(r.found(), [id]);
  });
}

void tap.test('a time that there is not is not remembered', async (t) => {
  const r = await rig(t);
  const times = { created_at: '2026-99-99T99:99:99Z', updated_at: '2026-99-99T99:99:99Z' };
  const odd = [{ id: 1, body: block, user: { login: 'alice' }, ...times }];
  const get = async (): Promise<Answer> => ({
    status: 200,
    headers: new Headers(),
    body: Buffer.from(JSON.stringify(odd)),
  });
  const asker = new MissedComments({ ...r.options, get });
  t.same([await asker.ask(repository), await asker.ask(repository)], [120_000, 120_000]);
  t.same(
    r.lines.filter((line) => line.includes('cannot ask')),
    [],
  );
});

void tap.test(
  'the agent that was off finds what was posted meanwhile, and what came by webhook is not brought twice',
  async (t) => {
    const server = await GitHubServer.start({ token: 'none', account: 'bot' });
    const stored = server.repository(repository);
    const issue = server.store.addIssue(stored, {
      title: 'status',
      body: '',
      author: 'bot',
      labels: [],
      visibleFrom: 0,
      at: new Date().toISOString(),
    });
    const say = (): number =>
      server.store.addComment(issue, {
        body: block,
        author: 'alice',
        visibleFrom: 0,
        at: `${new Date().toISOString().slice(0, 19)}Z`,
      }).id;
    const tree = makeTree(t, {
      ...baseConfig,
      commands: { ...commands, repositories: [repository], api: server.url },
    });
    tree.answer('accepted hello-2.10-3-0123456789ab\n');
    let agent = await tree.start();
    t.teardown(() => server.stop());
    const bytes = comment(block, { id: say() });
    t.match(
      await post(
        { socketPath: tree.socketPath },
        bytes,
        githubHeaders(bytes, { 'X-GitHub-Event': 'issue_comment' }),
      ),
      { status: 202, body: /^accepted / },
    );
    await until('the call', () => tree.calls().length === 1 && tree.waiting() === 0);
    await agent.kill();
    const missed = say();
    agent = await tree.start();
    await until('the missed one', () => tree.calls().length === 2 && tree.waiting() === 0);
    t.match(agent.said(), new RegExp(`comment ${missed} in ${repository} had not come`));
    t.equal(tree.heard('build-debian'), block);
    const afterwards = comment(block, { id: missed });
    t.match(
      await post(
        { socketPath: tree.socketPath },
        afterwards,
        githubHeaders(afterwards, { 'X-GitHub-Event': 'issue_comment', 'X-GitHub-Delivery': randomUUID() }),
      ),
      { status: 200, body: /^known / },
    );
    t.equal(tree.calls().length, 2);
    t.same(server.violations, []);
  },
);
