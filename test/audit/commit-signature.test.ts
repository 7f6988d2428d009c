// SPDX-License-Identifier: GPL-2.0-or-later
// The quick way to judge a commit's signature says yes only where openpgp and gpgv do: real keys of each
// kind, and signatures with every bit turned once.
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readKey, type PublicKey } from 'openpgp';
import tap from 'tap';
import { judgeCommit, quickKeysOf, type JudgedCommit } from '../../agents/audit/commit-signature.js';
import { judgeDetached } from '../../agents/audit/public-keys.js';
import { QuickSignatures } from '../../agents/published/history/quick-signatures.js';
import { GpgHome } from '../support/gpg-home.js';
import { armor, pens } from './pens.js';

tap.setTimeout(600_000);
const gpgHome = GpgHome.of(tap);
const home = gpgHome.folder;
const gpg = (args: readonly string[], input: Buffer | string = ''): Buffer =>
  gpgHome.gpg(['--pinentry-mode', 'loopback', '--passphrase', '', ...args], input);
const data = Buffer.from('tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n\nPublish\n');

/** As the audit does it: the quick way, and openpgp where that does not know. */
class CommitSignatures {
  fast = 0;
  readonly #key: PublicKey;
  readonly #quick: QuickSignatures;

  private constructor(key: PublicKey, quick: QuickSignatures) {
    this.#key = key;
    this.#quick = quick;
  }

  static async of(key: PublicKey): Promise<CommitSignatures> {
    // It goes to a thread as plain data.
    return new CommitSignatures(key, new QuickSignatures(structuredClone(await quickKeysOf(key))));
  }

