// SPDX-License-Identifier: GPL-2.0-or-later
// What a build left is hostile: exactly the packages that the spec announced leave, and each says of itself
// what its name says.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { HashedFile } from '../../shared/formats/intent.js';
import { fileNamePattern, matches } from '../../shared/formats/names.js';
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import { freezeFile } from '../../shared/files/frozen-files.js';
import { ProgramFailed } from '../../shared/programs/program.js';
import { askRpm } from './rpm-jail.js';
import { packageQuery, rpmFileName, type SpecPackage } from './spec-file.js';
import type { PlannedBuild } from './spec-query.js';

/** Every file of a folder and of the folders in it, one deep. @throws Refusal BAD_ARTIFACT */
function leftIn(folder: string): Map<string, string> {
  const found = new Map<string, string>();
  const put = (name: string, at: string): void => {
    if (found.has(name))
      throw new Refusal('BAD_ARTIFACT', `the build left two files called ${printable(name)}`);
    found.set(name, at);
  };
  for (const entry of existsSync(folder) ? readdirSync(folder, { withFileTypes: true }) : []) {
    if (!entry.isDirectory()) put(entry.name, folder);
    else for (const name of readdirSync(join(folder, entry.name))) put(name, join(folder, entry.name));
  }
  return found;
}

/** mock's own papers in its result folder */
const mockPapers = [
  'build.log',
  'root.log',
  'state.log',
  'hw_info.log',
  'installed_pkgs.log',
  'available_pkgs.log',
  'buildroot_lock.json',
];

/** @throws Refusal BAD_ARTIFACT where the header is not of the planned package */
async function refuseOtherHeader(
  root: string,
  folder: string,
  name: string,
  planned: SpecPackage,
  sourcePackage: string,
): Promise<void> {
  let untrustedText: string;
  try {
    untrustedText = await askRpm(root, folder, [
      'rpm',
      '--query',
      '--package',
      '--nosignature',
      '--dbpath',
      '/tmp/db',
      '--qf',
      `${packageQuery}|%{sourcerpm}|%{sourcepackage}\\n`,
      `/mnt/${name}`,
    ]);
  } catch (error) {
    if (error instanceof ProgramFailed)
      throw new Refusal('BAD_ARTIFACT', `rpm cannot read ${name}: ${error.complaint}`);
    throw error;
  }
  // A source package's header has the architecture that it was made on; what makes it one is the mark, and
  // that it names no source package.
  const isSource = planned.arch === 'src';
  const said = untrustedText.trimEnd().split('|');
  const arch = isSource ? said[4] : planned.arch;
  const wanted = [
    planned.name,
    planned.epoch === '' ? '(none)' : planned.epoch,
    planned.version,
    planned.release,
    arch,
    isSource ? '(none)' : sourcePackage,
    isSource ? '1' : '(none)',
  ];
  if (said.length !== wanted.length || said.some((value, index) => value !== wanted[index])) {
    throw new Refusal(
      'BAD_ARTIFACT',
      `the header of ${name} says ${printable(untrustedText.trimEnd().slice(0, 200))}, not ${wanted.join('|')}`,
    );
  }
}

/**
 * Copies the planned packages from `<build>/SRPMS` and `<build>/RPMS` to `output`.
 * @param root where rpm is, for reading the packages' headers in a jail
 * @throws Refusal BAD_ARTIFACT
 */
export async function takePackages(
  build: string,
  output: string,
  plan: PlannedBuild,
  root: string,
): Promise<HashedFile[]> {
  const source: SpecPackage = { ...plan.source, arch: 'src' };
  const planned = new Map(
    [source, ...plan.packages, ...plan.debugPackages].map((one) => [rpmFileName(one), one]),
  );
  const left = new Map([...leftIn(join(build, 'SRPMS')), ...leftIn(join(build, 'RPMS'))]);
  for (const name of left.keys()) {
    if (mockPapers.includes(name)) continue;
    if (!matches(fileNamePattern, name) || !planned.has(name))
      throw new Refusal('BAD_ARTIFACT', `the build left ${printable(name)}, which the spec did not announce`);
  }
  for (const one of [source, ...plan.packages])
    if (!left.has(rpmFileName(one)))
      throw new Refusal('BAD_ARTIFACT', `the build left no ${rpmFileName(one)}`);
  const taken: HashedFile[] = [];
  for (const [name, one] of planned) {
    const folder = left.get(name);
    if (folder === undefined) continue;
    // The frozen copy is what is read: nothing can change it between the two.
    taken.push(freezeFile(folder, output, name));
    await refuseOtherHeader(root, output, name, one, plan.sourcePackage);
  }
  return taken;
}
