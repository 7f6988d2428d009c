// SPDX-License-Identifier: GPL-2.0-or-later
// What the main job needs of any sandbox, VM of the farm or machine of the outside world: to run a command in
// it.

export interface CommandResult {
  status: number;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  /** account inside; `user` unless told */
  user?: 'user' | 'root';
  input?: string | Uint8Array;
  env?: Record<string, string>;
  /** each line of stdout and stderr while it comes */
  onLine?: (line: string) => void;
  timeoutMs?: number;
}

export interface Machine {
  readonly name: string;
  /** its tree as this host sees it */
  readonly root: string;
  run: (argv: readonly string[], options?: RunOptions) => Promise<CommandResult>;
}

/** stdout of a command that must succeed. @throws Error with the command's last lines */
export async function must(machine: Machine, argv: readonly string[], options?: RunOptions): Promise<string> {
  const result = await machine.run(argv, options);
  if (result.status === 0) return result.stdout;
  const tail = `${result.stderr}\n${result.stdout}`.trim().split('\n').slice(-12).join('\n');
  throw new Error(
    `in ${machine.name}: ${(argv[0] === 'sh' && argv[1] === '-c' ? argv.slice(3) : argv).join(' ').slice(0, 200)} ended with ${result.status}\n${tail}`,
  );
}
