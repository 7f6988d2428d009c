// SPDX-License-Identifier: GPL-2.0-or-later
// A VM of the stand-in as the main job uses it: run a command, see its lines while they come.
import type { CommandResult, Machine, RunOptions } from '../outside/machine.js';
import { spawnInVm, type CommandRunner } from '../qrexec/admin-client.js';

const outputLimitBytes = 64 * 1024 * 1024;

export class SandboxedMachine implements Machine {
  readonly name: string;
  readonly root: string;
  readonly #dom0: CommandRunner;

  constructor(dom0: CommandRunner, name: string, root: string) {
    this.#dom0 = dom0;
    this.name = name;
    this.root = root;
  }

  async run(argv: readonly string[], options: RunOptions = {}): Promise<CommandResult> {
    const child = await spawnInVm(this.#dom0, this.name, { argv, user: options.user ?? 'user', ...(options.env === undefined ? {} : { env: options.env }) }, ['pipe', 'pipe', 'pipe']);
    return await new Promise((resolve, reject) => {
      const parts = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
      let failure: Error | undefined;
      const fail = (why: string): void => {
        failure ??= new Error(`in ${this.name}: ${argv.join(' ').slice(0, 200)} ${why}`);
        child.kill('SIGKILL');
      };
      const timer = setTimeout(() => fail('took too long'), options.timeoutMs ?? 120_000);
      for (const name of ['stdout', 'stderr'] as const) {
        let size = 0;
        let partial = '';
        child[name]?.on('data', (chunk: Buffer) => {
          size += chunk.length;
          if (size > outputLimitBytes) return fail('wrote too much');
          parts[name].push(chunk);
          if (options.onLine === undefined) return;
          const lines = (partial + chunk.toString()).split('\n');
          partial = (lines.pop() as string).slice(-4096);
          for (const line of lines) options.onLine(line);
        });
      }
      child.stdin?.on('error', () => undefined);
      child.stdin?.end(options.input ?? '');
      child.once('error', reject);
      child.once('close', (status) => {
        clearTimeout(timer);
        if (failure !== undefined) reject(failure);
        else resolve({ status: status ?? 255, stdout: Buffer.concat(parts.stdout).toString(), stderr: Buffer.concat(parts.stderr).toString() });
      });
    });
  }
}
