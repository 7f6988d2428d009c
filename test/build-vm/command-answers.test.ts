// SPDX-License-Identifier: GPL-2.0-or-later
// Who hears why a command was refused: its signer, once. Strangers, and whoever carries comments, can make the farm say nothing.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { answersLimit } from '../../agents/build-vm/github-command/process-command.js';
import { Refusal } from '../../agents/build-vm/refusals.js';
import { Outbox } from '../../agents/build-vm/outbox/outbox.js';
import { until } from '../support/until.js';
import { bodies, place } from '../notifier/notifying.js';
import {
  alice,
  bob,
  clearsign,
  commit,
  desk,
  everything,
  gpgTime,
  keys,
  secondsAgo,
  stranger,
  upload,
  type Desk,
} from './commands.js';

t.teardown(() => keys.end());
const build = 'Build-component r4.3 hello';
const unknown = upload.replace(commit, 'f'.repeat(40));
/** The signature of a message as it is armored, in one line. */
const packetOf = (message: string): string =>
  (/\n\n([A-Za-z0-9+/=\n]+?)(?:\n=.{4})?\n-----END/.exec(message)?.[1] ?? '').replaceAll('\n', '');
const codes = (d: Desk): string[] => d.answers.map(({ code }) => code);

void t.test('a refused command is answered with its line, its code and its signature', async (t) => {
  const d = await desk(t);
  const signed = clearsign(unknown, alice, { at: gpgTime(new Date('2026-11-20T10:00:00Z')) });
  await d.restart({ now: () => new Date('2026-11-20T10:05:00Z') });
  t.equal(await d.ask(signed), 'refused UNKNOWN_COMMIT');
  const wanted = {
    line: unknown,
    code: 'UNKNOWN_COMMIT',
    signature: packetOf(signed),
    signed: '2026-11-20T10:00:00.000Z',
  };
  t.strictSame(d.answers, [wanted]);
});

void t.test('an accepted command, and one that is to come again, are not answered', async (t) => {
  const d = await desk(t);
  t.match(await d.ask(clearsign(build)), /^accepted /);
  await d.restart({
    build: async () => {
      throw new Refusal('FORGE_UNREACHABLE', 'away');
    },
  });
  t.equal(await d.ask(clearsign(build, alice, { at: gpgTime(secondsAgo(5)) })), 'later FORGE_UNREACHABLE');
  t.strictSame(d.answers, []);
});

const refused: [what: string, line: string, code: string][] = [
  ['a commit that was not built', unknown, 'UNKNOWN_COMMIT'],
  ['a distribution twice', upload.replace('all', 'trixie,vm-trixie'), 'DISTRIBUTION_TWICE'],
  ['a distribution that it was not built for', upload.replace('all', 'sid'), 'NOT_BUILT'],
  ['a minute of long ago', 'Build-template r4.3 debian-13 202001010000', 'BAD_TIMESTAMP'],
];
for (const [what, line, code] of refused) {
  void t.test(`${what} is answered`, async (t) => {
    const d = await desk(t);
    t.equal(await d.ask(clearsign(line)), `refused ${code}`);
    t.strictSame(codes(d), [code]);
  });
}

void t.test('a person who may not command it is answered, too', async (t) => {
  const d = await desk(t);
  t.equal(await d.ask(clearsign(upload, bob)), 'refused NOT_ALLOWED');
  t.strictSame(codes(d), ['NOT_ALLOWED']);
});

const elsewhere: [what: string, line: string][] = [
  ['another release', build.replace('r4.3', 'r5.0')],
  ['a component of another environment', build.replace('hello', 'elsewhere')],
  ['distributions of another environment', upload.replace('all', 'host-fc41')],
  ['a commit and distributions of another environment', unknown.replace('all', 'host-fc41')],
  ['a job of another environment', 'Retry hello-2.10-3-ffffffffffff'],
  ['a template of another environment', 'Upload-template r4.3 fedora-42 4.3.0-202611221200 templates-itl'],
];
const noSuchTemplate = {
  start: async (): Promise<string> => {
    throw new Refusal('UNKNOWN_TEMPLATE', 'it is not configured here');
  },
};
for (const who of [alice, bob]) {
  for (const [what, line] of elsewhere) {
    void t.test(
      `of ${what}, ${who.name} hears nothing here: another environment has the answer`,
      async (t) => {
        const d = await desk(t, { options: { promotions: noSuchTemplate } });
        t.match(await d.ask(clearsign(line, who)), /^refused (?!BAD_COMMAND|COMMAND_USED)/);
        t.strictSame(d.answers, []);
      },
    );
  }
}

void t.test('strangers hear nothing, whatever they send', async (t) => {
  const d = await desk(t);
  const signed = clearsign(unknown);
  const sent = [
    clearsign(unknown, stranger),
    signed.replace('r4.3', 'r4.2'),
    signed.replace(/\n\n[A-Za-z0-9+/]/, '\n\nA'),
    clearsign('Make-coffee', alice),
    `${signed}${signed}`,
    `x${signed}`,
    '',
    'hello',
  ];
  for (const one of sent) t.equal(await d.ask(one), 'refused BAD_COMMAND');
  t.strictSame(d.answers, []);
});

