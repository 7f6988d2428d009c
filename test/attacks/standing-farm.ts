// SPDX-License-Identifier: GPL-2.0-or-later
// A whole farm for attacks on it: every VM in its sandbox, the real agents' bundles, the real policy, real
// keys made in their VMs.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { raiseFarm, type Farm } from '../../agents/local/farm/farm.js';
import { LocalState } from '../../agents/local/farm/local-state.js';
import type { LogsVm } from '../../agents/local/provision/pillar.js';
import type { SandboxedMachine } from '../../agents/local/farm/sandboxed-machine.js';

export const top = join(dirname(fileURLToPath(import.meta.url)), '../../..');
export const dist = join(top, 'dist');

export interface StandingFarm {
  farm: Farm;
  state: LocalState;
  build: SandboxedMachine;
  keys: SandboxedMachine;
  logs: SandboxedMachine;
  net: SandboxedMachine;
  signingKey: string;
}

/** Raised once for a test file; gone at its end. */
export async function standFarm(t: Test, logsVm: Partial<LogsVm> = {}): Promise<StandingFarm> {
  const folder = mkdtempSync(join(tmpdir(), 'farm-'));
  const state = new LocalState(folder);
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const farm = await raiseFarm(state, join(dist, 'local.mjs'), () => undefined, logsVm);
  t.teardown(() => farm.dom0.shutdown());
  return farmOf(farm, state);
}

export function farmOf(farm: Farm, state: LocalState): StandingFarm {
  const machine = (name: string): SandboxedMachine => farm.machine(name);
  return {
    farm,
    state,
    build: machine('build-debian'),
    keys: machine('keys-debian'),
    logs: machine('build-logs'),
    net: machine('sys-net'),
    signingKey: farm.pillar['build-envs']['debian']?.key as string,
  };
}

/** SIGKILL to the agent of a VM, as a crash would end it; its supervisor starts it again. */
export async function killAgent(machine: SandboxedMachine, bundle: string): Promise<void> {
  const done = await machine.run(['pkill', '-KILL', '-f', `/usr/lib/build-infra/${bundle}`], {
    user: 'root',
  });
  if (done.status !== 0) throw new Error(`${bundle} does not run in ${machine.name}`);
}
