// SPDX-License-Identifier: GPL-2.0-or-later
// Two programs that share no code look at one message: openpgp.js in this process, gpgv in its own. Both must
// find it good, by one and the same primary key. Both get our spelling of the message (clearsigned.ts) and
// the keys of build.json's people, nothing else.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as openpgp from 'openpgp';
import { makeFolder } from '../../shared/durable-files.js';
import { AnyRefusal, printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import { ProgramFailed, runProgram } from '../../shared/programs/program.js';
import { keyNow, refuseUnusableKey } from '../../shared/openpgp/key-now.js';
import { writeClearsigned, type Clearsigned } from './clearsigned.js';
import type { PersonKey } from './people-keys.js';
import type { SignatureFacts } from './signature-packet.js';

export interface OpinionOptions {
  /** of people who may command something */
  keys: readonly PersonKey[];
  /** scratch files of gpgv are made and removed there */
  work: string;
  now: Date;
}

const gpgvTimeoutMs = 30_000;

/** The id as `key` has it, primary key or subkey. */
function keyIdOf({ key }: PersonKey, id: string): openpgp.KeyID[] {
  return key
    .getKeys()
    .map((one) => one.getKeyID())
    .filter((one) => one.toHex().toUpperCase() === id);
}

/** @throws Refusal BAD_SIGNATURE, and those of refuseUnusableKey */
async function openpgpOpinion(
  message: Clearsigned,
  facts: SignatureFacts,
  owner: PersonKey,
  keyId: openpgp.KeyID,
  now: Date,
): Promise<string> {
  await refuseUnusableKey({ name: owner.rights.name, key: owner.key }, keyId, now);
  // How far ahead of ours the signer's clock may be is decided once the signer is known.
  const date = new Date(Math.max(now.getTime(), facts.created * 1000));
  try {
    const read = await openpgp.readCleartextMessage({ cleartextMessage: writeClearsigned(message) });
    const { data, signatures } = await openpgp.verify({
      message: read,
      verificationKeys: keyNow(owner.key, date),
      date,
    });
    const [signature] = signatures;
    if (signature === undefined || signatures.length !== 1 || data !== message.line)
      throw new Error('not one signature over the line');
    await signature.verified;
    const { created } = (await signature.signature).packets[0] as openpgp.SignaturePacket;
    if (created?.getTime() !== facts.created * 1000) throw new Error('another time than the packet says');
  } catch (error) {
    throw new Refusal(
      'BAD_SIGNATURE',
      `the signature of ${owner.rights.name} does not verify: ${printable((error as Error).message)}`,
    );
  }
  return owner.key.getFingerprint().toUpperCase();
}

const expectedWords = new Set([
  'NEWSIG',
  'KEY_CONSIDERED',
  'SIG_ID',
  'GOODSIG',
  'VALIDSIG',
  'PLAINTEXT',
  'PLAINTEXT_LENGTH',
  'NOTATION_NAME',
  'NOTATION_FLAGS',
  'NOTATION_DATA',
  'POLICY_URL',
  'VERIFICATION_COMPLIANCE_MODE',
  'KEYEXPIRED',
]);

/** The primary fingerprint in gpgv's status lines (doc/DETAILS of GnuPG), or why it is no yes. */
export function readGpgvStatus(
  untrustedStatus: string,
  facts: SignatureFacts,
): { good: string } | { bad: string } {
  const lines = untrustedStatus
    .split('\n')
    .filter((line) => line.startsWith('[GNUPG:] '))
    .map((line) => line.slice('[GNUPG:] '.length).split(' '));
  const unexpected = lines.find(([word]) => !expectedWords.has(word as string));
  if (unexpected !== undefined) return { bad: unexpected.join(' ') };
  const only = (word: string): string[] | undefined => {
    const found = lines.filter(([first]) => first === word);
    return found.length === 1 ? found[0] : undefined;
  };
  const valid = only('VALIDSIG');
  if (only('NEWSIG') === undefined || only('GOODSIG') === undefined || valid === undefined)
    return { bad: 'not one good signature' };
  if (valid[3] !== String(facts.created) || valid[9] !== '01')
    return { bad: `another signature: ${valid.join(' ')}` };
  return { good: valid[10] as string };
}

/** @throws Refusal TIMED_OUT; an Error where gpgv cannot be run at all */
async function gpgvOpinion(
  message: Clearsigned,
  facts: SignatureFacts,
  keys: readonly PersonKey[],
  work: string,
): Promise<{ good: string } | { bad: string }> {
  makeFolder(work);
  const folder = mkdtempSync(join(work, 'command-'));
  try {
    const [keyring, signed, text] = ['keyring.pgp', 'message.asc', 'text'].map((name) =>
      join(folder, name),
    ) as [string, string, string];
    writeFileSync(keyring, Buffer.concat(keys.map(({ binary }) => binary)));
    writeFileSync(signed, writeClearsigned(message));
    // The folder has no configuration for gpgv to read.
    const argv = [
      'gpgv',
      '--homedir',
      folder,
      '--keyring',
      keyring,
      '--status-fd',
      '1',
      '--output',
      text,
      signed,
    ];
    const status = await runProgram(argv, { cwd: folder, timeoutMs: gpgvTimeoutMs, limitBytes: 64 * 1024 });
    const opinion = readGpgvStatus(status.toString('latin1'), facts);
    if ('good' in opinion && readFileSync(text, 'latin1') !== `${message.line}\n`)
      return { bad: 'another text' };
    return opinion;
  } catch (error) {
    if (error instanceof ProgramFailed) return { bad: error.message };
    throw error;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Whose key signed: one of `keys`, as both programs say.
 * @throws Refusal UNKNOWN_SIGNER, AMBIGUOUS_KEY, OPINIONS_DIFFER, BAD_SIGNATURE, KEY_EXPIRED, KEY_REVOKED,
 * KEY_NOT_USABLE, TIMED_OUT
 */
export async function signerOf(
  message: Clearsigned,
  facts: SignatureFacts,
  options: OpinionOptions,
): Promise<PersonKey> {
  const [found, other] = options.keys.flatMap((owner) =>
    keyIdOf(owner, facts.issuerKeyId).map((keyId) => ({ owner, keyId })),
  );
  if (found === undefined)
    throw new Refusal('UNKNOWN_SIGNER', `nobody's key has the id ${facts.issuerKeyId}`);
  const { owner, keyId } = found;
  if (other !== undefined)
    throw new Refusal(
      'AMBIGUOUS_KEY',
      `${facts.issuerKeyId} is a key of ${owner.rights.fingerprint} and of ${other.owner.rights.fingerprint}`,
    );
  const first = await openpgpOpinion(message, facts, owner, keyId, options.now).catch((error: unknown) => {
    if (error instanceof AnyRefusal) return error;
    throw error;
  });
  const second = await gpgvOpinion(message, facts, options.keys, options.work);
  if (first instanceof AnyRefusal) {
    if ('good' in second)
      throw new Refusal(
        'OPINIONS_DIFFER',
        `gpgv finds a good signature by ${second.good}, openpgp does not: ${first.code}`,
      );
    throw first;
  }
  if ('bad' in second)
    throw new Refusal(
      'OPINIONS_DIFFER',
      `openpgp finds a good signature by ${first}, gpgv does not: ${second.bad}`,
    );
  if (second.good !== first || first !== owner.rights.fingerprint)
    throw new Refusal('OPINIONS_DIFFER', `openpgp says ${first}, gpgv says ${second.good}`);
  return owner;
}