void t.test(
  'the same command again, from whomever and in whatever form, is not answered again',
  async (t) => {
    const d = await desk(t);
    const signed = clearsign(unknown);
    await d.ask(signed);
    await d.restart();
    const forms = [
      signed,
      signed.replaceAll('\n', '\r\n'),
      signed.replaceAll('\n', '  \n'),
      signed.replace(/^=.*\n/m, ''),
    ];
    for (const form of forms) t.equal(await d.ask(form), 'refused COMMAND_USED');
    t.equal(d.answers.length, 1);
    t.match(
      await d.ask(clearsign(unknown, alice, { at: gpgTime(secondsAgo(20)) })),
      'refused UNKNOWN_COMMIT',
    );
    t.equal(d.answers.length, 2, 'but signed anew it is another');
  },
);

void t.test('a command that comes too late is answered once, and one of long ago never', async (t) => {
  const d = await desk(t, { config: { windowSeconds: 3600 } });
  const late = clearsign(build, alice, { at: gpgTime(secondsAgo(3700)) });
  for (let times = 0; times < 3; times++) t.equal(await d.ask(late), 'refused TOO_OLD');
  t.strictSame(codes(d), ['TOO_OLD']);
  t.equal(
    await d.ask(clearsign(build, alice, { at: gpgTime(secondsAgo(3600 + 86_500)) })),
    'refused TOO_OLD',
  );
  t.equal(await d.ask(clearsign(build, alice, { at: gpgTime(secondsAgo(-400)) })), 'refused FROM_THE_FUTURE');
  t.equal(d.answers.length, 1);
  t.strictSame(d.done, []);
});

void t.test('what was accepted in time and comes again after the window is no late command', async (t) => {
  let now = new Date();
  const d = await desk(t, { config: { windowSeconds: 3600 }, options: { now: () => now } });
  const signed = clearsign(build);
  t.match(await d.ask(signed), /^accepted /);
  now = new Date(now.getTime() + 2 * 3600_000);
  t.equal(await d.ask(signed), 'refused TOO_OLD');
  now = new Date(now.getTime() + 48 * 3600_000);
  t.equal(await d.ask(signed), 'refused TOO_OLD');
  t.strictSame(d.answers, []);
});

void t.test('one signer is answered ten times an hour, and another one still is', async (t) => {
  let now = new Date();
  const people = [alice, bob].map(({ name, fingerprint }) => ({ name, fingerprint, ...everything }));
  const d = await desk(t, { people, options: { now: () => now } });
  for (let n = 0; n < answersLimit + 5; n++)
    await d.ask(clearsign(unknown, alice, { at: gpgTime(secondsAgo(n)) }));
  t.equal(d.answers.length, answersLimit);
  t.match(
    d.log.join('\n'),
    /commands of alice: more than 10 were refused within an hour, and the others are not answered/,
  );
  await d.ask(clearsign(unknown, bob));
  t.equal(d.answers.length, answersLimit + 1);
  now = new Date(now.getTime() + 2 * 3600_000);
  await d.ask(clearsign(unknown, alice, { at: gpgTime(secondsAgo(100)) }));
  t.equal(d.answers.length, answersLimit + 2);
});

void t.test('an answer that could not be written is written at the next start, once', async (t) => {
  const d = await desk(t);
  const full = (): never => {
    throw Object.assign(new Error('ENOSPC: the disk'), { code: 'ENOSPC' });
  };
  await d.restart({ answer: full });
  t.equal(await d.ask(clearsign(unknown)), 'refused UNKNOWN_COMMIT');
  t.match(d.log.join('\n'), /of alice: not answered yet: ENOSPC/);
  await d.restart();
  await d.restart();
  t.strictSame(codes(d), ['UNKNOWN_COMMIT']);
});

void t.test('a command that a kill broke off and that is refused then is answered', async (t) => {
  const d = await desk(t);
  await d.restart({ promotions: { start: () => new Promise<string>(() => undefined) } });
  const signed = clearsign(upload);
  void d.ask(signed).catch(() => undefined);
  await until('it to be taken', () => readdirSync(join(d.folder, 'commands')).length === 2);
  d.jobs.length = 0;
  await d.restart();
  t.match(d.answers, [{ code: 'UNKNOWN_COMMIT', signature: packetOf(signed) }]);
});

void t.test('from the signed comment to the answer below it, over the outbox and GitHub', async (t) => {
  const here = await place(t);
  const asked = here.github.repository('example/updates-status');
  const issue = here.github.store.addIssue(asked, { title: 'hello 2.10-3 (r4.3)', author: 'somebody' });
  const signed = clearsign(unknown);
  const at = new Date().toISOString();
  here.github.store.addComment(issue, {
    author: 'alice',
    body: `Please:\r\n\`\`\`\r\n${signed.replaceAll('\n', '\r\n')}\`\`\``,
    at,
  });
  const told = mkdtempSync(join(tmpdir(), 'bi-told-'));
  t.teardown(() => rmSync(told, { recursive: true, force: true }));
  here.clock.time = Date.now();
  const outbox = new Outbox({ outbox: here.outbox, told, report: () => undefined });
  const d = await desk(t, { options: { answer: (record) => outbox.refuse('debian', record) } });
  await d.ask(clearsign(unknown, stranger));
  for (let times = 0; times < 3; times++) await d.ask(signed);
  outbox.refuse('debian', {
    command: 'x',
    line: 'never posted',
    signed: at,
    signature: 'A'.repeat(100),
    code: 'NOT_ALLOWED',
  });
  t.equal(readdirSync(here.outbox).length, 2);
  await here.drain();
  const [, answer, ...more] = bodies(issue);
  t.match(answer, /The environment `debian` refused this command:/);
  t.ok(answer?.includes(unknown));
  t.match(answer, /`UNKNOWN_COMMIT`, nothing that was built and published here is of that commit\./);
  t.strictSame(more, []);
  t.strictSame(here.aside(), []);
});
