// SPDX-License-Identifier: GPL-2.0-or-later
// Whose signatures make a tag good: each tag here is bad in one way and good in all others.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { alice, bob, carol, endForge, keys, situation, stranger } from './fetching.js';
import { tinyPackage, writeKeys, type TestKey } from './forge.js';

t.teardown(endForge);

void t.test('an unsigned tag is refused', async (t) => {
  const s = situation(t);
  s.repository.ref(
    'v1.0-1',
    s.repository.tagObject(
      s.repository.tagText('v1.0-1', s.repository.commit(s.repository.tree(tinyPackage('1.0-1')))),
    ),
  );
  t.equal(await s.code(), 'NOT_SIGNED');
});

void t.test('a tag signed by a stranger is refused', async (t) => {
  const s = situation(t);
  s.repository.release(keys, [stranger], 'v1.0-1', tinyPackage('1.0-1'));
  t.equal(await s.code(), 'UNKNOWN_SIGNER');
});

void t.test('a changed byte under a good signature is refused', async (t) => {
  const s = situation(t);
  const text = s.repository.tagText('v1.0-1', s.repository.commit(s.repository.tree(tinyPackage('1.0-1'))));
  s.repository.ref(
    'v1.0-1',
    s.repository.tagObject(text.replace('Release', 'release') + keys.sign([alice], text)),
  );
  t.equal(await s.code(), 'BAD_SIGNATURE');
});

void t.test('a signature of another kind than over bytes is refused', async (t) => {
  const s = situation(t);
  const text = s.repository.tagText('v1.0-1', s.repository.commit(s.repository.tree(tinyPackage('1.0-1'))));
  const clear = keys.gpg(['--clearsign', '--local-user', alice.fingerprint], text).toString();
  s.repository.ref(
    'v1.0-1',
    s.repository.tagObject(text + clear.slice(clear.indexOf('-----BEGIN PGP SIGNATURE-----'))),
  );
  // It would stand for other spellings of the text's line ends and blanks as well.
  t.equal(await s.code(), 'BAD_SIGNATURE');
  const asText = keys
    .gpg(
      ['--armor', '--detach-sign', '--textmode', '--local-user', alice.fingerprint],
      text.replace('v1.0-1', 'v1.0-2'),
    )
    .toString();
  s.repository.ref('v1.0-2', s.repository.tagObject(text.replace('v1.0-1', 'v1.0-2') + asText));
  t.equal(await s.code('v1.0-2'), 'BAD_SIGNATURE');
});

