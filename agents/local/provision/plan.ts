// SPDX-License-Identifier: GPL-2.0-or-later
// From manifest and pillar to the exact list of what lies in one VM. Pure but for reading the sources.
import { readFileSync } from 'node:fs';
import type { Account, Condition, Manifest, ManifestFile, Option } from '../../shared/formats/manifest.js';
import { Refusal } from '../refusals.js';
import { readManifest, sourcePath, type SourceFolders } from './manifest.js';
import type { Pillar } from './pillar.js';
import { render, TemplateError, type Value } from './template.js';
import { keysOfPeople, pillarFor } from './pillar-slice.js';
import { allOptions, vmsOf, type Vm } from './vms.js';

export type Entry = { path: string; owner: Account; group: Account } & (
  | { kind: 'file'; mode: number; content: Buffer }
  | { kind: 'folder'; mode: number }
  | { kind: 'link'; target: string }
);

export interface Plan {
  vm: string;
  /** folders first, then files and links, in the manifest's order */
  entries: Entry[];
  /** what is left out because its VM has not made the key yet: `path needs key` */
  waiting: string[];
}

/** One template's values: the same four names in Salt (`context:`). `env` is '' where the VM has none. */
function valuesFor(pillar: Pillar, name: string, vm: Vm | undefined, enabled: readonly Condition[]): { [name: string]: Value } {
  return { infra: pillarFor(pillar, vm), vm: name, env: vm?.env ?? '', enabled: [...enabled] };
}

function keysOf(pillar: Pillar, vm: Vm | undefined): Record<'signing-key' | 'logs-key', string | null> & { maintainers: string[] } {
  const env = vm?.env === null || vm === undefined ? undefined : pillar['build-envs'][vm.env];
  const logs = pillar['logs-vms'][env?.logs ?? vm?.name ?? ''];
  return { 'signing-key': env?.key ?? null, 'logs-key': logs?.key ?? null, maintainers: env === undefined ? [] : keysOfPeople(env) };
}

function contentOf(file: ManifestFile, folders: SourceFolders, values: { [name: string]: Value }): Buffer {
  const name = file.source ?? file.template as string;
  let bytes: Buffer;
  try {
    bytes = readFileSync(sourcePath(folders, name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw new Refusal('NO_SOURCE', name.startsWith('dist/') ? `${name} is missing: run "npm run bundle"` : `${name} is missing`);
  }
  if (file.template === undefined) return bytes;
  let text: string;
  try {
    text = render(bytes.toString('utf8'), values);
  } catch (error) {
    throw error instanceof TemplateError ? new TemplateError(`${name}: ${error.message}`) : error;
  }
  if (file.path.endsWith('.json')) JSON.parse(text);
  return Buffer.from(text);
}

/** @param farmEnabled the farm's options; @throws Refusal UNKNOWN_VM, NO_SOURCE; TemplateError */
export function planFor(pillar: Pillar, name: string, folders: SourceFolders, farmEnabled: readonly Option[] = allOptions): Plan {
  const vms = vmsOf(pillar, farmEnabled);
  const vm = vms.find((one) => one.name === name);
  if (vm === undefined && name !== 'dom0') {
    throw new Refusal('UNKNOWN_VM', `the pillar makes no VM ${name}, only ${vms.map((one) => one.name).join(', ')} and dom0`);
  }
  const manifest: Manifest = readManifest(folders, vm?.role ?? 'dom0');
  const enabled: readonly Condition[] = vm?.enabled ?? farmEnabled;
  const values = valuesFor(pillar, name, vm, enabled);
  const keys = keysOf(pillar, vm);
  const plan: Plan = { vm: name, entries: [], waiting: [] };
  for (const { path, owner, group, mode } of manifest.vm.folders ?? []) plan.entries.push({ kind: 'folder', path, owner, group, mode: Number.parseInt(mode, 8) });
  for (const file of [...manifest.template?.files ?? [], ...manifest.vm.files]) {
    const { path, owner, group } = file;
    if (file.when !== undefined && !enabled.includes(file.when)) continue;
    const missing = (file.needs ?? []).find((key) => keys[key] === null);
    if (missing !== undefined) plan.waiting.push(`${path} needs ${missing}`);
    else if (file.link !== undefined) plan.entries.push({ kind: 'link', path, owner, group, target: file.link });
    else plan.entries.push({ kind: 'file', path, owner, group, mode: Number.parseInt(file.mode as string, 8), content: contentOf(file, folders, values) });
  }
  const wanted = new Set((manifest.vm['public-keys'] ?? []).flatMap((word) => keys[word] ?? []));
  for (const fingerprint of [...wanted].sort()) {
    const path = `/rw/config/build-infra/public-keys/${fingerprint}.asc`;
    plan.entries.push({ kind: 'file', path, owner: 'root', group: 'root', mode: 0o644, content: Buffer.from(pillar['public-keys'][fingerprint] as string) });
  }
  const paths = plan.entries.map(({ path }) => path);
  const twice = paths.find((path, index) => paths.indexOf(path) !== index);
  if (twice !== undefined) throw new Refusal('BAD_DOCUMENT', `the manifest has ${twice} twice`);
  return plan;
}
