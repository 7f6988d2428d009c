// SPDX-License-Identifier: GPL-2.0-or-later
// A VM of the stand-in as the main job uses it: run a command, see its lines while they come.
import type { CommandResult, Machine, RunOptions } from '../outside/machine.js';
import { runInVm, type CommandRunner } from '../qrexec/admin-client.js';

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

  run(argv: readonly string[], options: RunOptions = {}): Promise<CommandResult> {
    return runInVm(this.#dom0, this.name, argv, { limitBytes: outputLimitBytes, ...options });
  }
}
