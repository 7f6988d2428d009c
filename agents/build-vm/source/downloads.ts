// SPDX-License-Identifier: GPL-2.0-or-later
// Files that a verified tree lists: fetched into a folder of their own, then verified there by what the tree
// says, then moved into the tree. The servers and the network are the attacker, who chooses every byte and
// may stop at any; nothing unverified ever lies in the tree.
import { createHash } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  constants,
  linkSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  utimesSync,
} from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../../shared/durable-files.js';
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import type { LineSink } from '../../shared/programs/logged-program.js';
import { readSignatures, signatureOf } from '../../shared/openpgp/packets.js';
import { verifyOneSignature } from '../signatures/one-signature.js';
import { ProgramFailed, proxyEnvironment, runProgram } from '../../shared/programs/program.js';
import { signatureLimitBytes, type ListedFile, type Pin } from '../../engines/source-tree/listed-files.js';
import { unpack } from '../../engines/source-tree/unpacking.js';

export interface DownloadLimits {
  /** of all files of a tree together */
  bytes: number;
  /** of what those of them that are unpacked give, together */
  unpackedBytes: number;
  /** of all of them together */
  timeoutMs: number;
}

export const downloadLimits = (timeoutMs: number): DownloadLimits => ({
  bytes: 2 * 1024 ** 3,
  unpackedBytes: 4 * 1024 ** 3,
  timeoutMs,
});

export interface DownloadOptions {
  /** the exported tree */
  tree: string;
  /** made new, and removed at the end; on the same file system */
  work: string;
  /** seconds; of every file */
  time: number;
  limits: DownloadLimits;
  now: Date;
}

/** An authority of one's own for curl, as an operator may have it in the agent's environment. */
function authority(): Record<string, string> {
  const file = process.env['CURL_CA_BUNDLE'];
  return file === undefined ? {} : { CURL_CA_BUNDLE: file };
}

/** @throws Refusal DOWNLOAD_FAILED, TOO_LARGE, DISK_FULL */
async function fetchFile(url: string, path: string, limitBytes: number, timeoutMs: number): Promise<void> {
  if (limitBytes <= 0)
    throw new Refusal('TOO_LARGE', 'the listed files are larger than what is fetched for a tree');
  // --disable: no .curlrc. Only https, after a redirect as well; prlimit for what says no length before.
  const argv = [
    'prlimit',
    `--fsize=${limitBytes}`,
    '--',
    'curl',
    '--disable',
    '--silent',
    '--show-error',
    '--fail',
    '--globoff',
    '--proto',
    '=https',
    '--proto-redir',
    '=https',
    '--tlsv1.2',
    '--location',
    '--max-redirs',
    '5',
    '--connect-timeout',
    '60',
    '--speed-limit',
    '100',
    '--speed-time',
    '120',
    '--max-time',
    String(Math.max(0.001, timeoutMs / 1000)),
    '--max-filesize',
    String(limitBytes),
    '--output',
    path,
    '--url',
    url,
  ];
  try {
    await runProgram(argv, {
      env: { HOME: '/nonexistent', ...proxyEnvironment(), ...authority() },
      isTool: true,
      timeoutMs: timeoutMs + 10_000,
    });
  } catch (error) {
    if (error instanceof Refusal && error.code === 'TIMED_OUT')
      throw new Refusal('DOWNLOAD_FAILED', `${url} did not come in time`);
    if (!(error instanceof ProgramFailed)) throw error;
    const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    if (error.exitCode === 63 || size >= limitBytes)
      throw new Refusal('TOO_LARGE', `${url} is larger than ${limitBytes} bytes`);
    if (error.exitCode === 23) throw new Refusal('DISK_FULL', `${url} cannot be written: ${error.complaint}`);
    throw new Refusal('DOWNLOAD_FAILED', `${url}: ${error.message}`);
  }
  // A server may answer with nothing, and curl then makes no file.
  if (statSync(path, { throwIfNoEntry: false }) === undefined)
    throw new Refusal('DOWNLOAD_FAILED', `${url} is empty`);
}

async function fetchAll(files: readonly ListedFile[], { work, limits }: DownloadOptions): Promise<void> {
  const until = Date.now() + limits.timeoutMs;
  const left = (): number => {
    const ms = until - Date.now();
    if (ms <= 0)
      throw new Refusal('DOWNLOAD_FAILED', `the files did not come within ${limits.timeoutMs / 1000} s`);
    return ms;
  };
  let room = limits.bytes;
  let unpackedRoom = limits.unpackedBytes;
  for (const { url, name, pin, packing } of files) {
    const path = packing === undefined ? join(work, name) : packedPath(work, name);
    await fetchFile(url, path, room, left());
    room -= statSync(path).size;
    if (packing !== undefined) {
      unpackedRoom -= await unpack(path, packing, join(work, name), unpackedRoom, left());
      rmSync(path);
    }
    if (pin.kind === 'signature' && pin.bytes === undefined)
      await fetchFile(pin.from, signaturePath(work, name), signatureLimitBytes, left());
  }
}

