// SPDX-License-Identifier: GPL-2.0-or-later
// The local farm: its VMs from the pillar, three machines of the outside world, and dom0's process that holds
// them. Everything here can be called again and does only what is missing.
import { spawn } from 'node:child_process';
import { mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readIfThere, writeDurably } from '../../shared/durable-files.js';
import { forgeHostKey, furnishForge, layForge, makeRepository } from '../outside/forge.js';
import { makeMaintainer, makePersonsKey, type Maintainer } from '../outside/developer.js';
import { must } from '../outside/machine.js';
import { planFarm, type PlannedFarm } from '../provision/planned-farm.js';
import { provision } from '../provision/provision.js';
import { buildVmOf, keysVmOf, type Vm } from '../provision/vms.js';
import type { LogsVm, Pillar } from '../provision/pillar.js';
import { AdminClient } from '../qrexec/admin-client.js';
import { runFolderFor } from '../vm/host-folders.js';
import type { VmSpec } from '../vm/vm-spec.js';
import { layNotifyToken } from './notify-token.js';
import {
  botAccount,
  localPillar,
  readMadeKeys,
  savePillar,
  statusRepository,
  type MadeKeys,
} from './local-pillar.js';
import type { MadeKey } from '../outside/made-key.js';
import type { LocalEnv, LocalSettings, LocalState } from './local-state.js';
import { SandboxedMachine } from './sandboxed-machine.js';

/** The world around the farm; the policy denies them every call. */
export const outsideMachines = ['forge', 'developer', 'visitor'] as const;

export interface Farm {
  dom0: AdminClient;
  settings: LocalSettings;
  pillar: Pillar;
  vms: Vm[];
  maintainer: Maintainer;
  machine: (name: string) => SandboxedMachine;
}

export type Tell = (vm: string, what: string) => void;

/** What dom0's process needs to know of a VM of the farm. */
function specOf(vm: Vm, state: LocalState): VmSpec {
  return {
    name: vm.name,
    root: state.rootOf(vm.name),
    netvm: vm.network ? (vm.netvm ?? 'host') : null,
    mayMount: vm.role === 'build',
    features: vm.features.map((feature) => feature.replace(/^service\./, '')),
    type: 'AppVM',
    tags: vm.tags,
  };
}

function outsideSpec(name: string, state: LocalState): VmSpec {
  return {
    name,
    root: state.rootOf(name),
    netvm: 'host',
    mayMount: name === 'visitor',
    type: 'StandaloneVM',
    tags: ['outside'],
  };
}

export function connectDom0(state: LocalState): Promise<AdminClient> {
  return AdminClient.connect(join(runFolderFor(state.folder), 'admin.sock'));
}

/** dom0's process goes on after this one ends, until `down`. */
async function startDom0(state: LocalState, program: string): Promise<AdminClient> {
  const log = openSync(join(state.folder, 'logs', 'dom0.log'), 'a');
  const child = spawn(process.execPath, [program, 'dom0', '--state', state.folder], {
    detached: true,
    stdio: ['ignore', log, log],
  });
  child.unref();
  for (let tries = 0; tries < 600; tries++) {
    await sleep(100);
    const client = await connectDom0(state).catch(() => undefined);
    if (client !== undefined) return client;
    if (child.exitCode !== null) break;
  }
  const tail = readFileSync(join(state.folder, 'logs', 'dom0.log'), 'utf8')
    .trim()
    .split('\n')
    .slice(-3)
    .join('\n');
  throw new Error(`dom0's process did not start:\n${tail}`);
}

/** Lays the trees of dom0 and of every VM. @returns the machines of which something changed */
export type Provisioner = (state: LocalState, farm: PlannedFarm, tell: Tell) => Promise<string[]> | string[];

