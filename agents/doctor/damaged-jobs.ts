// SPDX-License-Identifier: GPL-2.0-or-later
// Can every job's document be read? The agent does not start without one: it would forget what it published.
import { readJob } from '../shared/formats/job.js';
import { jobIdPattern, matches } from '../shared/formats/names.js';
import type { Report } from './finding.js';
import { list, read, type Machine } from './machine.js';
import { stateFolder, type VmFacts } from './vm-facts.js';

const folder = `${stateFolder}/jobs`;

function faultOf(machine: Machine, id: string): string | undefined {
  try {
    const bytes = read(machine, `${folder}/${id}/job.json`);
    return bytes === undefined || readJob(bytes).job === id ? undefined : 'it is of another job';
  } catch (error) {
    return (error as Error).message;
  }
}

export function checkJobs(machine: Machine, { role }: VmFacts, report: Report): void {
  if (role !== 'build') return;
  const damaged = list(machine, folder).flatMap((id) => {
    const fault = matches(jobIdPattern, id) ? faultOf(machine, id) : undefined;
    return fault === undefined ? [] : [{ id, fault }];
  });
  if (damaged.length === 0) report.check(true, 'JOB_DAMAGED', '', '');
  for (const { id, fault } of damaged)
    report.check(
      false,
      'JOB_DAMAGED',
      `${folder}/${id}/job.json cannot be read, and the build agent does not start: ${fault}`,
      "put the backup's file in its place (docs/deploy.md, section 10), as root here; keep the damaged one",
    );
}
