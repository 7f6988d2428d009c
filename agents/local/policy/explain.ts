// SPDX-License-Identifier: GPL-2.0-or-later
// build-infra policy explain: what the policy would say to one call, and the line that says so.
import { evaluate, type Verdict } from './evaluate.js';
import { loadPolicy, policyFolders } from './policy-files.js';
import { cleanService, cleanTarget } from './request.js';
import { PolicyError, type Rule } from './rule.js';
import { readSystemInfo, SystemInfo, systemVm } from './system-info.js';

export const explainUsage = 'build-infra policy explain [--policy DIR]... [--qubes FILE] SOURCE TARGET SERVICE[+ARG] [--json]';

interface Question {
  folders: string[];
  qubes: string | undefined;
  json: boolean;
  words: string[];
}

function readCommandLine(args: readonly string[]): Question | undefined {
  const question: Question = { folders: [], qubes: undefined, json: false, words: [] };
  for (let at = 0; at < args.length; at++) {
    const word = args[at] as string;
    if (word === '--json') question.json = true;
    else if (word === '--policy' || word === '--qubes') {
      const value = args[++at];
      if (value === undefined) return undefined;
      if (word === '--policy') question.folders.push(value);
      else question.qubes = value;
    } else if (word.startsWith('--')) return undefined;
    else question.words.push(word);
  }
  return question.words.length === 3 ? question : undefined;
}

/** Without a document about the VMs: those that the question and the rules name exist, as plain AppVMs that are not running. */
function namedVms(source: string, target: string, rules: readonly Rule[]): SystemInfo {
  const names = new Set([source, target].filter((name) => !name.startsWith('@') && !name.startsWith('uuid:')));
  for (const { source: from, target: to, action } of rules) {
    for (const token of [from, to, action.redirect?.token, action.defaultTarget?.token]) if (token?.kind === 'name') names.add(token.name);
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

/** Exit status: 0 allow or ask, 1 deny, 2 usage or a policy (or document) that cannot be read. */
export function explain(args: readonly string[], out: (text: string) => void, complain: (text: string) => void): number {
  const question = readCommandLine(args);
  if (question === undefined) {
    complain(`usage: ${explainUsage}\n`);
    return 2;
  }
  const [source, untrustedTarget, untrustedService] = question.words as [string, string, string];
  // As the caller's side (`$`) and dom0 (every other byte) clean it.
  const target = cleanTarget(Buffer.from(untrustedTarget.replaceAll('$', '@')));
  const service = cleanService(Buffer.from(untrustedService));
  try {
    const rules = loadPolicy(question.folders.length > 0 ? question.folders : policyFolders);
    const system = question.qubes === undefined ? namedVms(source, target, rules) : readSystemInfo(question.qubes);
    const verdict = evaluate(rules, system, { source, target, service });
    out(question.json ? `${JSON.stringify({ source, target, service, ...verdict })}\n` : describe(verdict));
    return verdict.result === 'deny' ? 1 : 0;
  } catch (error) {
    const where = error instanceof PolicyError ? { file: error.file, line: error.line ?? null } : { file: null, line: null };
    if (question.json) out(`${JSON.stringify({ source, target, service, result: 'error', ...where, reason: (error as Error).message })}\n`);
    else complain(`${error instanceof PolicyError ? 'syntax error, so every call is denied: ' : ''}${(error as Error).message}\n`);
    return 2;
  }
}
