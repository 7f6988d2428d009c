// SPDX-License-Identifier: GPL-2.0-or-later
// From rules and a request to a verdict. The first rule that matches decides; what comes after it is not
// read, whatever the outcome.
import { askCandidates, concerns } from './candidates.js';
import { normaliseTarget, splitService } from './request.js';
import type { Rule, RulePlace } from './rule.js';
import type { SystemInfo, SystemVm } from './system-info.js';
import { matchesTarget, type Asked, type Token } from './tokens.js';

export interface Decider extends RulePlace {
  text: string;
}

interface Answered {
  /** the normalised request */
  requested: string;
  user: string | null;
  autostart: boolean;
  notify: boolean;
  rule: Decider;
}

export type Verdict =
  | ({ result: 'allow'; target: string; targetUuid: string | null } & Answered)
  | ({ result: 'ask'; targets: string[]; defaultTarget: string | null; guivm: string | null } & Answered)
  | { result: 'deny'; reason: string; requested: string; notify: boolean; rule: Decider | null };

export interface Request {
  /** the calling VM as dom0 knows it: the socket the call came in on, never what the caller says */
  source: string;
  /** cleaned, not normalised */
  target: string;
  /** cleaned, SERVICE[+ARGUMENT] */
  service: string;
}

export function evaluate(rules: readonly Rule[], system: SystemInfo, request: Request): Verdict {
  const { service, argument } = splitService(request.service);
  const source = system.find(request.source);
  const asked = normaliseTarget(request.target, system);
  const refuse = (reason: string, rule: Decider | null = null, notify = true): Verdict => ({
    result: 'deny',
    reason,
    requested: typeof asked === 'string' ? request.target : asked.text,
    notify,
    rule,
  });
  if (source === undefined) return refuse(`no such source VM: ${request.source}`);
  if (service === '') return refuse('the service has no name');
  if (typeof asked === 'string') return refuse(asked);
  const rule = rules.find(
    (one) =>
      concerns(one, service, argument, source, system) && matchesTarget(one.target, asked, source, system),
  );
  if (rule === undefined) return refuse('no rule matches');
  const decider: Decider = { ...rule.at, text: rule.text };
  if (rule.action.kind === 'deny') return refuse('denied by policy', decider, rule.action.notify);
  const { user, autostart, notify } = rule.action;
  const answered: Answered = { requested: asked.text, user, autostart, notify, rule: decider };
  if (rule.action.kind === 'ask') {
    const targets = askCandidates(rules, rule, service, argument, source, system).filter(
      (text) => autostart || isRunning(text, system),
    );
    if (targets.length === 0) return refuse('the rule asks, but there is no target to choose from', decider);
    return {
      result: 'ask',
      targets,
      defaultTarget: preselected(rule, targets, source),
      guivm: source.guivm,
      ...answered,
    };
  }
  const target = finalTarget(rule.action.redirect, asked, source, system);
  if ('reason' in target) return refuse(target.reason, decider);
  if (!autostart && !target.running)
    return refuse('the target is not running and the rule says autostart=no', decider, notify);
  return { result: 'allow', target: target.name, targetUuid: target.uuid, ...answered };
}

/**
 * Where the answer to an `ask` goes; null where it is none of what was offered, or cannot be called. It is
 * final: no rule is looked at again.
 */
export function chosenTarget(
  verdict: Verdict & { result: 'ask' },
  answer: string | null,
  source: string,
  system: SystemInfo,
): (Verdict & { result: 'allow' }) | null {
  const { targets, defaultTarget: _, guivm: __, ...answered } = verdict;
  if (answer === null || !targets.includes(answer) || answer === source) return null;
  const ofTemplate = answer.startsWith('@dispvm:');
  const vm = system.find(ofTemplate ? answer.slice('@dispvm:'.length) : answer);
  if (ofTemplate && vm !== undefined)
    return { ...answered, result: 'allow', target: `@dispvm:${vm.name}`, targetUuid: null };
  return vm === undefined
    ? null
    : {
        ...answered,
        result: 'allow',
        target: vm.name,
        targetUuid: vm.name === 'dom0' || vm.uuid === '' ? null : vm.uuid,
      };
}

function isRunning(text: string, system: SystemInfo): boolean {
  return system.find(text)?.running === true;
}

interface FinalTarget {
  name: string;
  uuid: string | null;
  /** a disposable never is, dom0 always is */
  running: boolean;
}

/**
 * Where an allowed call goes. The redirected call is not evaluated again. Loopback is compared by text, as
 * Qubes does: a uuid gets through.
 */
function finalTarget(
  redirect: { text: string; token: Token } | null,
  asked: Asked,
  source: SystemVm,
  system: SystemInfo,
): FinalTarget | { reason: string } {
  const text = redirect?.text ?? asked.text;
  const kind = redirect?.token.kind ?? (asked.kind === 'vm' ? 'name' : asked.kind);
  switch (kind) {
    case 'default':
      return { reason: 'allowed, but neither the caller nor the rule says to which target' };
    case 'adminvm':
      return { name: 'dom0', uuid: null, running: true };
    case 'dispvm':
      return source.defaultDispvm === null
        ? { reason: `${source.name} has no default_dispvm` }
        : { name: `@dispvm:${source.defaultDispvm}`, uuid: null, running: false };
    case 'dispvm-of': {
      const template = system.find(text.slice('@dispvm:'.length));
      return template?.templateForDispvms === true
        ? { name: `@dispvm:${template.name}`, uuid: null, running: false }
        : { reason: `not a disposable template: ${text}` };
    }
    default: {
      if (text === source.name) return { reason: 'a VM may not call itself' };
      const vm = system.find(text);
      return vm === undefined
        ? { reason: `no such target: ${text}` }
        : { name: vm.name, uuid: vm.uuid === '' ? null : vm.uuid, running: vm.running };
    }
  }
}

function preselected(rule: Rule, targets: readonly string[], source: SystemVm): string | null {
  const wanted = rule.action.defaultTarget;
  if (wanted === null) return null;
  const text =
    wanted.token.kind === 'dispvm'
      ? `@dispvm:${source.defaultDispvm ?? ''}`
      : wanted.token.kind === 'adminvm'
        ? 'dom0'
        : wanted.text;
  return targets.includes(text) ? text : null;
}
