// SPDX-License-Identifier: GPL-2.0-or-later
// Whoever called us as "gpg", seen from the work: what it opened and named is read and written through this.
// It is this very process where the client runs by itself (own-caller.ts), and a small program at the other
// end of a socket where the build agent works for it (../gpg-door/).

/** What is taken into memory to sign, in bytes; the keys VM has a limit of its own. */
export const payloadMemoryBytes = 256 * 1024 * 1024;

export interface Caller {
  /** $BUILD_INFRA_JOB */
  readonly jobFile: string | undefined;
  /** milliseconds since it started; undefined where nobody asked for times ($BUILD_INFRA_TIMING) */
  elapsedMs: () => number | undefined;
  /** Everything until the end of a descriptor or a file. @throws Refusal NO_SUCH_FILE, TOO_LARGE */
  read: (input: number | string) => Promise<Buffer>;
  /** The caller named a descriptor: is it one that it opened? */
  isOpen: (fd: number) => Promise<boolean>;
  /** A reader that went away (`gpg --version | head -n1`) is no fault. */
  write: (fd: number, data: Uint8Array) => Promise<void>;
  /** The whole file or nothing of it; what was there is replaced. */
  writeFile: (path: string, data: Uint8Array) => Promise<void>;
  /**
   * One line for a person: on stderr, and on the terminal where stderr is captured (git shows nothing of it).
   */
  complain: (line: string) => Promise<void>;
  /** Throws where nobody is left to take a signature: then none shall be made. */
  stillThere: () => Promise<void>;
  /** The real gpg with the caller's own words. @returns its exit status */
  runLocalGpg: (args: readonly string[], inheritedFds: readonly number[]) => Promise<number>;
}