const byManifests: Provisioner = (state, farm, tell) => {
  const changed: string[] = [];
  for (const name of Object.keys(farm.machines)) {
    const done = provision({ farm, vm: name, root: state.rootOf(name) });
    if (done.changed.length + done.removed.length > 0) {
      tell(name, `provisioned: ${done.changed.length} changed, ${done.removed.length} removed`);
      changed.push(name);
    }
  }
  return changed;
};

/** A key's public half as make-keys prints it. */
async function keyOf(
  machine: SandboxedMachine,
  role: string,
  user: 'root' | 'user',
  word: string,
): Promise<{ fingerprint: string; publicKey: string }> {
  const made = await must(machine, ['/usr/lib/build-infra/make-keys', role], { user });
  const fingerprint = new RegExp(`^${word} ([0-9A-F]{40,64})$`, 'm').exec(made)?.[1];
  if (fingerprint === undefined) throw new Error(`${machine.name} made no ${word}`);
  return {
    fingerprint,
    publicKey: await must(machine, ['/usr/lib/build-infra/make-keys', role, 'export'], { user }),
  };
}

/**
 * What the keys VM signs the end of its journal with. Once pinned it is not asked for again: another one is
 * to be refused, not followed.
 */
async function journalKeyOf(machine: SandboxedMachine): Promise<string> {
  const key = /^journal-key ([0-9a-f]{64})$/m.exec(
    await must(machine, ['/usr/lib/build-infra/make-keys', 'keys'], { user: 'user' }),
  )?.[1];
  if (key === undefined) throw new Error(`${machine.name} made no journal key`);
  return key;
}

async function sshKeyOf(machine: SandboxedMachine, role: string, user: 'root' | 'user'): Promise<string> {
  const made = await must(machine, ['/usr/lib/build-infra/make-keys', role], { user });
  const key = /^ssh-key (.*)$/m.exec(made)?.[1];
  if (key === undefined) throw new Error(`${machine.name} made no ssh key`);
  return key;
}

/**
 * The VMs up, keys made inside the VMs that hold them, the forge furnished.
 * @param program the bundle to run dom0 from
 * @param envs environments whose VMs are needed; others are laid out, and started only by a call
 */
export async function raiseFarm(
  state: LocalState,
  program: string,
  tell: Tell,
  logsVm: Partial<LogsVm> = {},
  provisioner: Provisioner = byManifests,
  envs: readonly LocalEnv[] = ['debian'],
): Promise<Farm> {
  const dom0 = await connectDom0(state).catch(() => startDom0(state, program));
  try {
    return await raiseWith(dom0, program, state, tell, logsVm, provisioner, envs);
  } catch (error) {
    dom0.close();
    throw error;
  }
}

