// SPDX-License-Identifier: GPL-2.0-or-later
// What the gpg client makes of a caller's words and of an answer. Its work with the real tools and the real
// keys agent: test/keys/gpg-client.test.ts.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Check } from '../../agents/shared/json-document.js';
import { checkWith } from '../../agents/shared/json-schema.js';
import { intentsOf, intentSchema, type IntentDocument } from '../../agents/shared/formats/intent.js';
import { readCommand } from '../../agents/build-vm/gpg-client/command-line.js';
import { hashedPayload, readIntentReply, writeIntent } from '../../agents/build-vm/gpg-client/intent-call.js';
import { describePayload } from '../../agents/build-vm/gpg-client/purpose.js';
import { readJobContext, readSettings } from '../../agents/build-vm/gpg-client/settings.js';

const K = 'AB'.repeat(20);
const sign = {
  kind: 'sign',
  mode: 'detach',
  armor: false,
  digest: undefined,
  user: K,
  input: 0,
  output: undefined,
  statusFd: undefined,
};

const commands: [string, string[], object][] = [
  ['git', ['--status-fd=2', '-bsau', K], { ...sign, armor: true, statusFd: 2 }],
  [
    'git verifying',
    ['--keyid-format=long', '--status-fd=1', '--verify', '/tmp/.git_vtag_tmpXXXXXX', '-'],
    { kind: 'local', inheritedFds: [] },
  ],
  [
    'debsign',
    [
      '--local-user',
      K,
      '--clearsign',
      '--list-options',
      'no-show-policy-urls',
      '--armor',
      '--textmode',
      '--output',
      'T.asc',
      'T',
    ],
    { ...sign, mode: 'clearsign', armor: true, input: 'T', output: 'T.asc' },
  ],
  [
    'rpmsign',
    ['--no-verbose', '--no-armor', '--no-secmem-warning', '-u', K, '-sbo', 'P.rpm.sig', '--', '-'],
    { ...sign, output: 'P.rpm.sig' },
  ],
  [
    'gpgme',
    [
      '--enable-special-filenames',
      '--batch',
      '--no-tty',
      '--status-fd',
      '8',
      '--command-fd',
      '9',
      '--pinentry-mode',
      'loopback',
      '--logger-fd',
      '13',
      '--sign',
      '--detach',
      '--armor',
      '-u',
      K,
      '--',
      '-&12',
    ],
    { ...sign, armor: true, input: 12, statusFd: 8 },
  ],
  [
    'a file that looks like a descriptor, for gpg without special names',
    ['-b', '-u', K, '--', '-&12'],
    { ...sign, input: '-&12', output: '-&12.sig' },
  ],
  [
    'a file',
    ['-u', K, '--clearsign', 'Release'],
    { ...sign, mode: 'clearsign', input: 'Release', output: 'Release.asc' },
  ],
  ['a file, to stdout', ['-u', K, '-b', '-o-', 'Release'], { ...sign, input: 'Release' }],
  ['listing', ['--with-colons', '--list-secret-keys', '--', K], { kind: 'list-secret-keys', users: [K] }],
  ['public keys', ['--with-colons', '--list-keys'], { kind: 'local', inheritedFds: [] }],
  ['decrypting', ['--status-fd', '7', '-d'], { kind: 'local', inheritedFds: [7] }],
  ['an option that is not known here', ['--check-trustdb'], { kind: 'local', inheritedFds: [] }],
  ['nothing', [], { kind: 'local', inheritedFds: [] }],
];
for (const [who, args, command] of commands) {
  await t.test(`understood: ${who}`, async (t) => t.same(readCommand(args), command));
}

for (const [code, args] of [
  ['INLINE_SIGN', ['-s']],
  ['NOT_DONE_HERE', ['-bN', 'a@b=c']],
  ['NOT_DONE_HERE', ['-se', '-r', K]],
  ['TWO_FILES', ['-b', 'a', 'b']],
  ['BAD_OPTION', ['-b', '--status-fd', 'x']],
] as const) {
  await t.test(`refused before anything is published: ${args.join(' ')}`, async (t) =>
    t.throws(() => readCommand(args), { code }),
  );
}

