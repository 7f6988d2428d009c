// SPDX-License-Identifier: GPL-2.0-or-later
// People who write comments: what one of them signs, with gpg on the machine where the key is.
import { setTimeout as sleep } from 'node:timers/promises';
import { must, type Machine } from './machine.js';

let lastSecond = 0;

/**
 * The same words signed by one key in one second are the same command: every signature is of a second of its
 * own.
 */
async function nextSecond(): Promise<void> {
  while (Math.floor(Date.now() / 1000) <= lastSecond) await sleep(100);
  lastSecond = Math.floor(Date.now() / 1000);
}

/** @param key fingerprint of a key on that machine @returns what goes into the comment */
export async function clearsign(developer: Machine, key: string, line: string): Promise<string> {
  await nextSecond();
  return await must(developer, ['gpg', '--batch', '--local-user', key, '--clearsign'], {
    input: `${line}\n`,
  });
}

const asStranger = `set -eu
home=/tmp/stranger
if ! test -d $home; then
  mkdir -m 700 $home
  gpg --homedir $home --batch --quiet --pinentry-mode loopback --passphrase '' --quick-generate-key 'Mallory <mallory@stranger.example>' ed25519 sign never
fi
gpg --homedir $home --batch --quiet --clearsign
`;

/** Signed with a key that nobody here knows. */
export async function clearsignAsStranger(developer: Machine, line: string): Promise<string> {
  await nextSecond();
  return await must(developer, ['sh', '-c', asStranger], { input: `${line}\n` });
}
