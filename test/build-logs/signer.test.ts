// SPDX-License-Identifier: GPL-2.0-or-later
// What counts as a signature of the logs key on a publication of before.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import t from 'tap';
import { gpgSigner } from '../../agents/build-logs/signer.js';

const home = mkdtempSync(`${tmpdir()}/ls-`);
const text = 'tree x\n\nsubject\n';
const gpg = (...args: string[]): string => execFileSync('gpg', ['--homedir', home, '--batch', '--quiet', '--passphrase', '', ...args], { input: text, stdio: ['pipe', 'pipe', 'ignore'] }).toString();
gpg('--quick-gen-key', 'logs <l@x>', 'ed25519', 'sign', 'never');
const fingerprint = /^fpr:+([0-9A-F]{40}):/m.exec(gpg('--with-colons', '--list-keys'))?.[1] as string;
t.teardown(() => {
  execFileSync('gpgconf', ['--homedir', home, '--kill', 'all']);
  rmSync(home, { recursive: true });
});

await t.test('one over bytes is good, one over a text is none, also where it was taken out of a clear-signed message', async (t) => {
  const signer = gpgSigner(home, fingerprint);
  t.ok(await signer.verifies(Buffer.from(text), gpg('--armor', '-b')));
  t.notOk(await signer.verifies(Buffer.from('other\n'), gpg('--armor', '-b')));
  t.notOk(await signer.verifies(Buffer.from(text), gpg('--armor', '-b', '--textmode')));
  const clear = gpg('--clearsign');
  t.notOk(await signer.verifies(Buffer.from(text.slice(0, -1)), clear.slice(clear.indexOf('-----BEGIN PGP SIGNATURE'))));
});
