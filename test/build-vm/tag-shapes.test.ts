// SPDX-License-Identifier: GPL-2.0-or-later
// Signed tags as people's programs write them: what git finds good is good here, unless docs/formats.md says
// why not.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Component } from '../../agents/build-vm/configuration/config.js';
import { readTagObject } from '../../agents/build-vm/source/tag-object.js';
import { verifyTag } from '../../agents/build-vm/source/tag-verification.js';
import { readOneKey } from '../../agents/shared/openpgp/packets.js';
import { AnyRefusal } from '../../agents/shared/refusal.js';
import { Keys } from './forge.js';

const keys = new Keys();
const repository = mkdtempSync(join(tmpdir(), 'ts-'));
execFileSync('git', ['init', '--quiet', '--bare', repository]);
t.teardown(() => {
  keys.end();
  rmSync(repository, { recursive: true });
});
const alice = keys.make('alice');
const bob = keys.make('bob');
const text = `object ${'1'.repeat(40)}\ntype commit\ntag v1.0-1\ntagger Alice <alice@example.org> 1795291200 +0000\n\nRelease\n`;
const signature = keys.sign([alice], text);
const crlf = (armor: string): string => armor.replaceAll('\n', '\r\n');
const without = (armor: string): string => armor.replace(/\n$/, '');

function gitSaysGood(body: string): boolean {
  const git = ['--git-dir', repository];
  const id = execFileSync('git', [...git, 'hash-object', '-w', '-t', 'tag', '--stdin'], {
    input: body,
    encoding: 'utf8',
  });
  const env = { PATH: process.env['PATH'], GNUPGHOME: keys.home, HOME: repository, GIT_CONFIG_NOSYSTEM: '1' };
  return spawnSync('git', [...git, 'verify-tag', id.trim()], { env, stdio: 'ignore' }).status === 0;
}

async function ours(body: string, requiredSignatures = 1): Promise<string> {
  const maintainers = [];
  for (const { name, fingerprint, armored } of [alice, bob])
    maintainers.push({ name, fingerprint, key: await readOneKey(armored, fingerprint) });
  try {
    await verifyTag(
      readTagObject(Buffer.from(body)),
      { name: 'hello', maintainers, requiredSignatures } as unknown as Component,
      maintainers,
      new Date(),
    );
    return 'good';
  } catch (error) {
    return error instanceof AnyRefusal ? error.code : String((error as Error).stack);
  }
}

/** One by gpg, whose packet says that it is of version 3: openpgp reads none of these. */
const ofVersion3 = (): string => {
  const packet = keys.gpg(['--detach-sign', '--local-user', alice.fingerprint], text);
  packet[packet[0] === 0x88 ? 2 : 3] = 3;
  return keys
    .gpg(['--enarmor'], packet)
    .toString()
    .replaceAll('PGP ARMORED FILE', 'PGP SIGNATURE')
    .replace(/^Comment:.*\n/gm, '');
};

const shapes: [what: string, body: string, git: boolean, code: string][] = [
  ['as git writes it', text + signature, true, 'good'],
  ['without the last line end', text + without(signature), true, 'good'],
  ['with CRLF in its armor', text + crlf(signature), true, 'good'],
  ['with CRLF in its armor, without the last line end', text + without(crlf(signature)), true, 'good'],
  ['with blanks behind the lines of its armor', text + signature.replaceAll('\n', ' \t\n'), true, 'good'],
  [
    'with a header in its armor',
    text + signature.replace('\n\n', '\nVersion: GnuPG v2\nComment: of a man\n\n'),
    true,
    'good',
  ],
  ['without checksum', text + signature.replace(/=.{4}\n-----END/, '-----END'), true, 'good'],
  ['with blank lines after it', `${text}${signature}\n \r\n\n`, true, 'good'],
  [
    'with CRLF in its message',
    text.replace('Release\n', 'Release\r\n') + keys.sign([alice], text.replace('Release\n', 'Release\r\n')),
    true,
    'good',
  ],
  [
    'with several lines in its message, and empty ones',
    `${text}\n\n- one\n${keys.sign([alice], `${text}\n\n- one\n`)}`,
    true,
    'good',
  ],
  [
    'with a line of dashes in its message',
    `${text}-----\n${keys.sign([alice], `${text}-----\n`)}`,
    true,
    'good',
  ],
  // What docs/formats.md says of each of these: "Signed tags".
  ['with a text after it', `${text}${signature}more\n`, true, 'BAD_TAG'],
  [
    'with another signature in its message',
    `${text}${signature}\n${keys.sign([alice], `${text}${signature}\n`)}`,
    true,
    'BAD_TAG',
  ],
  ['whose armor has no end', text + signature.replace(/-----END.*\n/, ''), true, 'BAD_TAG'],
  [
    'with SHA-1',
    text +
      keys
        .gpg(['--armor', '--detach-sign', '--digest-algo', 'SHA1', '--local-user', alice.fingerprint], text)
        .toString(),
    true,
    'BAD_SIGNATURE',
  ],
  // And these are bad to everybody.
  ['cut short', text + signature.slice(0, 100), false, 'BAD_TAG'],
  ['of which a byte was changed', text.replace('Release', 'release') + signature, false, 'BAD_SIGNATURE'],
  ['of version 3', text + ofVersion3(), false, 'BAD_SIGNATURE'],
  ['whose armor is no base64', text + signature.replace(/\n\n..../, '\n\n?!?!'), false, 'BAD_SIGNATURE'],
  [
    'whose armor is empty',
    `${text}-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n`,
    false,
    'BAD_SIGNATURE',
  ],
];
for (const [what, body, git, code] of shapes) {
  t.test(`a tag whose signature is ${what}`, async (t) => {
    t.equal(gitSaysGood(body), git, 'git');
    t.equal(await ours(body), code);
  });
}

t.test(
  'two people, one block each, with every kind of line end; git itself looks at the last block alone',
  async (t) => {
    const [first, second] = [keys.sign([alice], text), keys.sign([bob], text)];
    for (const end of [(armor: string) => armor, crlf]) {
      t.equal(await ours(text + end(first) + without(end(second)), 2), 'good');
      t.equal(
        await ours(`${text}${end(first)}\n${end(second)}`, 2),
        'BAD_TAG',
        'with something between them',
      );
    }
  },
);
