// SPDX-License-Identifier: GPL-2.0-or-later
// What a maintainer's machine writes, and that the build VM's own reader takes it.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { readClearsigned } from '../../agents/build-vm/github-command/clearsigned.js';
import { readSignaturePacket } from '../../agents/build-vm/github-command/signature-packet.js';
import { lineOf } from '../../agents/command/make.js';

const program = fileURLToPath(new URL('../../agents/command/alone.js', import.meta.url));
const home = mkdtempSync(join(tmpdir(), 'bi-make-'));
t.teardown(() => {
  execFileSync('gpgconf', ['--homedir', home, '--kill', 'all']);
  rmSync(home, { recursive: true, force: true });
});
execFileSync(
  'gpg',
  [
    '--homedir',
    home,
    '--batch',
    '--quiet',
    '--passphrase',
    '',
    '--quick-gen-key',
    'Alice <alice@example.org>',
    'ed25519',
    'sign',
    'never',
  ],
  { stdio: ['ignore', 'ignore', 'pipe'] },
);
const run = (...args: string[]): { status: number | null; stdout: string; stderr: string } =>
  spawnSync(process.execPath, [program, ...args], {
    encoding: 'utf8',
    env: { PATH: '/usr/bin:/bin', GNUPGHOME: home, LC_ALL: 'C.UTF-8' },
  });
const sha = '0123456789abcdef0123456789abcdef01234567';
const words = ['Upload-component', 'r4.3', 'hello', sha, 'current'];

void t.test('a line for each verb', (t) => {
  const made: [string[], string][] = [
    [[...words, 'all'], `Upload-component r4.3 hello ${sha} current all`],
    [[...words, 'bookworm,vm-trixie'], `Upload-component r4.3 hello ${sha} current bookworm,vm-trixie`],
    [
      [...words, 'bookworm', 'vm-trixie', 'host-fc41'],
      `Upload-component r4.3 hello ${sha} current bookworm,vm-trixie,host-fc41`,
    ],
    [
      [...words, 'vm-bookworm', 'host-fc41', '--older'],
      `Upload hello ${sha} r4.3 current vm-bookworm host-fc41 repo`,
    ],
    [
      ['Upload-template', 'r4.3', 'debian-13', '4.3.0-202611221200', 'templates-itl'],
      'Upload-template r4.3 debian-13 4.3.0-202611221200 templates-itl',
    ],
    [['Build-component', 'r4.3', 'hello'], 'Build-component r4.3 hello'],
    [['Retry', 'hello-2.10-3-0123456789ab'], 'Retry hello-2.10-3-0123456789ab'],
  ];
  for (const [args, line] of made)
    t.match(run('make', ...args), { status: 0, stdout: `${line}\n`, stderr: '' });
  t.equal(
    lineOf(['Build-template', 'r4.3', 'debian-13', 'now'], false, new Date('2026-11-22T05:07:59Z')),
    'Build-template r4.3 debian-13 202611220507',
  );
  t.match(run('make', 'Build-template', 'r4.3', 'debian-13', '202001010000'), {
    status: 0,
    stderr: /will refuse/,
  });
  t.end();
});

void t.test('what is no command is not made', (t) => {
  for (const args of [
    ['Upload'],
    [...words],
    [...words, 'all', 'trixie'],
    ['Build-component', 'r4.3', 'he llo'],
    ['Build-component', 'r4.3', 'hello\nRetry x'],
    ['Retry', '../x'],
    ['Build-component', 'r4.3', 'hello', '--older'],
    ['Retry', 'x', '--frob'],
    ['Retry', 'x', '--sign'],
  ]) {
    t.match(
      run('make', ...args),
      {
        status: 2,
        stdout: '',
        stderr: /^build-infra[ a-z]*: .+\n\(build-infra[ a-z]* --help tells more\)\n$/,
      },
      args.join(' '),
    );
  }
  t.match(run(), { status: 2 });
  t.match(run('--help'), { status: 0, stdout: /usage: build-infra command make VERB/ });
  t.end();
});

void t.test('what gpg signs for it, the build VM can read', (t) => {
  const { status, stdout } = run('make', ...words, 'bookworm', 'vm-trixie', '--sign', 'alice@example.org');
  t.equal(status, 0);
  const message = readClearsigned(Buffer.from(stdout));
  t.match(message, { line: `Upload-component r4.3 hello ${sha} current bookworm,vm-trixie`, hash: 'SHA512' });
  t.ok(readSignaturePacket(message.untrustedPacket, message.hash).created > 1_795_000_000);
  t.end();
});

void t.test('a key that is not there is said by gpg, and nothing is printed', (t) => {
  t.match(run('make', ...words, 'all', '--sign', 'nobody@example.org'), {
    status: 1,
    stdout: '',
    stderr: /gpg: /,
  });
  t.match(run('make', ...words, 'all', '--sign', 'alice@example.org', '--gpg', '/nonexistent/gpg'), {
    status: 2,
    stdout: '',
    stderr: /cannot be started/,
  });
  t.end();
});
