// SPDX-License-Identifier: GPL-2.0-or-later
// The build VM's gpg as it is installed, in the folder of a KeysMachine, and the agent's side of it as a process that a test can kill.
import { spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { agents } from './keys-machine.js';

/** @returns its path */
export function layGpgProgram(root: string): string {
  const folder = join(root, 'usr/lib/build-infra');
  mkdirSync(folder, { recursive: true });
  copyFileSync(join(agents, '../../salt/build-infra/files/gpg'), join(folder, 'gpg'));
  symlinkSync(join(agents, 'build-vm/gpg-client/main.js'), join(folder, 'gpg-client.mjs'));
  symlinkSync(join(agents, 'build-vm/main.js'), join(folder, 'build-agent.mjs'));
  chmodSync(join(folder, 'gpg'), 0o755);
  return join(folder, 'gpg');
}

const program = `
const { openGpgDoor } = await import(process.argv[1]);
await openGpgDoor(process.argv[2], (line) => process.stderr.write(line + '\\n'));
process.stderr.write('ready\\n');
`;

export class GpgDoor {
  readonly #agent: ChildProcess;
  /** what it reported: nothing, when all went well */
  said = '';

  private constructor(root: string) {
    this.#agent = spawn(process.execPath, ['--input-type=module', '-e', program, join(agents, 'build-vm/gpg-door/door.js'), root], { stdio: ['ignore', 'ignore', 'pipe'], env: { PATH: '/usr/bin:/bin', HOME: root } });
  }

  static async open(root: string): Promise<GpgDoor> {
    const door = new GpgDoor(root);
    await new Promise<void>((resolve, reject) => {
      door.#agent.stderr?.on('data', (chunk: Buffer) => {
        door.said += chunk.toString();
        if (door.said.startsWith('ready\n')) resolve();
      });
      door.#agent.once('exit', () => reject(new Error(door.said)));
    });
    door.said = '';
    return door;
  }

  /** SIGSTOP and SIGCONT hold it, anything else ends it. */
  async end(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const agent = this.#agent;
    if (agent.exitCode !== null || agent.signalCode !== null) return;
    const over = new Promise((resolve) => agent.once('exit', resolve));
    agent.kill(signal);
    if (signal !== 'SIGSTOP' && signal !== 'SIGCONT') await over;
  }
}
