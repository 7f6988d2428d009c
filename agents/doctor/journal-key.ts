// SPDX-License-Identifier: GPL-2.0-or-later
// The journal key: made in the keys VM, pinned in farm.yaml. As long as nobody pinned it, a keys VM that lost
// its state would begin again and believe any history that the logs key signs.
import { createPrivateKey, createPublicKey } from 'node:crypto';
import type { Report } from './finding.js';
import { list, readText, type Machine } from './machine.js';
import { stateFolder, type VmFacts } from './vm-facts.js';

const handbook = 'docs/deploy.md, "Backup and restore"';

/** 64 hex digits, or undefined where there is none that can be read. */
function publicHalf(pem: string | undefined): string | undefined {
  try {
    const { x } = createPublicKey(createPrivateKey(pem ?? '')).export({ format: 'jwk' });
    return Buffer.from(x as string, 'base64url').toString('hex');
  } catch {
    return undefined;
  }
}

/** Whether it ever acknowledged a publication. */
function hasBegun(machine: Machine, keysVm: string): boolean {
  try {
    return (
      typeof (
        JSON.parse(readText(machine, `${stateFolder}/keys/${keysVm}.json`) ?? '{}') as { head?: unknown }
      ).head === 'string'
    );
  } catch {
    // KEYS_VM_ALARM says that it is no JSON.
    return true;
  }
}

export function checkJournalKey(machine: Machine, { role, config }: VmFacts, report: Report): void {
  if (config === undefined) return;
  if (role === 'keys') {
    const held = publicHalf(readText(machine, `${stateFolder}/journal-key.pem`));
    const pinned = config.journalKey ?? null;
    const field = `build-envs: ${machine.name.replace(/^keys-/, '')}: journal-key`;
    if (pinned !== null) {
      report.check(
        held === pinned,
        'JOURNAL_KEY_LOST',
        `the configuration pins the journal key ${pinned}, and this VM holds ${held ?? 'none'}`,
        `restore this VM's state: ${handbook}`,
      );
      return;
    }
    report.check(
      held !== undefined,
      'NO_JOURNAL_KEY',
      `${stateFolder} holds no journal key`,
      'as user here: /usr/lib/build-infra/make-keys keys',
    );
    if (held !== undefined)
      report.check(
        false,
        'JOURNAL_KEY_NOT_PINNED',
        `the journal key ${held} is pinned nowhere`,
        `put it into farm.yaml (${field}), then in dom0: sudo qubesctl --all state.highstate, and restart the VMs`,
      );
  }
  if (role !== 'build-logs') return;
  const published =
    list(machine, `${stateFolder}/repository.git/refs/heads`).length > 0 ||
    readText(machine, `${stateFolder}/repository.git/packed-refs`) !== undefined;
  for (const { keysVm, journalKey } of config.sources ?? []) {
    const pinned = report.check(
      !published || journalKey !== null,
      'JOURNAL_KEY_NOT_PINNED',
      `the logs repository is not empty, and no journal key of ${keysVm} is pinned`,
      `in ${keysVm} as user: /usr/lib/build-infra/make-keys keys, and put the journal-key that it prints into farm.yaml`,
    );
    // The pillar cannot see that the repository is not empty, and here nobody knows the anchor: it is asked
    // for as long as that VM believes nothing.
    if (published && pinned && !hasBegun(machine, keysVm)) {
      report.note(
        'BEGINS_LATE',
        `${keysVm} believes no publication yet, and the logs repository is not empty`,
        `name a commit that you audited in farm.yaml (build-envs: ${keysVm.replace(/^keys-/, '')}: anchor), if it names none`,
      );
    }
  }
}