async function raiseWith(
  dom0: AdminClient,
  program: string,
  state: LocalState,
  tell: Tell,
  logsVm: Partial<LogsVm>,
  provisioner: Provisioner,
  envs: readonly LocalEnv[],
): Promise<Farm> {
  const settings = await state.settings();
  const before = readIfThere(join(state.folder, 'keys.json'));
  const team = settings.releaseTeam;
  const newForge = layForge(
    state.rootOf('forge'),
    settings.ports,
    team && { ...team.github, account: botAccount, repositories: [statusRepository], program },
  );
  const machine = (name: string): SandboxedMachine => new SandboxedMachine(dom0, name, state.rootOf(name));
  const known = new Set((await dom0.list()).map(({ name }) => name));
  const add = async (spec: VmSpec): Promise<void> => {
    if (!known.has(spec.name)) await dom0.addVm(spec);
  };
  for (const name of outsideMachines) {
    mkdirSync(state.rootOf(name), { recursive: true });
    await add(outsideSpec(name, state));
  }
  if (newForge && known.has('forge')) await dom0.stopVm('forge');
  tell('forge', `ssh, git:// and HTTP${team === undefined ? '' : ', and a GitHub,'} on this machine`);
  await Promise.all(outsideMachines.map((name) => dom0.startVm(name)));
  const maintainer = await makeMaintainer(machine('developer'));
  const keys: MadeKeys = {
    ...(before === undefined ? { logs: null, signing: {}, journals: {}, uploads: {} } : readMadeKeys(before)),
    forgeHostKey: await forgeHostKey(machine('forge')),
    maintainer,
    ...(team === undefined
      ? {}
      : { packager: await makePersonsKey(machine('developer'), 'Bob Packager', 'bob@developer.example') }),
  };

  let planned = planFarm({ pillar: localPillar(settings, keys, logsVm) });
  const { vms } = planned;
  for (const vm of vms) await add(specOf(vm, state));
  const changed = new Set(await provisioner(state, planned, tell));
  if (team !== undefined && layNotifyToken(state.rootOf('build-debian'), team.github.token))
    changed.add('build-debian');
  const restart = async (): Promise<void> => {
    // A changed VM is restarted, as an AppVM is after its template changed.
    const running = new Set(
      (await dom0.list()).filter(({ state }) => state !== 'halted').map(({ name }) => name),
    );
    const needed = vms.filter(
      (vm) => vm.env === null || (envs as readonly string[]).includes(vm.env) || running.has(vm.name),
    );
    for (const vm of needed) if (changed.has(vm.name)) await dom0.stopVm(vm.name);
    await Promise.all(needed.map((vm) => dom0.startVm(vm.name)));
    changed.clear();
  };
  await restart();
  tell('build-logs', 'its key, made once inside it');
  keys.logs = await keyOf(machine('build-logs'), 'build-logs', 'user', 'logs-key');
  await must(machine('sys-net'), ['/usr/lib/build-infra/make-keys', 'sys-net']);
  const pushKey = await sshKeyOf(machine('build-logs'), 'build-logs', 'user');
  for (const env of envs) {
    tell(keysVmOf(env), 'its key, made once inside it');
    keys.signing[env] = await keyOf(machine(keysVmOf(env)), 'keys', 'user', 'signing-key');
    keys.journals[env] ??= await journalKeyOf(machine(keysVmOf(env)));
    keys.uploads[env] = await sshKeyOf(machine(buildVmOf(env)), 'build', 'root');
  }
  writeDurably(join(state.folder, 'keys.json'), JSON.stringify(keys, null, 1));

  await furnishForge(machine('forge'), {
    gitOnly: [pushKey],
    upload: Object.values(keys.uploads),
    developer: [maintainer.sshKey],
  });
  for (const name of ['build-logs', 'build-logs-mirror'])
    await makeRepository(machine('forge'), name, 'logs');
  for (const name of [...settings.components, ...(settings.rpmComponents ?? [])])
    await makeRepository(machine('forge'), name, 'source');

  planned = planFarm({ pillar: localPillar(settings, keys, logsVm) });
  savePillar(state, planned.pillar);
  for (const name of await provisioner(state, planned, tell)) changed.add(name);
  await restart();
  return { dom0, settings, pillar: planned.pillar, vms, maintainer, machine };
}

/**
 * Adds a component to the settings: the farm is to be raised again then. @param maintainers where they are
 * others than Alice @returns whether it is new, or its maintainers are @throws Error where the other
 * environment has it
 */
export function addComponent(
  state: LocalState,
  settings: LocalSettings,
  name: string,
  env: LocalEnv = 'debian',
  maintainers?: MadeKey[],
): boolean {
  const [mine, other] =
    env === 'debian'
      ? [settings.components, settings.rpmComponents]
      : [(settings.rpmComponents ??= []), settings.components];
  if (mine.includes(name) && JSON.stringify(settings.foreign?.[name]) === JSON.stringify(maintainers))
    return false;
  if (other?.includes(name) === true) throw new Error(`${name} is a component of the other environment`);
  if (!mine.includes(name)) mine.push(name);
  if (maintainers !== undefined) (settings.foreign ??= {})[name] = maintainers;
  else delete settings.foreign?.[name];
  state.save(settings);
  return true;
}
