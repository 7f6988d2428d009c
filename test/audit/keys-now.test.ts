// SPDX-License-Identifier: GPL-2.0-or-later
// Keys that were lengthened, replaced, revoked or that ended after they signed: the audit says what gpgv says
// now, the quick way and the slow one.
import { readKeys, type PublicKey } from 'openpgp';
import t from 'tap';
import { judgeCommit, quickKeysOf } from '../../agents/audit/commit-signature.js';
import { findKey, judgeCleartext, judgeDetached, type KeyPlace } from '../../agents/audit/public-keys.js';
import { QuickSignatures } from '../../agents/published/history/quick-signatures.js';
import { KeyChanges, madeAt } from '../support/key-changes.js';

const data = 'tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n\nPublish\n';
const changes = new KeyChanges(t, data, 'Release');

for (const situation of changes.situations()) {
  const { what, file, signature, clear, documented } = situation;
  await t.test(what, async (t) => {
    const expected = documented ?? changes.says(situation);
    const [key] = (await readKeys({ binaryKeys: new Uint8Array(file) })) as [PublicKey];
    const of = (bad: { code: string } | undefined): string => bad?.code ?? 'good';
    t.equal(
      of(await judgeDetached(Buffer.from(data), Buffer.from(signature), key)),
      expected,
      'of a repository',
    );
    t.equal(of((await judgeCommit(Buffer.from(data), signature, key)).bad), expected, 'of a commit');
    t.equal(of(await judgeCleartext(clear, 'Release', key)), expected, 'of an InRelease');
    const quick = new QuickSignatures(structuredClone(await quickKeysOf(key))).judge(
      Buffer.from(data),
      signature,
    );
    if (expected === 'good') t.ok((quick ?? 0) > madeAt * 1000, 'the quick way knows it');
    else t.equal(quick, undefined, 'the quick way says nothing');
  });
}

await t.test(
  'a key that is published as it ended and as it was lengthened is the lengthened one',
  async (t) => {
    const gpg = (...args: string[]): Buffer => changes.run(args, data);
    const at = (days: number): string[] => ['--faked-system-time', `${madeAt + days * 86_400}!`];
    gpg(...at(0), '--quick-gen-key', 'logs', 'ed25519', 'sign', '90d');
    const fingerprint = /^fpr:+([0-9A-F]{40}):/m.exec(
      gpg('--with-colons', '--list-keys', 'logs').toString(),
    )?.[1] as string;
    const signature = gpg(...at(30), '--local-user', fingerprint, '--detach-sign', '--output', '-');
    const before = gpg('--armor', '--export', fingerprint);
    gpg('--quick-set-expire', fingerprint, '1y');
    const after = gpg('--export', fingerprint);
    const place =
      (bytes: Buffer, name: string): KeyPlace =>
      (path) =>
        Promise.resolve(path === name ? bytes : undefined);
    const [first, second] = [place(before, `keys/${fingerprint}.asc`), place(after, 'key.asc')];
    const bad = async (places: KeyPlace[]): Promise<string> =>
      (await judgeDetached(Buffer.from(data), signature, await findKey(fingerprint, 'x', places)))?.code ??
      'good';
    t.equal(await bad([first]), 'KEY_EXPIRED');
    t.equal(await bad([first, second]), 'good');
    t.equal(await bad([second, first]), 'good');
  },
);
