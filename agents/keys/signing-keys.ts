// SPDX-License-Identifier: GPL-2.0-or-later
// The keys that this VM signs with: read once from the real gpg at start, so that no caller can make it list
// or export anything else.
import { Refusal } from './refusals.js';
import { runProcess } from '../shared/programs/bounded-process.js';

export interface Gpg {
  program: string;
  home: string;
}

interface SigningKey {
  fingerprint: string;
  /** every fingerprint of its key block: primary and subkeys */
  related: string[];
  users: string[];
  publicList: string;
  secretList: string;
  exported: Buffer;
  exportedArmored: Buffer;
}

export const gpgEnvironment = (home: string): NodeJS.ProcessEnv => ({
  PATH: '/usr/bin:/bin',
  LANG: 'C.UTF-8',
  GNUPGHOME: home,
  HOME: home,
});
const always = ['--no-options', '--batch', '--no-tty', '--no-auto-check-trustdb', '--trust-model', 'always'];

async function ask(gpg: Gpg, args: string[]): Promise<Buffer> {
  const end = await runProcess({
    program: gpg.program,
    args: [...always, ...args],
    env: gpgEnvironment(gpg.home),
    limitBytes: 4 * 1024 * 1024,
    timeoutMs: 30_000,
  });
  if (end.status !== 0)
    throw new Error(`gpg ${args.join(' ')} ended with ${end.status}: ${end.stderr.trim()}`);
  return end.stdout;
}

/** gpg writes \xNN for a colon and control characters in a user id. */
function unescaped(field: string): string {
  return field.replace(/\\x([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
}

export class SigningKeys {
  readonly #keys: SigningKey[];
  readonly version: Buffer;

  private constructor(keys: SigningKey[], version: Buffer) {
    this.#keys = keys;
    this.version = version;
  }

  /** @throws Error if gpg does not have the secret part of a configured key */
  static async load(gpg: Gpg, fingerprints: readonly string[]): Promise<SigningKeys> {
    const keys: SigningKey[] = [];
    for (const fingerprint of fingerprints) {
      const [publicList, secretList, exported, exportedArmored] = await Promise.all([
        ask(gpg, ['--with-colons', '--list-keys', '--', fingerprint]),
        ask(gpg, ['--with-colons', '--list-secret-keys', '--', fingerprint]),
        ask(gpg, ['--export', '--', fingerprint]),
        ask(gpg, ['--armor', '--export', '--', fingerprint]),
      ]);
      const rows = publicList
        .toString('utf8')
        .split('\n')
        .map((line) => line.split(':'));
      const related = rows.filter((row) => row[0] === 'fpr').map((row) => row[9] ?? '');
      if (!related.includes(fingerprint)) throw new Error(`gpg does not have the key ${fingerprint}`);
      const users = rows.filter((row) => row[0] === 'uid').map((row) => unescaped(row[9] ?? ''));
      keys.push({
        fingerprint,
        related,
        users,
        publicList: publicList.toString('utf8'),
        secretList: secretList.toString('utf8'),
        exported,
        exportedArmored,
      });
    }
    return new SigningKeys(keys, await ask(gpg, ['--version']));
  }

  /**
   * The one configured key that `untrustedUser` names: fingerprint or long key id of it or of its key block
   * (0x and ! as gpg has them), a whole user id, or its mail address. Nothing named: the only key, if there
   * is one only.
   * @throws Refusal NO_SUCH_KEY
   */
  resolve(untrustedUser: string | undefined): string {
    return this.#find(untrustedUser).fingerprint;
  }

  #find(untrustedUser: string | undefined): SigningKey {
    const found =
      untrustedUser === undefined ? this.#keys : this.#keys.filter((key) => names(key, untrustedUser));
    if (found.length !== 1)
      throw new Refusal(
        'NO_SUCH_KEY',
        untrustedUser === undefined
          ? 'say which key'
          : `${untrustedUser} names no key of this VM, or several`,
      );
    return found[0] as SigningKey;
  }

  #named(untrustedUsers: readonly string[]): SigningKey[] {
    return untrustedUsers.length === 0
      ? this.#keys
      : [...new Set(untrustedUsers.map((user) => this.#find(user)))];
  }

  list(secret: boolean, untrustedUsers: readonly string[]): Buffer {
    return Buffer.from(
      this.#named(untrustedUsers)
        .map((key) => (secret ? key.secretList : key.publicList))
        .join(''),
    );
  }

  export(armor: boolean, untrustedUsers: readonly string[]): Buffer {
    return Buffer.concat(
      this.#named(untrustedUsers).map((key) => (armor ? key.exportedArmored : key.exported)),
    );
  }
}

function names(key: SigningKey, untrustedUser: string): boolean {
  const id = /^(?:0x)?([0-9A-Fa-f]{16}|[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})!?$/
    .exec(untrustedUser)?.[1]
    ?.toUpperCase();
  if (id !== undefined)
    return key.related.some((fingerprint) =>
      id.length === 16 ? fingerprint.length === 40 && fingerprint.endsWith(id) : fingerprint === id,
    );
  const mail = /^<?([^<> ]+@[^<> ]+)>?$/.exec(untrustedUser)?.[1]?.toLowerCase();
  return key.users.some(
    (user) =>
      user === untrustedUser ||
      (mail !== undefined && user.toLowerCase().endsWith(`<${mail}>`)) ||
      (mail !== undefined && user.toLowerCase() === mail),
  );
}
