// SPDX-License-Identifier: GPL-2.0-or-later
// Which secret OpenPGP keys this VM holds. gpg is asked so that it writes nothing and starts nothing: no
// agent, no trust database, no new key ring. That the secret half is there is seen by its file, named by the
// key's grip.
import { keysIn, type ListedKey } from './key-ends.js';
import { list, look, read, type Machine } from './machine.js';

export interface KeyRing {
  /** fingerprints of primary keys whose secret half is here */
  secret: string[];
  /** all that the ring holds */
  keys: ListedKey[];
  /** why it could not be read */
  failure: string | undefined;
}

const lookingGpg = [
  'gpg',
  '--no-options',
  '--batch',
  '--no-tty',
  '--no-autostart',
  '--lock-never',
  '--no-auto-check-trustdb',
  '--trust-model',
  'always',
  '--no-permission-warning',
  '--with-colons',
];

/** @param home as the VM sees it; the doctor runs gpg as the account that owns it. @throws NotAllowed */
export async function readKeyRing(
  machine: Machine,
  home: string,
  account: 'root' | 'user',
): Promise<KeyRing> {
  if (look(machine, home) === undefined) return { secret: [], keys: [], failure: undefined };
  const names = list(machine, home);
  const halves = new Set(
    list(machine, `${home}/private-keys-v1.d`).map((name) => name.replace(/\.key$/, '')),
  );
  if (halves.size === 0) return { secret: [], keys: [], failure: undefined };
  if (!names.includes('pubring.kbx') && !names.includes('pubring.gpg'))
    return { secret: [], keys: [], failure: `${home} holds secret keys and no key ring` };
  const { status, stdout, stderr } = await machine.run(
    [...lookingGpg, '--homedir', `${machine.root}${home}`, '--with-keygrip', '--list-keys'],
    { account },
  );
  if (status !== 0)
    return {
      secret: [],
      keys: [],
      failure: `gpg --list-keys ended with ${status}: ${stderr.trim().split('\n').at(-1) ?? ''}`,
    };
  return { secret: secretKeys(stdout, halves), keys: keysIn(stdout), failure: undefined };
}

/** Rows of doc/DETAILS: pub, then its fpr and grp; a subkey's follow their sub. */
function secretKeys(listing: string, halves: ReadonlySet<string>): string[] {
  const found: string[] = [];
  let primary = false;
  let fingerprint = '';
  for (const fields of listing.split('\n').map((line) => line.split(':'))) {
    if (fields[0] === 'pub' || fields[0] === 'sub') primary = fields[0] === 'pub';
    if (fields[0] === 'fpr' && primary) fingerprint = fields[9] ?? '';
    if (fields[0] === 'grp' && primary && halves.has(fields[9] ?? '')) found.push(fingerprint);
  }
  return found;
}

/** Whether any secret key lies in a home where none belongs. @throws NotAllowed */
export function holdsSecretKeys(machine: Machine, home: string): boolean {
  return (
    list(machine, `${home}/private-keys-v1.d`).some((name) => name.endsWith('.key')) ||
    (read(machine, `${home}/secring.gpg`)?.length ?? 0) > 0
  );
}

/**
 * What files with public keys hold. @param paths as the VM sees them @returns why they cannot be read, where
 * gpg says so
 */
export async function readKeyFiles(
  machine: Machine,
  paths: readonly string[],
  account: 'root' | 'user',
): Promise<ListedKey[] | string> {
  // In /proc nobody can make a file: this gpg needs a home, and has none.
  const { status, stdout, stderr } = await machine.run(
    [
      ...lookingGpg,
      '--homedir',
      '/proc',
      '--no-keyring',
      '--show-keys',
      '--',
      ...paths.map((path) => `${machine.root}${path}`),
    ],
    { account },
  );
  return status === 0
    ? keysIn(stdout)
    : `gpg --show-keys ended with ${status}: ${stderr.trim().split('\n').at(-1) ?? ''}`;
}
