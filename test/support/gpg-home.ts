// SPDX-License-Identifier: GPL-2.0-or-later
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export class GpgHome {
  constructor(readonly folder: string) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }

  /** One in a folder of its own, gone when the test or the whole file is over. */
  static of(t: { teardown: (act: () => unknown) => void }): GpgHome {
    const home = new GpgHome(mkdtempSync(join(tmpdir(), 'bi-')));
    t.teardown(() => {
      home.close();
      rmSync(home.folder, { recursive: true, force: true });
    });
    return home;
  }

  gpg(args: readonly string[], input: string | Uint8Array = ''): Buffer {
    // A gpg that reads nothing may be over before an empty pipe is written to.
    return execFileSync('/usr/bin/gpg', ['--batch', '--no-tty', '--quiet', ...args], {
      ...(input.length === 0 ? {} : { input }),
      env: { PATH: '/usr/bin:/bin', GNUPGHOME: this.folder },
      stdio: [input.length === 0 ? 'ignore' : 'pipe', 'pipe', 'ignore'],
    });
  }

  /** @returns the fingerprint */
  makeKey(user: string): string {
    this.gpg(['--passphrase', '', '--quick-gen-key', user, 'ed25519', 'sign', 'never']);
    const rows = this.gpg(['--with-colons', '--list-keys', `=${user}`])
      .toString()
      .split('\n');
    return (rows.find((row) => row.startsWith('fpr:')) as string).split(':')[9] as string;
  }

  exported(fingerprint: string): Buffer {
    return this.gpg(['--armor', '--export', fingerprint]);
  }

  close(): void {
    execFileSync('/usr/bin/gpgconf', ['--homedir', this.folder, '--kill', 'all'], { stdio: 'ignore' });
  }
}
