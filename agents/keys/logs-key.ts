// SPDX-License-Identifier: GPL-2.0-or-later
// Is this commit signed by the pinned logs key? Asked of the real gpgv, with a keyring that holds the pinned
// key's file and nothing else.
import { writeDurably } from '../shared/durable-files.js';
import { Refusal } from './refusals.js';
import type { GitCommit } from '../shared/formats/git-commit.js';
import { runProcess } from '../shared/programs/bounded-process.js';
import { gpgEnvironment } from './signing-keys.js';

/**
 * Hash algorithms of RFC 9580 section 9.5 that a signature on a publication may use: SHA-256, SHA-384,
 * SHA-512.
 */
const strongHashes = new Set(['8', '9', '10']);

export interface LogsKeyOptions {
  fingerprint: string;
  /** the armored public key, from the configuration */
  publicKeyFile: Buffer;
  /** where gpgv's keyring is put */
  stateFolder: string;
  gpgv?: string;
}

/**
 * One ASCII-armored block to bytes. @throws Error if it is not one: our own gpg or the admin made it, so this
 * is a fault
 */
export function dearmor(
  armored: string,
  kind: 'PUBLIC KEY BLOCK' | 'SIGNATURE' = 'PUBLIC KEY BLOCK',
): Buffer {
  const block = new RegExp(
    `^-----BEGIN PGP ${kind}-----\\r?\\n(?:[^\\r\\n]+\\r?\\n)*\\r?\\n((?:[A-Za-z0-9+/=]+\\r?\\n)+)-----END PGP ${kind}-----\\s*$`,
  ).exec(armored.trimStart());
  if (block === null) throw new Error(`not one armored ${kind.toLowerCase()}`);
  const lines = (block[1] as string).split(/\r?\n/).filter((line) => line !== '' && !line.startsWith('='));
  return Buffer.from(lines.join(''), 'base64');
}

export type VerifyCommit = (commit: GitCommit) => Promise<void>;

/**
 * @returns a check that throws Refusal BAD_SIGNATURE unless gpgv ends with 0 and says exactly one signature,
 * valid, over a binary
 * document, with a strong hash, made by the logs key or a subkey of it.
 */
export function logsKeyVerifier(options: LogsKeyOptions): VerifyCommit {
  const keyring = `${options.stateFolder}/logs-key.gpg`;
  writeDurably(keyring, dearmor(options.publicKeyFile.toString('latin1')), 0o600);
  return async (commit) => {
    const end = await runProcess({
      program: options.gpgv ?? '/usr/bin/gpgv',
      args: [
        '--homedir',
        options.stateFolder,
        '--keyring',
        keyring,
        '--status-fd',
        '3',
        '--enable-special-filenames',
        '--',
        '-&4',
        '-',
      ],
      env: gpgEnvironment(options.stateFolder),
      input: commit.signedBytes,
      secondInput: Buffer.from(commit.signature),
      limitBytes: 64 * 1024,
      timeoutMs: 30_000,
    });
    const refuse = (why: string): Refusal => new Refusal('BAD_SIGNATURE', `commit ${commit.id}: ${why}`);
    const said = end.statusText
      .split('\n')
      .filter((line) => line.startsWith('[GNUPG:] '))
      .map((line) => line.slice(9).split(' '));
    const count = (word: string): number => said.filter((fields) => fields[0] === word).length;
    if (end.status !== 0)
      throw refuse(`gpgv does not accept it (${said.map((fields) => fields[0]).join(' ')})`);
    if (count('NEWSIG') !== 1 || count('GOODSIG') !== 1 || count('VALIDSIG') !== 1)
      throw refuse('it does not carry exactly one good signature');
    const valid = said.find((fields) => fields[0] === 'VALIDSIG') as string[];
    // VALIDSIG fingerprint date time expires version reserved public-key-algorithm hash-algorithm class
    // primary-fingerprint
    if (valid[10] !== options.fingerprint) throw refuse('it is signed by another key');
    if (!strongHashes.has(valid[8] ?? '')) throw refuse('its hash algorithm is too weak');
    if (valid[9] !== '00') throw refuse('the signature is not over a binary document');
  };
}
