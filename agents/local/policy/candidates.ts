// SPDX-License-Identifier: GPL-2.0-or-later
// What `ask` offers: all that any rule for this service, argument and source would allow or ask for, less
// what a higher rule denies.
import type { Rule } from './rule.js';
import type { SystemInfo, SystemVm } from './system-info.js';
import { matchesSource, type Token } from './tokens.js';

/** Whether the rule is for this service, argument and source, whatever its target. */
export function concerns(
  rule: Rule,
  service: string,
  argument: string,
  source: SystemVm,
  system: SystemInfo,
): boolean {
  return (
    (rule.service === null || rule.service === service) &&
    (rule.argument === null || rule.argument === argument) &&
    matchesSource(rule.source, source, system)
  );
}

/**
 * Sorted; `@dispvm` has become the source's template, `@adminvm` has become `dom0`. A rule's own `target=` is
 * offered as it is written, whatever it says: that it names nothing which can be called shows once it is
 * chosen.
 */
export function askCandidates(
  rules: readonly Rule[],
  asking: Rule,
  service: string,
  argument: string,
  source: SystemVm,
  system: SystemInfo,
): string[] {
  const own = asking.action.redirect;
  if (own !== null) return [own.token.kind === 'adminvm' ? 'dom0' : own.text];
  const targets = new Set<string>();
  for (const rule of rules.toReversed()) {
    if (!concerns(rule, service, argument, source, system)) continue;
    const token = rule.action.redirect?.token ?? rule.target;
    // The real one stumbles over such a rule, and whatever it stumbles over is a no.
    if (token.kind === 'dispvm-of' && system.find(token.template) === undefined) return [];
    for (const target of expand(token, system)) {
      if (rule.action.kind === 'deny') targets.delete(target);
      else targets.add(target);
    }
  }
  if (targets.delete('@dispvm') && source.defaultDispvm !== null)
    targets.add(`@dispvm:${source.defaultDispvm}`);
  targets.delete(source.name);
  return [...targets].filter((name) => system.find(name)?.internal !== true).sort();
}

function* expand(token: Token, system: SystemInfo): Generator<string> {
  switch (token.kind) {
    case 'any':
    case 'anyvm':
      for (const vm of system.vms.values()) {
        if (vm.name === 'dom0' && token.kind === 'anyvm') continue;
        yield vm.name;
        if (vm.templateForDispvms) yield `@dispvm:${vm.name}`;
      }
      yield '@dispvm';
      return;
    case 'adminvm':
      yield 'dom0';
      return;
    case 'name': {
      const vm = system.find(token.name);
      if (vm !== undefined) yield vm.name;
      return;
    }
    case 'tag':
    case 'type':
      for (const vm of system.vms.values())
        if (token.kind === 'tag' ? vm.tags.includes(token.value) : vm.type === token.value) yield vm.name;
      return;
    case 'dispvm':
      yield '@dispvm';
      return;
    case 'dispvm-of': {
      const template = system.find(token.template);
      if (template?.templateForDispvms === true) yield `@dispvm:${template.name}`;
      return;
    }
    case 'dispvm-tag':
      for (const vm of system.vms.values())
        if (vm.templateForDispvms && vm.tags.includes(token.value)) yield `@dispvm:${vm.name}`;
      return;
    case 'default':
  }
}
