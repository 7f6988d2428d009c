// SPDX-License-Identifier: GPL-2.0-or-later
// The only place where a secret key is used. The command line is made here, of fixed words and a configured
// fingerprint.
import { Refusal } from './refusals.js';
import { originNotation, writeSignatureOrigin } from '../shared/formats/signature-origin.js';
import { runProcess } from '../shared/programs/bounded-process.js';
import { checkMadeSignature, hashNumbers, type SigningOrder } from './made-signature.js';
import { gpgEnvironment, type Gpg } from './signing-keys.js';

export interface Signature {
  bytes: Buffer;
  /** gpg's own status lines, for callers that asked for them */
  statusText: string;
}

const signatureLimitBytes = 64 * 1024;
function commandLine(order: SigningOrder): string[] {
  return [
    '--no-options',
    '--batch',
    '--no-tty',
    '--no-greeting',
    '--no-auto-check-trustdb',
    '--trust-model',
    'always',
    '--pinentry-mode',
    'error',
    '--status-fd',
    '3',
    '--digest-algo',
    order.digest,
    order.armor ? '--armor' : '--no-armor',
    '--local-user',
    `${order.key}!`,
    '--sig-notation',
    `${originNotation}=${writeSignatureOrigin(order.origin)}`,
    '--output',
    '-',
    order.mode === 'detach' ? '--detach-sign' : '--clearsign',
    '--',
    '-',
  ];
}

/**
 * @returns SIGNING_FAILED unless gpg ended with 0 and says that it made one signature, of this mode, by this
 * key, with this digest; WRONG_SIGNATURE
 * where that is not so when looked at.
 * A clear signature holds the payload and may be up to twice its size (lines that begin with a dash).
 */
export async function sign(
  gpg: Gpg,
  order: SigningOrder,
): Promise<Signature | { failed: Refusal; why: string }> {
  const end = await runProcess({
    program: gpg.program,
    args: commandLine(order),
    env: gpgEnvironment(gpg.home),
    input: { fd: order.payload.fd },
    limitBytes: order.mode === 'detach' ? signatureLimitBytes : order.payload.size * 3 + signatureLimitBytes,
    timeoutMs: 120_000,
  });
  const made = end.statusText
    .split('\n')
    .filter((line) => line.startsWith('[GNUPG:] SIG_CREATED '))
    .map((line) => line.split(' '));
  // SIG_CREATED type public-key-algorithm hash-algorithm class time fingerprint
  const [, , type, , hash, signatureClass, , fingerprint] = made[0] ?? [];
  const asOrdered =
    made.length === 1 &&
    fingerprint === order.key &&
    hash === hashNumbers[order.digest] &&
    (order.mode === 'detach'
      ? type === 'D' && signatureClass === '00'
      : type === 'C' && signatureClass === '01');
  if (end.status !== 0 || !asOrdered || end.stdout.length === 0)
    return {
      failed: new Refusal('SIGNING_FAILED', 'gpg made no signature; the grant is used up'),
      why: `gpg ended with ${end.status}: ${end.stderr.trim()}`,
    };
  try {
    checkMadeSignature(end.stdout, order);
  } catch (error) {
    return {
      failed: new Refusal(
        'WRONG_SIGNATURE',
        'gpg made another signature than was ordered; the grant is used up',
      ),
      why: `gpg's signature is refused: ${(error as Error).message}`,
    };
  }
  return { bytes: end.stdout, statusText: end.statusText };
}
