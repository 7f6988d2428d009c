// SPDX-License-Identifier: GPL-2.0-or-later
// A signature of one class is not taken where another is due: over a text it is over every spelling of its
// line ends and trailing blanks.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as openpgp from 'openpgp';
import t from 'tap';
import { verifyDetached, verifyOneSignature } from '../../agents/build-vm/signatures/one-signature.js';
import { Keys } from './forge.js';

const folder = mkdtempSync(join(tmpdir(), 'os-'));
const keys = new Keys();
t.teardown(() => {
  keys.end();
  rmSync(folder, { recursive: true });
});
const { fingerprint, armored } = keys.make('one');
const owner = { name: 'one', key: await openpgp.readKey({ armoredKey: armored }) };
const text = 'a line\nanother\n';
const gpg = (...args: string[]): string => keys.gpg(['--armor', '-u', fingerprint, ...args], text).toString();
const cleartext = gpg('--clearsign');
const overBytes = gpg('-b');
const overText = gpg('-b', '--textmode');
/** As anybody can, without the key. */
const takenOut = cleartext.slice(cleartext.indexOf('-----BEGIN PGP SIGNATURE'));
const putIn = `${cleartext.slice(0, cleartext.indexOf('-----BEGIN PGP SIGNATURE'))}${overBytes}`;

await t.test('one of the class that is due is good', async (t) => {
  await t.resolves(verifyDetached(Buffer.from(text), overBytes, owner));
  await t.resolves(verifyOneSignature({ clear: cleartext }, owner));
});

await t.test('a signature over a text is none over bytes, although gpg takes it for one', async (t) => {
  for (const [how, signature, bytes] of [
    ['made so', overText, text],
    ['taken out of a clear-signed message', takenOut, text.slice(0, -1)],
  ] as const) {
    writeFileSync(`${folder}/sig`, signature);
    t.match(
      keys.gpg(['--status-fd', '1', '--verify', `${folder}/sig`, '-'], bytes).toString(),
      `VALIDSIG ${fingerprint}`,
      `gpg accepts one ${how}`,
    );
    await t.rejects(verifyDetached(Buffer.from(bytes), signature, owner), { message: /class 1/ }, how);
  }
});

await t.test('a signature over bytes is none of a clear-signed message', async (t) => {
  await t.rejects(verifyOneSignature({ clear: putIn }, owner), { message: /class 0/ });
});
