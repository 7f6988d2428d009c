// SPDX-License-Identifier: GPL-2.0-or-later
// Whether the Releases that this build VM published are renewed in time: docs/operations.md, "Releases that
// end".
import { validityOf, type Validity } from '../shared/formats/apt-release.js';
import type { Report } from './finding.js';
import { list, readText, type Machine } from './machine.js';
import { stateFolder, type VmFacts } from './vm-facts.js';

interface Status {
  queue?: { component: string; waiting: { dist: string | null; code: string; detail: string }[] }[];
  recent?: {
    job: string;
    component: string;
    reasons: { dist: string | null; code: string; detail: string }[];
  }[];
}

/**
 * A quarter is left, and it is renewed with a third: some tries did not work. One that has no end though it
 * shall have one was due a day after it was made, at the latest.
 */
const lateAt = ({ date, validUntil }: Validity): number =>
  validUntil === undefined ? date + 86_400_000 : date + ((validUntil - date) * 3) / 4;

function json<T>(machine: Machine, path: string): T | undefined {
  const text = readText(machine, path);
  return text === undefined ? undefined : (JSON.parse(text) as T);
}

/** What the agent says of the renewal that waits, or of the last one. */
function reasonFor(machine: Machine, dist: string): string {
  const { queue = [], recent = [] } = json<Status>(machine, `${stateFolder}/status.json`) ?? {};
  const waiting = queue
    .filter(({ component }) => component === 'apt-repository')
    .flatMap((job) => job.waiting);
  const last =
    recent.filter(
      ({ component, job }) => component === 'apt-repository' && job.startsWith(`renewal-${dist}-`),
    )[0]?.reasons ?? [];
  const found = [...waiting, ...last].find((one) => one.dist === dist);
  return found === undefined ? 'no renewal says why' : `its renewal says ${found.code} ${found.detail}`;
}

export function checkReleases(machine: Machine, { role, config }: VmFacts, report: Report): void {
  if (role !== 'build' || config?.apt?.validDays === undefined) return;
  const home = `${stateFolder}/apt/${config.env ?? ''}`;
  for (const dist of (config.distributions ?? []).map(({ name }) => name)) {
    const release = json<{ switched: string | null }>(machine, `${home}/${dist}/public.json`)?.switched;
    if (release === undefined || release === null) continue;
    const folder = `${home}/${dist}/generations/${release}/dists`;
    for (const suite of list(machine, folder)) {
      const validity = validityOf(readText(machine, `${folder}/${suite}/InRelease`) ?? '');
      const end =
        validity.validUntil === undefined
          ? 'has no Valid-Until yet'
          : `ends ${new Date(validity.validUntil).toISOString()}`;
      report.check(
        machine.now().getTime() < lateAt(validity),
        'RELEASE_NOT_RENEWED',
        `the Release of ${suite} ${end} and is not renewed: ${reasonFor(machine, dist)}`,
        'see build-infra status and journalctl -u build-infra-build; after its end apt refuses that suite',
      );
    }
  }
}
