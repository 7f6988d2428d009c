// SPDX-License-Identifier: GPL-2.0-or-later
// `build-infra doctor`: all checks of one VM, in the order in which one would mend what they find.
import type { VmManifest } from '../shared/formats/manifest.js';
import { checkJobs } from './damaged-jobs.js';
import { Report } from './finding.js';
import { checkGate } from './gate-state.js';
import { checkJournalKey } from './journal-key.js';
import { checkNoNetwork, checkNoWayOut, noteEasyRoot } from './isolation.js';
import { checkKeys, checkPublicKeys } from './keys.js';
import { checkLaidFiles, checkNothingBefore } from './laid-files.js';
import type { Machine } from './machine.js';
import { checkOnline } from './online.js';
import { noteSetAside } from './set-aside.js';
import { checkClock, checkPersistence, checkSpace, checkStateFolder } from './private-volume.js';
import { checkPrograms } from './programs.js';
import { checkReleases } from './releases.js';
import { checkSsh } from './ssh-settings.js';
import { checkNotStale, checkUnits } from './units.js';
import { factsOf, likelyRole, rolesHere, type VmFacts } from './vm-facts.js';
import { checkWebhook } from './webhook.js';

export interface Examination {
  roles: string[];
  report: Report;
}

function noRole(machine: Machine, manifests: readonly VmManifest[], report: Report): void {
  const role = likelyRole(machine, manifests);
  report.check(
    false,
    'NO_ROLE',
    `dom0 has switched on no service of build-infra in ${machine.name}`,
    role === undefined
      ? 'if it is a VM of the farm, in dom0: sudo qubesctl state.highstate, then restart it; a template or another VM has nothing to look at'
      : `in dom0: qvm-features ${machine.name} service.build-infra-${role} 1 (sudo qubesctl state.highstate does it), then restart ${machine.name}`,
  );
}

async function checkRole(machine: Machine, facts: VmFacts, online: boolean, report: Report): Promise<void> {
  checkPrograms(machine, facts, report);
  await report.group(() => checkLaidFiles(machine, facts, report));
  await report.group(() => checkNothingBefore(machine, facts, report));
  await report.group(() => checkStateFolder(machine, report));
  await report.group(() => checkKeys(machine, facts, report));
  await report.group(() => checkPublicKeys(machine, facts, report));
  await report.group(() => checkSsh(machine, facts, report));
  await report.group(() => checkWebhook(machine, facts, report));
  await report.group(() => checkUnits(machine, facts, report));
  await report.group(() => checkNotStale(machine, facts, report));
  await report.group(() => checkJournalKey(machine, facts, report));
  await report.group(() => checkGate(machine, facts, report));
  await report.group(() => checkReleases(machine, facts, report));
  await report.group(() => checkJobs(machine, facts, report));
  await report.group(() => noteSetAside(machine, facts, report));
  if (facts.role === 'keys') {
    checkNoNetwork(machine, report);
    await report.group(() => checkNoWayOut(machine, report));
    await report.group(() => noteEasyRoot(machine, report));
  }
  checkSpace(machine, facts, report);
  await report.group(() => checkClock(machine, facts, report));
  if (online) await checkOnline(machine, facts, report);
}

/**
 * @param online also reach the remotes. @returns every finding; throws only for a fault of the doctor's own
 */
export async function examine(
  machine: Machine,
  manifests: readonly VmManifest[],
  online: boolean,
): Promise<Examination> {
  const report = new Report();
  const here = rolesHere(machine, manifests);
  checkPersistence(machine, report);
  if (here.length === 0) noRole(machine, manifests, report);
  for (const manifest of here) await checkRole(machine, factsOf(machine, manifest, report), online, report);
  return { roles: here.map(({ role }) => role), report };
}
