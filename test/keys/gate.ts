// SPDX-License-Identifier: GPL-2.0-or-later
// A keys VM, the publisher of its intents, and a build VM whose gpg is the client of its gate; gone when the
// test file is over.
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { GpgHome } from '../support/gpg-home.js';
import { layGpgProgram } from './gpg-program.js';
import { publishIntents, type IntentPublisher } from './intent-publisher.js';
import { KeysMachine } from './keys-machine.js';

export interface Run {
  status: number;
  /** as latin1 */
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  cwd?: string;
  env?: Record<string, string>;
  input?: string | Uint8Array;
}

export interface Gate {
  machine: KeysMachine;
  publisher: IntentPublisher;
  /** the client's path */
  gpg: string;
  /** a folder to work in, where programs run when nothing else is said */
  work: string;
  /**
   * Starts a program of the build VM, without a terminal: a refusal must not land on the screen of the person
   * who runs the tests.
   */
  start: (
    program: string,
    args: readonly string[],
    options?: RunOptions,
  ) => { child: ChildProcess; over: Promise<Run> };
  /** Runs one with this input. */
  run: (program: string, args: readonly string[], options?: RunOptions) => Promise<Run>;
}

export async function openGate(
  t: { teardown: (act: () => unknown) => void },
  config: Record<string, unknown> = {},
): Promise<Gate> {
  const machine = new KeysMachine(config);
  const gpg = layGpgProgram(machine.root);
  const buildHome = new GpgHome(`${machine.root}/b`);
  const work = `${machine.root}/w`;
  mkdirSync(work);
  buildHome.gpg(['--import', `${machine.root}/rw/config/build-infra/public-keys/${machine.signingKey}.asc`]);
  await machine.start();
  const publisher = await publishIntents(machine);
  t.teardown(async () => {
    await publisher.close();
    buildHome.close();
    await machine.close();
  });
  const start: Gate['start'] = (program, args, { cwd = work, env = {} } = {}) => {
    const child = spawn(program, args, {
      cwd,
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe'],
      env: {
        PATH: '/usr/bin:/bin:/usr/sbin:/sbin',
        HOME: machine.root,
        GNUPGHOME: buildHome.folder,
        BUILD_INFRA_ROOT: machine.root,
        LANG: 'C.UTF-8',
        DEBEMAIL: 'sign@build.example',
        ...env,
      },
    });
    const out = { stdout: '', stderr: '' };
    child.stdout.on('data', (chunk: Buffer) => (out.stdout += chunk.toString('latin1')));
    child.stderr.on('data', (chunk: Buffer) => (out.stderr += chunk.toString()));
    // Who is refused at once may be gone before its input is written.
    child.stdin.on('error', () => undefined);
    return {
      child,
      over: new Promise((resolve) =>
        child.on('close', (status) => resolve({ status: status ?? -1, ...out })),
      ),
    };
  };
  return {
    machine,
    publisher,
    gpg,
    work,
    start,
    run: (program, args, options = {}) => {
      const { child, over } = start(program, args, options);
      child.stdin?.end(options.input ?? '');
      return over;
    },
  };
}
