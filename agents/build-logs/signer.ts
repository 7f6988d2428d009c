// SPDX-License-Identifier: GPL-2.0-or-later
// The logs key: signs what a publication's commit says, and tells whether an older commit was signed by it.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cleanEnvironment } from '../shared/calls/qrexec-call.js';
import { runProcess } from '../shared/programs/bounded-process.js';
import { printable } from '../shared/refusal.js';

export interface Signer {
  /** an armored detached signature */
  sign: (bytes: Buffer) => Promise<string>;
  /** the logs key's public half, armored */
  publicKey: () => Promise<string>;
  verifies: (bytes: Buffer, signature: string) => Promise<boolean>;
}

const outputLimitBytes = 64 * 1024;
const timeoutMs = 60_000;

/** @param program a gpg that a test wants to end badly */
export function gpgSigner(home: string, key: string, program = 'gpg'): Signer {
  /** @throws Error where gpg did not come to its end: that is no answer about a signature */
  const gpg = async (
    argv: string[],
    input: Buffer,
  ): Promise<{ status: number; output: string; complaint: string }> => {
    const args = [
      '--homedir',
      home,
      '--batch',
      '--no-tty',
      '--no-auto-check-trustdb',
      '--trust-model',
      'always',
      ...argv,
    ];
    const { status, stdout, stderr } = await runProcess({
      program,
      args,
      env: cleanEnvironment,
      input,
      limitBytes: outputLimitBytes,
      timeoutMs,
    });
    if (status === -1) throw new Error(`gpg did not come to its end: ${printable(stderr.slice(0, 2000))}`);
    return { status, output: stdout.toString('latin1'), complaint: stderr.slice(0, 2000) };
  };
  return {
    async sign(bytes) {
      const { status, output, complaint } = await gpg(
        ['--local-user', key, '--detach-sign', '--armor', '--output', '-'],
        bytes,
      );
      if (status !== 0 || !output.startsWith('-----BEGIN PGP SIGNATURE-----\n'))
        throw new Error(`gpg did not sign: ${printable(complaint)}`);
      return output;
    },
    async publicKey() {
      const { status, output, complaint } = await gpg(
        ['--armor', '--export-options', 'export-minimal', '--export', key],
        Buffer.alloc(0),
      );
      if (status !== 0 || !output.startsWith('-----BEGIN PGP PUBLIC KEY BLOCK-----\n'))
        throw new Error(`gpg has no key ${key}: ${printable(complaint)}`);
      return output;
    },
    async verifies(bytes, signature) {
      const folder = mkdtempSync(join(tmpdir(), 'bl-'));
      try {
        writeFileSync(join(folder, 'signature'), signature);
        const { status, output } = await gpg(
          ['--status-fd', '1', '--verify', join(folder, 'signature'), '-'],
          bytes,
        );
        const words =
          output
            .split('\n')
            .find((line) => line.startsWith('[GNUPG:] VALIDSIG '))
            ?.split(' ') ?? [];
        // VALIDSIG fingerprint date time expires version reserved public-key-algorithm hash-algorithm class
        // primary-fingerprint
        return status === 0 && words[10] === '00' && (words[2] === key || words[11] === key);
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    },
  };
}
