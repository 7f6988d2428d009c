// SPDX-License-Identifier: GPL-2.0-or-later
// A listed file that is verified as what it unpacks to, as a kernel's .tar.sign is over the .tar. Whatever
// unpacks it reads bytes that nobody has verified: a program of its own, as nobody, without network, that
// reads one file and writes another one, and may not write more than a limit.
import { statSync } from 'node:fs';
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import { commandSucceeds, ProgramFailed, runProgram } from '../../shared/programs/program.js';

export type Packing = 'gz' | 'xz';

/** How a file of this name is packed; undefined where it is not, or in no way that is unpacked here. */
export function packingOf(name: string): Packing | undefined {
  return /[^.]\.(gz|xz)$/.exec(name)?.[1] as Packing | undefined;
}

/** Sources pack to a tenth of their size; a bomb to a thousandth. */
const highestRatio = 100;
/** What is this small is no bomb, whatever it was packed to. */
const smallBytes = 64 * 1024 ** 2;

/** xz -9 wants 65 MiB. */
const programs: Record<Packing, readonly string[]> = {
  gz: ['gzip', '--decompress', '--stdout'],
  xz: ['xz', '--decompress', '--stdout', '--no-sparse', '--memlimit-decompress=256MiB'],
};
const nobody = [
  'setpriv',
  '--reuid=65534',
  '--regid=65534',
  '--clear-groups',
  '--no-new-privs',
  '--bounding-set=-all',
  '--inh-caps=-all',
  '--',
];

/**
 * Only root gives a user and a network away, the latter not in every container; it never unpacks as itself.
 */
async function jail(): Promise<readonly string[]> {
  if (process.geteuid?.() !== 0) return [];
  const alone = ['unshare', '--net', '--', ...nobody];
  return (await commandSucceeds([...alone, 'true'])) ? alone : nobody;
}

/**
 * @param limitBytes of what comes out
 * @returns how many bytes came out
 * @throws Refusal OTHER_BYTES where it is cut, damaged or followed by something else; TOO_LARGE;
 * DOWNLOAD_FAILED where it takes too long
 */
export async function unpack(
  packed: string,
  packing: Packing,
  into: string,
  limitBytes: number,
  timeoutMs: number,
): Promise<number> {
  const limit = Math.min(limitBytes, Math.max(smallBytes, statSync(packed).size * highestRatio));
  // The shell opens both files and is gone: who unpacks has no right to any other one.
  const argv = [
    'prlimit',
    `--fsize=${limit}`,
    '--',
    'sh',
    '-c',
    'from=$1 to=$2; shift 2; exec "$@" <"$from" >"$to"',
    'sh',
    packed,
    into,
    ...(await jail()),
    ...programs[packing],
  ];
  const size = (): number => statSync(into, { throwIfNoEntry: false })?.size ?? 0;
  try {
    await runProgram(argv, { isTool: true, timeoutMs });
  } catch (error) {
    if (error instanceof Refusal && error.code === 'TIMED_OUT')
      throw new Refusal('DOWNLOAD_FAILED', 'a listed file was not unpacked in time');
    if (!(error instanceof ProgramFailed)) throw error;
    if (size() >= limit) throw new Refusal('TOO_LARGE', `it unpacks to more than ${limit} bytes`);
    throw new Refusal('OTHER_BYTES', `it cannot be unpacked as ${packing}: ${printable(error.complaint)}`);
  }
  return size();
}