  async judge(signed: Buffer, signature: string): Promise<JudgedCommit> {
    const created = this.#quick.judge(signed, signature);
    if (created === undefined) return judgeCommit(signed, signature, this.#key);
    this.fast += 1;
    return { bad: undefined, created };
  }
}

function gpgvSaysGood(keyring: string, signature: string): boolean {
  writeFileSync(join(home, 'data'), data);
  writeFileSync(join(home, 'data.asc'), signature);
  return (
    spawnSync('gpgv', ['--homedir', home, '--keyring', keyring, join(home, 'data.asc'), join(home, 'data')], {
      stdio: 'ignore',
    }).status === 0
  );
}

for (const [kind, everyBit] of [
  ['ed25519', true],
  ['rsa3072', false],
  ['nistp256', true],
  ['nistp384', false],
] as const) {
  void tap.test(`${kind}: quick where it is good, and never where another says no`, async (t) => {
    gpg([
      '--faked-system-time',
      String(Math.floor(Date.now() / 1000) - 86_400),
      '--quick-generate-key',
      kind,
      kind,
      'sign',
      '3d',
    ]);
    const keyring = join(home, `${kind}.gpg`);
    writeFileSync(keyring, gpg(['--export', kind]));
    const key = await readKey({ armoredKey: gpg(['--armor', '--export', kind]).toString() });
    const judge = await CommitSignatures.of(key);
    const sign = (...more: string[]): Buffer =>
      gpg([...more, '--local-user', kind, '--detach-sign', '--output', '-'], data);
    const good = sign();
    t.equal((await judge.judge(data, armor('SIGNATURE', good))).bad, undefined);
    t.equal(judge.fast, 1, 'the quick way knows what gpg writes');
    t.equal(
      (
        await judge.judge(
          data,
          gpg(['--local-user', kind, '--armor', '--detach-sign', '--output', '-'], data).toString(),
        )
      ).bad,
      undefined,
    );
    t.equal(judge.fast, 2);
    t.ok(
      (await judge.judge(Buffer.concat([data, Buffer.from(' ')]), armor('SIGNATURE', good))).bad,
      'other data',
    );
    const strange: Record<string, Buffer> = {
      'of class 01': sign('--textmode'),
      ...(kind.startsWith('nist')
        ? {}
        : { 'with SHA-1': sign('--digest-algo', 'SHA1', '--allow-weak-digest-algos') }),
      'with a notation': sign('--set-notation', 'x@farm.example=1'),
      'with a critical notation': sign('--set-notation', '!x@farm.example=1'),
      'that ends': sign('--default-sig-expire', '1d'),
      'with bytes behind': Buffer.concat([good, Buffer.from([0])]),
      twice: Buffer.concat([good, good]),
      'cut short': good.subarray(0, -1),
      'in one piece of unknown length': Buffer.concat([
        Buffer.from([0x8b]),
        good.subarray(good[0] === 0x88 ? 2 : 3),
      ]),
      'from before its key': sign(
        '--ignore-time-conflict',
        '--ignore-valid-from',
        '--faked-system-time',
        `${Math.floor(Date.now() / 1000) - 200_000}!`,
      ),
    };
    for (const [what, packet] of Object.entries(strange)) {
      const before = judge.fast;
      await judge.judge(data, armor('SIGNATURE', packet));
      t.equal(judge.fast, before, `one ${what} goes the slow way`);
    }
    const wrong: string[] = [];
    for (let at = 0; at < good.length; at++) {
      for (let bit = 0; bit < 8; bit += everyBit ? 1 : 5) {
        const mutant = Buffer.from(good);
        mutant[at] = (mutant[at] as number) ^ (1 << bit);
        const text = armor('SIGNATURE', mutant);
        const before = judge.fast;
        const { bad } = await judge.judge(data, text);
        const isGood = bad === undefined;
        const quick = judge.fast > before;
        if (
          quick &&
          (!gpgvSaysGood(keyring, text) || (await judgeDetached(data, Buffer.from(text), key)) !== undefined)
        )
          wrong.push(`byte ${at} bit ${bit}: quick, and another says no`);
        if (isGood && (at * 8 + bit) % 7 === 0 && !gpgvSaysGood(keyring, text))
          wrong.push(`byte ${at} bit ${bit}: good, and gpgv says no`);
      }
    }
    t.same(wrong, []);
  });
}

void tap.test(
  'a key that ended is not good the quick way either, and is again for all of its time once it was lengthened',
  async (t) => {
    const now = Math.floor(Date.now() / 1000);
    const at = (seconds: number): string[] => ['--faked-system-time', `${seconds}!`];
    gpg([...at(now - 10 * 86_400), '--quick-generate-key', 'ending', 'ed25519', 'sign', '5d']);
    const fingerprint = /^fpr:+([0-9A-F]{40}):/m.exec(
      gpg(['--with-colons', '--list-keys', 'ending']).toString(),
    )?.[1] as string;
    const exported = (): Promise<PublicKey> =>
      readKey({ armoredKey: gpg(['--armor', '--export', fingerprint]).toString() });
    const early = gpg(
      [...at(now - 7 * 86_400), '--local-user', fingerprint, '--armor', '--detach-sign', '--output', '-'],
      data,
    ).toString();
    const ended = await CommitSignatures.of(await exported());
    t.match((await ended.judge(data, early)).bad, { code: 'KEY_EXPIRED' });
    gpg(['--quick-set-expire', fingerprint, '0']);
    const late = gpg(
      ['--local-user', fingerprint, '--armor', '--detach-sign', '--output', '-'],
      data,
    ).toString();
    t.match((await ended.judge(data, late)).bad, { code: 'KEY_EXPIRED' });
    const lengthened = await CommitSignatures.of(await exported());
    for (const signature of [early, late]) t.equal((await lengthened.judge(data, signature)).bad, undefined);
    t.equal(lengthened.fast, 2);
    const revocation = readFileSync(join(home, 'openpgp-revocs.d', `${fingerprint}.rev`), 'utf8').replace(
      ':-----BEGIN',
      '-----BEGIN',
    );
    gpg(['--import'], revocation);
    const revoked = await CommitSignatures.of(await exported());
    for (const signature of [early, late])
      t.match((await revoked.judge(data, signature)).bad, { code: 'KEY_REVOKED' });
  },
);

void tap.test('the signatures of the long history are what gpg makes', async (t) => {
  const publicKey = pens.export('logs').toString();
  const keyring = join(home, 'fast.gpg');
  writeFileSync(join(home, 'fast.asc'), publicKey);
  execFileSync('gpg', [
    '--homedir',
    home,
    '--batch',
    '--quiet',
    '--yes',
    '--dearmor',
    '--output',
    keyring,
    join(home, 'fast.asc'),
  ]);
  const signature = pens.sign('logs', 'detach', data).toString();
  t.ok(gpgvSaysGood(keyring, signature));
  const judge = await CommitSignatures.of(await readKey({ armoredKey: publicKey }));
  t.equal((await judge.judge(data, signature)).bad, undefined);
  t.equal(judge.fast, 1);
});