await t.test('what is signed is named by its file, else by its first bytes', async (t) => {
  const of = (input: number | string, text: string): string =>
    Object.values(describePayload(input, Buffer.from(text, 'latin1'))).join(' ');
  t.equal(of('/tmp/debsign.x/hello_2.10-3.dsc', ''), 'hello_2.10-3.dsc deb-dsc');
  t.equal(of('hello_2.10-3_amd64.buildinfo', ''), 'hello_2.10-3_amd64.buildinfo deb-buildinfo');
  t.equal(of('x/Release.new', 'Origin: x\n'), 'Release.new apt-release');
  t.equal(of('odd name\x1b.txt', ''), 'odd_name_.txt other');
  t.equal(of('.hidden', ''), '_.hidden other');
  t.equal(of(0, '\x8e\xad\xe8\x01\0\0'), 'rpm-header rpm-header');
  t.equal(of(0, `tree ${'a'.repeat(40)}\nauthor`), 'git-commit other');
  t.equal(of(0, 'Format: 1.8\nDate: x\nSource: hello\nChanges:\n x\n'), 'changes deb-changes');
  t.equal(of(0, 'Format: 1.0\nSource: hello\nBuild-Architecture: amd64\n'), 'buildinfo deb-buildinfo');
  t.equal(of(0, 'Format: 3.0 (quilt)\nSource: hello\nStandards-Version: 4\n'), 'dsc deb-dsc');
  t.equal(of(12, 'Origin: x\nSuite: y\nSHA256:\n'), 'Release apt-release');
  t.equal(of(0, 'hello'), 'stdin other');
});

await t.test('an intent is one that the schema accepts, and never the same twice', async (t) => {
  const check: Check<IntentDocument> = checkWith(intentSchema);
  const job = readJobContext(undefined, new Date('2026-11-21T20:00:00Z'));
  t.equal(job.job, 'manual-20261121T200000Z');
  const wish = {
    purpose: 'other',
    key: K,
    mode: 'detach',
    payload: hashedPayload('stdin', Buffer.from('x')),
  } as const;
  t.equal(intentsOf(check(JSON.parse(writeIntent(job, [wish])))).length, 1);
  t.equal(intentsOf(check(JSON.parse(writeIntent(job, [wish, { ...wish, mode: 'clearsign' }])))).length, 2);
  t.not(writeIntent(job, [wish]), writeIntent(job, [wish]));
});

await t.test('whatever is not an explicit yes is a no', async (t) => {
  const reply = (text: string) => (): string => readIntentReply(Buffer.from(text));
  const yes = {
    format: 'build-infra/intent-reply@1',
    result: 'published',
    intent: 'ab'.repeat(32),
    commit: 'ab'.repeat(20),
    grantedUntil: 'x',
  };
  t.doesNotThrow(reply(`${JSON.stringify(yes)}\n`));
  t.throws(reply('refused SPOOL_FULL no room\n'), { code: 'SPOOL_FULL', detail: 'no room' });
  t.throws(
    reply(JSON.stringify({ format: yes.format, result: 'refused', code: 'REMOTE_DOWN', detail: 'mirror' })),
    { code: 'REMOTE_DOWN', detail: 'mirror' },
  );
  for (const no of [
    '',
    'fault\n',
    'null',
    '[]',
    '"published"',
    JSON.stringify({ ...yes, format: 'x' }),
    JSON.stringify({ ...yes, result: 'Published' }),
    `${JSON.stringify(yes)}\n${JSON.stringify(yes)}`,
  ])
    t.throws(reply(no), { code: 'NO_ANSWER' }, no);
  const { grantedUntil: _granted, ...early } = { ...yes, result: 'public', commits: [] as string[] };
  const both = (first: object, second: object): (() => string) =>
    reply(`${JSON.stringify(first)}\n${JSON.stringify(second)}\n`);
  t.equal(both(early, yes)(), yes.commit);
  t.throws(
    both(early, { format: yes.format, result: 'refused', code: 'KEYS_VM_ALARM', detail: 'x' }),
    { code: 'KEYS_VM_ALARM' },
    'public, and not granted',
  );
  for (const first of [
    { ...early, commit: 'cd'.repeat(20) },
    { ...early, format: 'x' },
    { ...early, commits: undefined },
    yes,
  ])
    t.throws(both(first, yes), { code: 'NO_ANSWER' }, JSON.stringify(first));
  t.throws(both(yes, early), { code: 'NO_ANSWER' });
  t.throws(reply(`${JSON.stringify(early)}\n`), { code: 'NO_ANSWER' }, 'public alone is no answer');
  t.throws(reply(`${JSON.stringify(early)}\n${JSON.stringify(early)}\n${JSON.stringify(yes)}\n`), {
    code: 'NO_ANSWER',
  });
});

await t.test('a missing configuration or job file is said, not guessed', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'gc-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  t.throws(() => readSettings(root), { code: 'NO_CONFIGURATION' });
  for (const text of ['', '{"job":"x"}', 'null', '[]'])
    t.throws(() => readJobContext(text, new Date()), { code: 'BAD_JOB_FILE' });
});
