// SPDX-License-Identifier: GPL-2.0-or-later
// One commit's signature, by the real gpgv. The key file holds a stranger's key too, as a careless admin
// would leave it: only the pinned one counts.
import { writeFileSync } from 'node:fs';
import t from 'tap';
import { dearmor, logsKeyVerifier } from '../../agents/keys/logs-key.js';
import { readGitCommit } from '../../agents/shared/formats/git-commit.js';
import { GpgHome } from '../support/gpg-home.js';

const home = GpgHome.of(t);
const logsKey = home.makeKey('logs <logs@x>');
const stranger = home.makeKey('stranger <s@x>');
const unknown = home.makeKey('unknown <u@x>');
const verify = logsKeyVerifier({
  fingerprint: logsKey,
  publicKeyFile: home.gpg(['--armor', '--export', logsKey, stranger]),
  stateFolder: home.folder,
});

const text =
  'tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor a <a> 1 +0000\ncommitter a <a> 1 +0000\n\nsubject\n\nseq: 1\n';
function signedCommit(args: string[], body = text): Buffer {
  const signature = home
    .gpg(['--armor', ...args], text)
    .toString()
    .trimEnd()
    .replaceAll('\n', '\n ');
  return Buffer.from(body.replace('\n\n', `\ngpgsig ${signature}\n \n\n`));
}

await t.test('a commit signed by the logs key is accepted', async () =>
  verify(readGitCommit(signedCommit(['-b', '-u', logsKey]))),
);

const bad: [string, Buffer, RegExp][] = [
  ['by another key of the same file', signedCommit(['-b', '-u', stranger]), /another key/],
  ['by a key that is not in the file', signedCommit(['-b', '-u', unknown]), /gpgv does not accept it/],
  [
    'twice, by the logs key and another of the file',
    signedCommit(['-b', '-u', logsKey, '-u', stranger]),
    /exactly one/,
  ],
  [
    'twice, by the logs key and an unknown one',
    signedCommit(['-b', '-u', logsKey, '-u', unknown]),
    /gpgv does not accept it/,
  ],
  ['with SHA-1', signedCommit(['-b', '-u', logsKey, '--digest-algo', 'SHA1']), /too weak/],
  [
    'as text, whose line ends could be others',
    signedCommit(['-b', '-u', logsKey, '--textmode']),
    /not over a binary document/,
  ],
  [
    'over other bytes',
    signedCommit(['-b', '-u', logsKey], text.replace('seq: 1', 'seq: 2')),
    /gpgv does not accept it/,
  ],
  ['inline, with a text of its own', signedCommit(['-s', '-u', logsKey]), /gpgv does not accept it/],
  [
    'by a signature that has expired',
    signedCommit([
      '-b',
      '-u',
      logsKey,
      '--faked-system-time',
      '20200101T000000!',
      '--default-sig-expire',
      '1d',
      '--ignore-time-conflict',
      '--ignore-valid-from',
    ]),
    /gpgv does not accept it|exactly one/,
  ],
];
for (const [how, commit, message] of bad) {
  await t.test(`a commit is not accepted when it is signed ${how}`, async (t) =>
    t.rejects(verify(readGitCommit(commit)), { code: 'BAD_SIGNATURE', message }),
  );
}

for (const digest of ['SHA256', 'SHA384', 'SHA512']) {
  await t.test(`a commit signed with ${digest} is accepted`, async () =>
    verify(readGitCommit(signedCommit(['-b', '-u', logsKey, '--digest-algo', digest]))),
  );
}

