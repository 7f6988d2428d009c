// SPDX-License-Identifier: GPL-2.0-or-later
// build-infra policy explain: what the policy would say to one call, and the line that says so.
import type { CommandCall, CommandRow } from '../../shared/command-line/program.js';
import { evaluate, type Verdict } from './evaluate.js';
import { loadPolicy, policyFolders } from './policy-files.js';
import { cleanService, cleanTarget } from './request.js';
import { PolicyError, type Rule } from './rule.js';
import { readSystemInfo, SystemInfo, systemVm } from './system-info.js';

/**
 * Without a document about the VMs: those that the question and the rules name exist, as plain AppVMs that
 * are not running.
 */
function namedVms(source: string, target: string, rules: readonly Rule[]): SystemInfo {
  const names = new Set(
    [source, target].filter((name) => !name.startsWith('@') && !name.startsWith('uuid:')),
  );
  for (const { source: from, target: to, action } of rules) {
    for (const token of [from, to, action.redirect?.token, action.defaultTarget?.token])
      if (token?.kind === 'name') names.add(token.name);
  }
  for (const name of ['', 'dom0']) names.delete(name);
  return new SystemInfo([...names].map((name) => systemVm({ name })));
}

const yesNo = (value: boolean): string => (value ? 'yes' : 'no');

function describe(verdict: Verdict): string {
  const lines: string[] = [verdict.result];
  const say = (name: string, value: string): void => {
    lines.push(`  ${`${name}:`.padEnd(16)}${value}`);
  };
  say('asked for', verdict.requested);
  if (verdict.result === 'allow') say('target', verdict.target);
  if (verdict.result === 'ask') {
    say('offered', verdict.targets.join(' '));
    say('default', verdict.defaultTarget ?? 'none');
    if (verdict.guivm === null) say('but', 'the source has no GUI VM to ask at, so the call is denied');
  }
  if (verdict.result === 'deny') say('reason', verdict.reason);
  else {
    say('user', verdict.user ?? 'the default user');
    say('autostart', yesNo(verdict.autostart));
  }
  say('notify', yesNo(verdict.notify));
  say('decided by', verdict.rule === null ? 'no rule' : `${verdict.rule.file}:${verdict.rule.line}`);
  if (verdict.rule !== null) lines.push(`    ${verdict.rule.text}`);
  return `${lines.join('\n')}\n`;
}

/** Exit status: 0 allow or ask, 1 deny, 2 a policy (or document) that cannot be read. */
export function explain(
  { words, has, value, values }: CommandCall,
  out: (text: string) => void,
  complain: (text: string) => void,
): number {
  const [source, untrustedTarget, untrustedService] = words as [string, string, string];
  const [folders, qubes] = [values('policy'), value('qubes')];
  // As the caller's side (`$`) and dom0 (every other byte) clean it.
  const target = cleanTarget(Buffer.from(untrustedTarget.replaceAll('$', '@')));
  const service = cleanService(Buffer.from(untrustedService));
  try {
    const rules = loadPolicy(folders.length > 0 ? folders : policyFolders);
    const system = qubes === undefined ? namedVms(source, target, rules) : readSystemInfo(qubes);
    const verdict = evaluate(rules, system, { source, target, service });
    out(has('json') ? `${JSON.stringify({ source, target, service, ...verdict })}\n` : describe(verdict));
    return verdict.result === 'deny' ? 1 : 0;
  } catch (error) {
    const where =
      error instanceof PolicyError
        ? { file: error.file, line: error.line ?? null }
        : { file: null, line: null };
    if (has('json'))
      out(
        `${JSON.stringify({ source, target, service, result: 'error', ...where, reason: (error as Error).message })}\n`,
      );
    else
      complain(
        `${error instanceof PolicyError ? 'syntax error, so every call is denied: ' : ''}${(error as Error).message}\n`,
      );
    return 2;
  }
}

export const explainCommand: CommandRow = {
  words: 'policy explain',
  takes: 'SOURCE TARGET SERVICE[+ARGUMENT]',
  does: "tells what dom0's policy says to one call, and which of its lines decides",
  options: [
    {
      name: 'policy',
      value: 'DIR',
      does: `a folder of the policy, by default ${policyFolders.join(' and ')}; repeat`,
    },
    { name: 'qubes', value: 'FILE', does: 'the VMs, as JSON; without it every VM that a rule names exists' },
    { name: 'json', does: 'prints one JSON document' },
  ],
  more: 'Exit status: 0 the call is allowed or a person is asked, 1 it is denied, 2 the policy cannot be read.',
  run: (call) =>
    explain(
      call,
      (text) => process.stdout.write(text),
      (text) => process.stderr.write(text),
    ),
};
