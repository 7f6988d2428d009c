// SPDX-License-Identifier: GPL-2.0-or-later
// The real sshd on a port of its own, as Debian configures it but for what a test without accounts needs.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './free-port.js';

export class SshServer {
  readonly #conf = mkdtempSync(join(tmpdir(), 'bi-sshd-'));
  #sshd: ChildProcess | undefined;
  port = 0;

  async start(): Promise<void> {
    for (const name of ['host', 'user'])
      execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(this.#conf, name)]);
    writeFileSync(join(this.#conf, 'authorized_keys'), readFileSync(join(this.#conf, 'user.pub')), {
      mode: 0o600,
    });
    this.port = await freePort();
    if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true });
    writeFileSync(
      join(this.#conf, 'sshd_config'),
      [
        'ListenAddress 127.0.0.1',
        `Port ${this.port}`,
        `HostKey ${this.#conf}/host`,
        `AuthorizedKeysFile ${this.#conf}/authorized_keys`,
        'StrictModes no',
        'UsePAM no',
        'PasswordAuthentication no',
        'PermitRootLogin yes',
        'PidFile none',
        '',
      ].join('\n'),
    );
    // sshd wants /run/sshd to be root's and root's account to be open: in a user namespace the machine's own
    // folder is not root's and /etc/shadow cannot be read, and elsewhere the account may be locked. So it
    // gets both of its own.
    writeFileSync(join(this.#conf, 'shadow'), 'root:*:20000::::::\n', { mode: 0o600 });
    const ownRun =
      'mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && mount --bind "$0" /etc/shadow && exec "$@"';
    this.#sshd = spawn(
      'unshare',
      [
        '--mount',
        '--propagation',
        'private',
        '--',
        'sh',
        '-c',
        ownRun,
        join(this.#conf, 'shadow'),
        '/usr/sbin/sshd',
        '-D',
        '-e',
        '-f',
        join(this.#conf, 'sshd_config'),
      ],
      { stdio: 'ignore' },
    );
    for (let i = 0; i < 2400; i++) {
      const up = await new Promise<boolean>((resolve) => {
        const socket = createConnection(this.port, '127.0.0.1', () =>
          resolve(socket.destroy() !== undefined),
        ).on('error', () => resolve(false));
      });
      if (up) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error('sshd does not start');
  }

  /** Of a client that logs in with the one key that is let in. */
  clientConfig(): string {
    return `Host *\n  IdentityFile ${this.#conf}/user\n  IdentitiesOnly yes\n  UserKnownHostsFile /dev/null\n  StrictHostKeyChecking no\n  LogLevel ERROR\n`;
  }

  end(): void {
    this.#sshd?.kill('SIGKILL');
    rmSync(this.#conf, { recursive: true, force: true });
  }
}
