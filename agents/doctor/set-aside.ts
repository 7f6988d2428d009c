// SPDX-License-Identifier: GPL-2.0-or-later
// Did the notifier give up on something that GitHub would not take? Nobody hears of that but who looks into its journal.
import type { Report } from './finding.js';
import { list, readText, type Machine } from './machine.js';
import { stateFolder, type VmFacts } from './vm-facts.js';

const folder = `${stateFolder}/notifier/aside`;

export function noteSetAside(machine: Machine, facts: VmFacts, report: Report): void {
  if (facts.role !== 'build') return;
  const aside = list(machine, folder).filter((name) => name.endsWith('.json'));
  const newest = aside.at(-1);
  if (newest === undefined) return;
  const why = (readText(machine, `${folder}/${newest}.reason`) ?? 'its reason is not there').trim();
  report.note(
    'NOTIFIER_SET_ASIDE',
    `the notifier set ${aside.length} document${aside.length === 1 ? '' : 's'} aside, the last of them ${newest}: ${why}`,
    `mend the cause (the reasons are beside them, in ${folder}), then: sudo -u user node /usr/lib/build-infra/build-infra-notifier.mjs again all`,
  );
}