/** Of one file: each is verified over all of its bytes. */
const signaturesLimit = 10;

/** No listed file can have these names. */
const signaturePath = (work: string, name: string): string => join(work, `.signature-${name}`);
const packedPath = (work: string, name: string): string => join(work, `.packed-${name}`);

function digestsOf(path: string): { size: number; sha256: string; sha512: string } {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const [sha256, sha512] = [createHash('sha256'), createHash('sha512')];
    const chunk = Buffer.alloc(1024 * 1024);
    let size = 0;
    for (let got = readSync(fd, chunk); got > 0; got = readSync(fd, chunk)) {
      for (const hash of [sha256, sha512]) hash.update(chunk.subarray(0, got));
      size += got;
    }
    return { size, sha256: sha256.digest('hex'), sha512: sha512.digest('hex') };
  } finally {
    closeSync(fd);
  }
}

/**
 * As gpgv has it, each signature of the file must be good. @returns the signers' fingerprints @throws Refusal
 * BAD_SIGNATURE, KEY_EXPIRED, KEY_REVOKED, KEY_NOT_USABLE
 */
async function verifySignatures(
  name: string,
  file: string,
  untrustedSignature: Buffer,
  pin: Extract<Pin, { kind: 'signature' }>,
  now: Date,
): Promise<string[]> {
  const bad = (why: string): Refusal => new Refusal('BAD_SIGNATURE', `${name}: ${why}`);
  const packets = await readSignatures(untrustedSignature).catch((error: unknown) => {
    throw bad(`${pin.from} is no signature: ${printable((error as Error).message)}`);
  });
  if (packets.length === 0 || packets.length > signaturesLimit)
    throw bad(
      `${pin.from} holds ${packets.length} signatures that are read here, and not one to ${signaturesLimit}`,
    );
  const signers: string[] = [];
  for (const packet of packets) {
    const owner = pin.keys.find(({ key }) => key.getKeys(packet.issuerKeyID).length > 0);
    if (owner === undefined)
      throw bad(`none of its pubkeys is ${packet.issuerKeyID.toHex().toUpperCase()}, which signed it`);
    await verifyOneSignature(
      { file, signature: signatureOf(packet) },
      { name: owner.path, key: owner.key },
      now,
    );
    signers.push(owner.key.getFingerprint().toUpperCase());
  }
  return signers;
}

/**
 * Without network. @returns how it was verified, for the log @throws Refusal OTHER_BYTES, and as
 * verifySignatures
 */
async function verifyFile(
  { name, pin }: ListedFile,
  work: string,
  now: Date,
): Promise<{ size: number; sha256: string; by: string }> {
  const { size, sha256, sha512 } = digestsOf(join(work, name));
  if (pin.kind === 'signature') {
    const signers = await verifySignatures(
      name,
      join(work, name),
      pin.bytes ?? readFileSync(signaturePath(work, name)),
      pin,
      now,
    );
    return { size, sha256, by: `signature ${pin.from} of ${signers.join(', ')}` };
  }
  const got = pin.kind === 'sha256' ? sha256 : sha512;
  if (got !== pin.digest)
    throw new Refusal(
      'OTHER_BYTES',
      `${name} has the ${pin.kind} ${got.slice(0, 64)}, and the tree says ${pin.digest.slice(0, 64)}`,
    );
  return { size, sha256, by: pin.kind };
}

/**
 * Three steps, each of them for all files before the next one.
 * @returns lines of the manifest, and how many bytes the files have
 * @throws Refusal DOWNLOAD_FAILED, TOO_LARGE, DISK_FULL, OTHER_BYTES, and as verifySignatures
 */
export async function downloadFiles(
  files: readonly ListedFile[],
  options: DownloadOptions,
  log: Pick<LineSink, 'say'>,
): Promise<{ lines: string[]; bytes: number }> {
  const { tree, work, time, now } = options;
  rmSync(work, { recursive: true, force: true });
  if (files.length === 0) return { lines: [], bytes: 0 };
  makeFolder(work, 0o700);
  try {
    for (const { url, name } of files) log.say(`download ${name} from ${url}`);
    await fetchAll(files, options);
    const verified = [];
    for (const file of files) verified.push({ ...file, ...(await verifyFile(file, work, now)) });
    for (const { name, url, packing, size, sha256, by } of verified) {
      chmodSync(join(work, name), 0o644);
      utimesSync(join(work, name), time, time);
      // A link, not a rename: it never takes the place of a file that is there.
      linkSync(join(work, name), join(tree, name));
      log.say(
        `downloaded ${name}: ${size} bytes, sha256:${sha256}, ${packing === undefined ? 'of' : 'unpacked of'} ${url}, verified by ${by}`,
      );
    }
    return {
      lines: verified.map(({ name, sha256 }) => `${sha256} 100644 ${name}`),
      bytes: verified.reduce((sum, { size }) => sum + size, 0),
    };
  } finally {
    rmSync(work, { recursive: true, force: true });
    utimesSync(tree, time, time);
  }
}
