// SPDX-License-Identifier: GPL-2.0-or-later
// What follows from a pillar. dom0's own Python understands it, here as on Qubes (plan_farms.py): one call
// for all VMs of a farm.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { Account, Option } from '../../shared/formats/manifest.js';
import { RelayedRefusal } from '../../shared/refusal.js';
import { findTree } from './checkout.js';
import type { Pillar } from './pillar.js';
import { allOptions, toldVm, type ToldVm, type Vm } from './vms.js';

/** A folder, or with one of `source`, `content` and `link` a file or a symbolic link. */
export interface PlannedEntry {
  path: string;
  owner: Account;
  group: Account;
  /** four octal digits; a link has none */
  mode?: string;
  /** as a manifest names it */
  source?: string;
  content?: string;
  link?: string;
}

export interface PlannedMachine {
  /** folders first, then files and links, in the manifest's order */
  entries: PlannedEntry[];
  /** what is left out because its VM has not made the key yet: `path needs key` */
  waiting: string[];
}

/** Checked as a whole: nobody else makes one. */
export interface PlannedFarm {
  pillar: Pillar;
  /** in the order of starting */
  vms: Vm[];
  /** of dom0 and of each VM */
  machines: Record<string, PlannedMachine>;
}

/** A pillar's file, or what stands under its top key; and the farm's options, by default all. */
export type FarmRequest = ({ file: string } | { pillar: unknown }) & { enabled?: readonly Option[] };

type Answer =
  | { refused: { code: string; detail: string; field: string | null } }
  | { farm: Pillar; vms: ToldVm[]; machines: Record<string, PlannedMachine> };

const outputLimit = 1 << 28;
const milliseconds = 60_000;
const lastLine = (text: string): string => text.trimEnd().split('\n').at(-1) as string;

/**
 * @returns an answer to each, in their order; those of Refusal have codes of salt/README.md, and the field as
 * `build-envs.debian.key`
 */
export function planFarms(
  requests: readonly FarmRequest[],
  tree: string = findTree(),
): (PlannedFarm | RelayedRefusal)[] {
  const lines = requests.map(
    ({ enabled = allOptions, ...asked }) =>
      `${JSON.stringify({ ...('file' in asked ? asked : { farm: asked.pillar }), enabled })}\n`,
  );
  const program = join(tree, 'agents/local/provision/plan_farms.py');
  const done = spawnSync('/usr/bin/python3', ['-IB', '-X', 'utf8', program, tree], {
    input: lines.join(''),
    encoding: 'utf8',
    env: {},
    maxBuffer: outputLimit,
    timeout: milliseconds,
  });
  if (done.status !== 0)
    throw new Error(
      `plan_farms.py, which needs python3, python3-yaml and python3-jinja2: ${lastLine(done.stderr ?? '') || (done.error?.message ?? done.signal)}`,
    );
  return done.stdout
    .trimEnd()
    .split('\n')
    .map((line) => {
      const answer = JSON.parse(line) as Answer;
      if ('refused' in answer)
        return new RelayedRefusal(
          answer.refused.code,
          answer.refused.detail,
          answer.refused.field ?? undefined,
        );
      return { pillar: answer.farm, vms: answer.vms.map(toldVm), machines: answer.machines };
    });
}

/** @throws Refusal as planFarms gives it */
export function planFarm(request: FarmRequest, tree?: string): PlannedFarm {
  const [planned] = planFarms([request], tree);
  if (planned === undefined || planned instanceof RelayedRefusal)
    throw planned ?? new Error('plan_farms.py gave no answer');
  return planned;
}
