// SPDX-License-Identifier: GPL-2.0-or-later
// The build VM's gpg as it is installed, in the folder of a KeysMachine, and the agent's side of it as a
// process that a test can kill.
import { chmodSync, copyFileSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { type AgentProcess, startAgent } from '../support/agent-process.js';
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
  private constructor(readonly agent: AgentProcess) {}

  static async open(root: string): Promise<GpgDoor> {
    return new GpgDoor(
      await startAgent(
        [
          process.execPath,
          '--input-type=module',
          '-e',
          program,
          join(agents, 'build-vm/gpg-door/door.js'),
          root,
        ],
        { PATH: '/usr/bin:/bin', HOME: root },
      ),
    );
  }

  /** what it reported: nothing, when all went well */
  get said(): string {
    return this.agent.said().replace('ready\n', '');
  }

  /** SIGSTOP and SIGCONT hold it, anything else ends it. */
  async end(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const gone = this.agent.kill(signal);
    if (signal !== 'SIGSTOP' && signal !== 'SIGCONT') await gone;
  }
}
