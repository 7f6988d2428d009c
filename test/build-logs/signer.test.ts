// SPDX-License-Identifier: GPL-2.0-or-later
// What counts as a signature of the logs key on a publication of before.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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

await t.test('a gpg that does not come to its end is no answer: a signature of ours would be taken for a stranger\'s', async (t) => {
  const signature = gpg('--armor', '-b');
  const killed = join(home, 'killed-gpg');
  writeFileSync(killed, '#!/bin/sh\nkill -9 $$\n', { mode: 0o755 });
  for (const program of [join(home, 'no-gpg'), killed]) {
    const signer = gpgSigner(home, fingerprint, program);
    await t.rejects(signer.verifies(Buffer.from(text), signature), { message: /gpg did not come to its end/ }, program);
    await t.rejects(signer.sign(Buffer.from(text)), { message: /gpg did not come to its end/ }, program);
  }
});
