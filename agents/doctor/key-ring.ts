// SPDX-License-Identifier: GPL-2.0-or-later
// Which secret OpenPGP keys this VM holds. gpg is asked so that it writes nothing and starts nothing: no agent, no trust database, no new key
// ring. That the secret half is there is seen by its file, named by the key's grip.
import { list, look, read, type Machine } from './machine.js';

export interface KeyRing {
  /** fingerprints of primary keys whose secret half is here */
  secret: string[];
  /** why it could not be read */
  failure: string | undefined;
}

/** @param home as the VM sees it; the doctor runs gpg as the account that owns it. @throws NotAllowed */
export async function readKeyRing(machine: Machine, home: string, account: 'root' | 'user'): Promise<KeyRing> {
  if (look(machine, home) === undefined) return { secret: [], failure: undefined };
  const names = list(machine, home);
  const halves = new Set(list(machine, `${home}/private-keys-v1.d`).map((name) => name.replace(/\.key$/, '')));
  if (halves.size === 0) return { secret: [], failure: undefined };
  if (!names.includes('pubring.kbx') && !names.includes('pubring.gpg')) return { secret: [], failure: `${home} holds secret keys and no key ring` };
  const { status, stdout, stderr } = await machine.run(
    ['gpg', '--no-options', '--homedir', `${machine.root}${home}`, '--batch', '--no-tty', '--no-autostart', '--lock-never', '--no-auto-check-trustdb', '--trust-model', 'always',
      '--no-permission-warning', '--with-colons', '--with-keygrip', '--list-keys'],
    { account },
  );
  if (status !== 0) return { secret: [], failure: `gpg --list-keys ended with ${status}: ${stderr.trim().split('\n').at(-1) ?? ''}` };
  return { secret: secretKeys(stdout, halves), failure: undefined };
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
  return list(machine, `${home}/private-keys-v1.d`).some((name) => name.endsWith('.key')) || (read(machine, `${home}/secring.gpg`)?.length ?? 0) > 0;
}