await t.test(
  'what gpgv says is taken at its word: one signature, good, valid, of this key, kind and strength, and status 0',
  async (t) => {
    const gpgv = `${home.folder}/gpgv`;
    const asked = logsKeyVerifier({
      fingerprint: logsKey,
      publicKeyFile: home.exported(logsKey),
      stateFolder: home.folder,
      gpgv,
    });
    const commit = readGitCommit(signedCommit(['-b', '-u', logsKey]));
    const says = async (lines: readonly string[], end = 0): Promise<string> => {
      writeFileSync(
        gpgv,
        `#!/bin/sh\ncat >/dev/null <&4; cat >/dev/null\nprintf '%s\\n' ${lines.map((line) => `'${line}'`).join(' ')} >&3\nexit ${end}\n`,
        { mode: 0o755 },
      );
      return asked(commit).then(
        () => 'accepted',
        (error: unknown) =>
          `${(error as { code: string }).code} ${(error as { detail: string }).detail.replace(/^commit [0-9a-f]+: /, '')}`,
      );
    };
    const valid = (changes: Record<number, string> = {}): string =>
      ['[GNUPG:] VALIDSIG', logsKey, '2026-11-30', '1796045148', '0', '4', '0', '22', '8', '00', logsKey]
        .map((word, index) => changes[index] ?? word)
        .join(' ');
    const [newSignature, good] = ['[GNUPG:] NEWSIG', '[GNUPG:] GOODSIG ABCD logs'];
    t.equal(await says([newSignature, good, valid()]), 'accepted');
    t.equal(await says([newSignature, good, valid({ 1: 'AB'.repeat(20) })]), 'accepted', 'by a subkey of it');
    t.equal(
      await says([newSignature, good, valid()], 1),
      'BAD_SIGNATURE gpgv does not accept it (NEWSIG GOODSIG VALIDSIG)',
    );
    const one = 'BAD_SIGNATURE it does not carry exactly one good signature';
    for (const lines of [
      ['nothing'],
      [good, valid()],
      [newSignature, valid()],
      [newSignature, good],
      [newSignature, newSignature, good, valid()],
      [newSignature, good, good, valid()],
      [newSignature, good, valid(), valid()],
      [newSignature, good, `x${valid()}`],
      [newSignature.slice(9), good, valid()],
      [newSignature, good, ` ${valid()}`],
    ])
      t.equal(await says(lines), one, lines.join('|'));
    t.equal(
      await says([newSignature, good, valid({ 10: 'AB'.repeat(20) })]),
      'BAD_SIGNATURE it is signed by another key',
    );
    for (const hash of ['1', '2', '3', '11', '12', ''])
      t.equal(
        await says([newSignature, good, valid({ 8: hash })]),
        'BAD_SIGNATURE its hash algorithm is too weak',
      );
    for (const hash of ['9', '10']) t.equal(await says([newSignature, good, valid({ 8: hash })]), 'accepted');
    t.equal(
      await says([newSignature, good, valid({ 9: '01' })]),
      'BAD_SIGNATURE the signature is not over a binary document',
    );
    t.equal(
      await says([
        ...Array.from({ length: 100 }, () => `[GNUPG:] KEY_CONSIDERED ${logsKey} 0`),
        newSignature,
        good,
        valid(),
      ]),
      'accepted',
    );
  },
);

await t.test('a file that is not one armored key block stops the start', async (t) => {
  const bytes = home.gpg(['--export', logsKey]);
  const armored = home.exported(logsKey).toString();
  for (const good of [
    armored,
    `\n ${armored}\n\n`,
    armored.replaceAll('\n', '\r\n'),
    armored.replace('-----\n\n', '-----\nComment: x\n\n'),
  ])
    t.ok(dearmor(good).equals(bytes));
  for (const bad of [
    armored.replace('\n\n', '\n'),
    armored.replace('BEGIN', 'BEGINS'),
    `x\n${armored}`,
    `${armored}x`,
    armored.replace('PUBLIC KEY BLOCK-----\n\n', 'SIGNATURE-----\n\n'),
    armored.replace('\n=', '\n*='),
  ])
    t.throws(() => dearmor(bad), /not one armored public key block/);
  t.throws(() => dearmor(armored, 'SIGNATURE'), /not one armored signature/);
  t.throws(() => dearmor('hello'), /not one armored public key block/);
  t.throws(
    () => dearmor(`${home.exported(logsKey).toString()}${home.exported(stranger).toString()}`),
    /not one armored public key block/,
  );
});