void t.test('an expired key is refused', async (t) => {
  const s = situation(t);
  const short = keys.make('short', '2d');
  const folder = mkdtempSync(join(tmpdir(), 'bi-keys-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  writeKeys(folder, [short]);
  s.component.maintainers = [{ name: 'short', fingerprint: short.fingerprint }];
  s.repository.release(keys, [short], 'v1.0-1', tinyPackage('1.0-1'));
  t.equal(await s.code('v1.0-1', { keys: folder }), 'none');
  t.equal(
    await s.code('v1.0-1', { keys: folder, now: new Date(Date.now() + 3 * 86_400_000) }),
    'KEY_EXPIRED',
  );
});

void t.test('a revoked key is refused', async (t) => {
  const s = situation(t);
  const gone = keys.make('gone');
  s.repository.release(keys, [gone], 'v1.0-1', tinyPackage('1.0-1'));
  const certificate = readFileSync(
    join(keys.home, 'openpgp-revocs.d', `${gone.fingerprint}.rev`),
    'utf8',
  ).replace(':-----BEGIN', '-----BEGIN');
  keys.gpg(['--import'], certificate);
  const folder = mkdtempSync(join(tmpdir(), 'bi-keys-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  writeKeys(folder, [keys.exported('gone')]);
  s.component.maintainers = [{ name: 'gone', fingerprint: gone.fingerprint }];
  t.equal(await s.code('v1.0-1', { keys: folder }), 'KEY_REVOKED');
});

void t.test(
  'a key file may be armored or not, whatever it is called; two keys in one are refused',
  async (t) => {
    const s = situation(t);
    s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1'));
    const folder = mkdtempSync(join(tmpdir(), 'bi-keys-'));
    t.teardown(() => rmSync(folder, { recursive: true }));
    writeKeys(folder, [bob, carol]);
    const binary = ({ fingerprint }: TestKey): Buffer => keys.gpg(['--export', fingerprint]);
    const cases: [what: string, content: string | Buffer, code: string][] = [
      ['binary', binary(alice), 'none'],
      ['armored', alice.armored, 'none'],
      [
        "binary, with a stranger's behind it",
        Buffer.concat([binary(alice), binary(stranger)]),
        'BAD_MAINTAINER_KEY',
      ],
      ["a stranger's, binary", binary(stranger), 'BAD_MAINTAINER_KEY'],
      ['cut', binary(alice).subarray(0, 30), 'BAD_MAINTAINER_KEY'],
      ['empty', '', 'BAD_MAINTAINER_KEY'],
      ['text', 'no key\n', 'BAD_MAINTAINER_KEY'],
    ];
    for (const [what, content, code] of cases) {
      writeFileSync(join(folder, `${alice.fingerprint}.asc`), content);
      t.equal(await s.code('v1.0-1', { keys: folder }), code, what);
    }
  },
);

void t.test('a key file that holds another key is refused', async (t) => {
  const s = situation(t);
  s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1'));
  const folder = mkdtempSync(join(tmpdir(), 'bi-keys-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  writeKeys(folder, [bob, carol]);
  writeFileSync(join(folder, `${alice.fingerprint}.asc`), stranger.armored);
  t.equal(await s.code('v1.0-1', { keys: folder }), 'BAD_MAINTAINER_KEY');
});

void t.test('two people are enough where two are required, in one block or in two', async (t) => {
  const s = situation(t, { requiredSignatures: 2 });
  s.repository.release(keys, [alice, bob], 'v1.0-1', tinyPackage('1.0-1'));
  const { evidence } = await s.fetch();
  t.same(evidence.signers.map((signer) => signer.name).sort(), ['alice', 'bob']);
  const text = s.repository.tagText('v1.0-2', s.repository.commit(s.repository.tree(tinyPackage('1.0-2'))));
  s.repository.ref(
    'v1.0-2',
    s.repository.tagObject(text + keys.sign([alice], text) + keys.sign([bob], text)),
  );
  t.equal(await s.code('v1.0-2'), 'none');
});

void t.test('one person is not two, whatever the number of signatures', async (t) => {
  const s = situation(t, { requiredSignatures: 2 });
  const text = s.repository.tagText('v1.0-1', s.repository.commit(s.repository.tree(tinyPackage('1.0-1'))));
  s.repository.ref(
    'v1.0-1',
    s.repository.tagObject(text + keys.sign([alice], text) + keys.sign([alice], text)),
  );
  t.equal(await s.code(), 'TOO_FEW_SIGNERS');
});

void t.test('two subkeys of one key are one person', async (t) => {
  const s = situation(t, { requiredSignatures: 2 });
  const subkeys = keys
    .gpg(['--with-colons', '--list-keys', carol.fingerprint])
    .toString()
    .split('\n')
    .filter((line) => line.startsWith('fpr:'))
    .map((line) => line.split(':')[9] as string)
    .slice(1);
  t.equal(subkeys.length, 2);
  const text = s.repository.tagText('v1.0-1', s.repository.commit(s.repository.tree(tinyPackage('1.0-1'))));
  const signature = keys
    .gpg(['--armor', '--detach-sign', ...subkeys.flatMap((key) => ['--local-user', `${key}!`])], text)
    .toString();
  s.repository.ref('v1.0-1', s.repository.tagObject(text + signature));
  t.equal(await s.code(), 'TOO_FEW_SIGNERS');
});

void t.test('two keys of one name are one person', async (t) => {
  const s = situation(t, {
    requiredSignatures: 2,
    maintainers: [
      { name: 'alice', fingerprint: alice.fingerprint },
      { name: 'alice', fingerprint: bob.fingerprint },
    ],
  });
  s.repository.release(keys, [alice, bob], 'v1.0-1', tinyPackage('1.0-1'));
  t.equal(await s.code(), 'TOO_FEW_SIGNERS');
});

void t.test('two blocks where one is asked for are refused', async (t) => {
  const s = situation(t);
  const text = s.repository.tagText('v1.0-1', s.repository.commit(s.repository.tree(tinyPackage('1.0-1'))));
  s.repository.ref(
    'v1.0-1',
    s.repository.tagObject(text + keys.sign([alice], text) + keys.sign([bob], text)),
  );
  t.equal(await s.code(), 'BAD_TAG');
});

void t.test('text after the signature is refused', async (t) => {
  const s = situation(t);
  const text = s.repository.tagText('v1.0-1', s.repository.commit(s.repository.tree(tinyPackage('1.0-1'))));
  s.repository.ref('v1.0-1', s.repository.tagObject(`${text}${keys.sign([alice], text)}more\n`));
  t.equal(await s.code(), 'BAD_TAG');
});

void t.test('an unknown header in the tag is refused', async (t) => {
  const s = situation(t);
  const text = s.repository.tagText(
    'v1.0-1',
    s.repository.commit(s.repository.tree(tinyPackage('1.0-1'))),
    'gpgsig-sha256 x\n',
  );
  s.repository.ref('v1.0-1', s.repository.tagObject(text + keys.sign([alice], text)));
  t.match(await s.code(), /^BAD_(?:TAG|OBJECT)$/);
});
