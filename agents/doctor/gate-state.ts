// SPDX-License-Identifier: GPL-2.0-or-later
// Has the gate stopped? The logs VM keeps an alarm until a person has looked; the keys VM's journal says what
// it refused. Read, never changed.
import type { Report } from './finding.js';
import { list, readText, type Machine } from './machine.js';
import { stateFolder, type VmFacts } from './vm-facts.js';

const handbook = 'docs/deploy.md, "When the gate stops"';
/** Two histories, or a journal that somebody altered: not an accident of the day. */
const grave = new Set(['FORK', 'JOURNAL_ALTERED', 'JOURNAL_FORK']);
const tailLines = 2000;

function checkAlarms(machine: Machine, report: Report): void {
  for (const name of list(machine, `${stateFolder}/keys`).filter(
    (one) => one.endsWith('.json') && !one.startsWith('.'),
  )) {
    let alarm: unknown = 'its state file is not JSON';
    try {
      alarm =
        (JSON.parse(readText(machine, `${stateFolder}/keys/${name}`) ?? '{}') as { alarm?: unknown }).alarm ??
        null;
    } catch {
      // Said by the line below.
    }
    report.check(
      alarm === null,
      'KEYS_VM_ALARM',
      `nothing is granted on ${name.replace(/\.json$/, '')}: ${String(alarm)}`,
      `find out why before you clear it: ${handbook}`,
    );
  }
}

/**
 * What the publisher saw on a remote; a person takes the file away after looking. The newest of each remote.
 */
function checkRemoteAlarms(machine: Machine, report: Report): void {
  const path = `${stateFolder}/alarms.jsonl`;
  const newest = new Map<string, string>();
  for (const line of (readText(machine, path) ?? '').split('\n').filter((one) => one !== '')) {
    try {
      const { time, remote, what } = JSON.parse(line) as { time: string; remote: string; what: string };
      newest.set(remote, `${what} (${time})`);
    } catch {
      newest.set('?', `${path} is not lines of JSON`);
    }
  }
  report.check(
    newest.size === 0,
    'REMOTE_ALARM',
    [...newest].map(([remote, what]) => `remote ${remote}: ${what}`).join('; '),
    `find out why, then remove ${path}: ${handbook}`,
  );
}

/** A grave refusal that no grant followed. */
function checkJournal(machine: Machine, report: Report): void {
  const text = readText(machine, `${stateFolder}/journal.jsonl`);
  if (text === undefined) return;
  let stopped: string | undefined;
  for (const line of text.trimEnd().split('\n').slice(-tailLines)) {
    const event = /"event":"([a-z]+)"/.exec(line)?.[1];
    const result = /"result":"([A-Z_]+)/.exec(line)?.[1] ?? '';
    if (event === 'granted') stopped = undefined;
    if (event === 'refused' && grave.has(result))
      stopped = `${result} at ${/"time":"([^"]+)"/.exec(line)?.[1]} (commit ${/"commit":"([0-9a-f]+)"/.exec(line)?.[1] ?? 'none'})`;
  }
  report.check(stopped === undefined, 'GATE_STOPPED', `the last receipts were refused: ${stopped}`, handbook);
}

/** Without it the logs VM alone is believed about what is public. */
function noteUnread(facts: VmFacts, report: Report): void {
  if (facts.config?.publication !== null) return;
  report.note(
    'PUBLICATION_NOT_READ',
    'this VM does not look itself whether an intent is public before it asks for a signature',
    'name a required remote in farm.yaml (build-envs: publication), if this VM can read one',
  );
}

export function checkGate(machine: Machine, facts: VmFacts, report: Report): void {
  if (facts.role === 'build-logs') {
    checkAlarms(machine, report);
    checkRemoteAlarms(machine, report);
  }
  if (facts.role === 'build') noteUnread(facts, report);
  if (facts.role === 'keys') checkJournal(machine, report);
}
