// SPDX-License-Identifier: GPL-2.0-or-later
// Every folder, file and link of the manifest: there, of the right kind, owner and mode, and leading
// somewhere. What waits for a key is for keys.ts.
import { readlinkSync } from 'node:fs';
import type { ManifestFile, ManifestFolder } from '../shared/formats/manifest.js';
import type { Report } from './finding.js';
import { accountOf, at, ids, list, look, type Machine } from './machine.js';
import { applyHere, applyTemplate, type VmFacts } from './vm-facts.js';

export function isWanted(file: ManifestFile, facts: VmFacts): boolean {
  return file.when === undefined || facts.enabled.has(file.when);
}

function checkEntry(
  machine: Machine,
  entry: ManifestFile | ManifestFolder,
  kind: 'folder' | 'file' | 'link',
  next: string,
  report: Report,
): void {
  const { path, owner, group } = entry;
  const word = kind.toUpperCase() as Uppercase<typeof kind>;
  const found = look(machine, path);
  if (!report.check(found !== undefined, `NO_${word}`, `${path} is missing`, next) || found === undefined)
    return;
  const isKind =
    kind === 'folder' ? found.isDirectory() : kind === 'link' ? found.isSymbolicLink() : found.isFile();
  if (
    !report.check(
      isKind,
      `NOT_A_${word}`,
      `${path} is something else than a ${kind}`,
      `look who put it there, remove it, and ${next}`,
    )
  )
    return;
  const owned = found.uid === ids[owner] && found.gid === ids[group];
  report.check(
    owned,
    'WRONG_OWNER',
    `${path} belongs to ${accountOf(found.uid)}:${accountOf(found.gid)} instead of ${owner}:${group}`,
    next,
  );
  if ('mode' in entry && entry.mode !== undefined) {
    const mode = (found.mode & 0o7777).toString(8).padStart(4, '0');
    report.check(
      mode === entry.mode,
      'WRONG_MODE',
      `${path} has mode ${mode} instead of ${entry.mode}`,
      next,
    );
  }
  if ('link' in entry && entry.link !== undefined) checkLink(machine, path, entry.link, next, report);
}

function checkLink(machine: Machine, path: string, wanted: string, next: string, report: Report): void {
  const target = readlinkSync(at(machine, path));
  if (!report.check(target === wanted, 'WRONG_LINK', `${path} leads to ${target} instead of ${wanted}`, next))
    return;
  // Sockets come and go with their units: units.ts looks at them.
  if (!wanted.startsWith('/run/'))
    report.check(
      look(machine, wanted) !== undefined,
      'DANGLING_LINK',
      `${path} leads to ${wanted}, where nothing is`,
      next,
    );
}

export function checkLaidFiles(machine: Machine, facts: VmFacts, report: Report): void {
  const { template, vm } = facts.manifest;
  const kindOf = (file: ManifestFile): 'file' | 'link' => (file.link === undefined ? 'file' : 'link');
  for (const file of template.files.filter((one) => isWanted(one, facts)))
    checkEntry(machine, file, kindOf(file), applyTemplate(machine), report);
  for (const folder of vm.folders ?? []) checkEntry(machine, folder, 'folder', applyHere(machine), report);
  for (const file of vm.files.filter((one) => isWanted(one, facts))) {
    if (file.needs === undefined || look(machine, file.path) !== undefined)
      checkEntry(machine, file, kindOf(file), applyHere(machine), report);
  }
}

const serviceFolders = ['/run/qubes-rpc', '/usr/local/etc/qubes-rpc', '/etc/qubes-rpc'];
const optionFolders = ['/run/qubes/rpc-config', '/usr/local/etc/qubes/rpc-config', '/etc/qubes/rpc-config'];

/**
 * qrexec takes the first it finds, SERVICE+ARGUMENT of any folder before SERVICE: one such file and the call
 * no longer reaches our agent.
 */
export function checkNothingBefore(machine: Machine, facts: VmFacts, report: Report): void {
  const services = facts.manifest.vm.files
    .filter((file) => isWanted(file, facts) && file.path.startsWith('/usr/local/etc/qubes-rpc/'))
    .map(({ path }) => path.split('/').at(-1) as string);
  const others = [serviceFolders, optionFolders].flatMap((folders) =>
    folders.flatMap((folder, index) =>
      list(machine, folder).map((name) => ({ name, path: `${folder}/${name}`, first: index === 0 })),
    ),
  );
  for (const service of services) {
    const before = others.find(
      ({ name, first }) => name.startsWith(`${service}+`) || (first && name === service),
    );
    report.check(
      before === undefined,
      'SERVICE_SHADOWED',
      `${before?.path} is taken instead of ours for ${service}`,
      'look who put it there, and remove it',
    );
  }
}
