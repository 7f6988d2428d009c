// SPDX-License-Identifier: GPL-2.0-or-later
// The words that stand for VMs in a policy line: which may stand where, and what each matches.
import { adminUuid, type SystemInfo, type SystemVm } from './system-info.js';

export type Token =
  | { kind: 'name'; name: string }
  | { kind: 'any' | 'anyvm' | 'adminvm' | 'default' | 'dispvm' }
  | { kind: 'dispvm-of'; template: string }
  | { kind: 'dispvm-tag' | 'tag' | 'type'; value: string };

/** The column or parameter a token stands in. */
export type Place = 'source' | 'target' | 'redirect';

const allowedIn: Readonly<Record<Token['kind'], readonly Place[]>> = {
  name: ['source', 'target', 'redirect'],
  any: ['source', 'target'],
  anyvm: ['source', 'target'],
  adminvm: ['source', 'target', 'redirect'],
  default: ['target'],
  dispvm: ['target', 'redirect'],
  'dispvm-of': ['source', 'target', 'redirect'],
  'dispvm-tag': ['source', 'target'],
  tag: ['source', 'target'],
  type: ['source', 'target'],
};

const exact = new Map<string, Token>([
  ['*', { kind: 'any' }],
  ['dom0', { kind: 'adminvm' }],
  [`uuid:${adminUuid}`, { kind: 'adminvm' }],
  ['@adminvm', { kind: 'adminvm' }],
  ['@anyvm', { kind: 'anyvm' }],
  ['@default', { kind: 'default' }],
  ['@dispvm', { kind: 'dispvm' }],
]);

/** Longest first: `@dispvm:@tag:` is also a `@dispvm:`. */
const prefixes: readonly (readonly [string, (value: string) => Token])[] = [
  ['@dispvm:@tag:', (value) => ({ kind: 'dispvm-tag', value })],
  ['@dispvm:', (template) => ({ kind: 'dispvm-of', template })],
  ['@tag:', (value) => ({ kind: 'tag', value })],
  ['@type:', (value) => ({ kind: 'type', value })],
];

/**
 * What is wrong with the word, or the token. A word without `@` is a name, unchecked: a misspelt VM is legal
 * and never matches.
 */
export function readToken(word: string, place: Place): Token | string {
  if (word === '') return 'an empty target';
  const token =
    exact.get(word) ?? (word.startsWith('@') ? prefixed(word) : { kind: 'name' as const, name: word });
  if (typeof token === 'string') return token;
  return allowedIn[token.kind].includes(place)
    ? token
    : `${word} may not stand as ${place === 'redirect' ? 'target= or default_target=' : place}`;
}

function prefixed(word: string): Token | string {
  for (const [prefix, make] of prefixes) {
    if (!word.startsWith(prefix)) continue;
    const value = word.slice(prefix.length);
    if (value === '') return `nothing after ${prefix}`;
    if (value.startsWith('@')) return `unknown word ${word}`;
    return make(value);
  }
  return `unknown word ${word}`;
}

/** The caller's VM against the SOURCE column. dom0's own calls never reach the policy. */
export function matchesSource(token: Token, source: SystemVm, system: SystemInfo): boolean {
  switch (token.kind) {
    case 'any':
      return true;
    case 'anyvm':
      return source.name !== 'dom0';
    case 'adminvm':
      return source.name === 'dom0';
    case 'name':
      return system.find(token.name)?.name === source.name;
    case 'tag':
      return source.tags.includes(token.value);
    case 'type':
      return source.type === token.value;
    default:
      return false;
  }
}

/**
 * What a caller asked for, after normalisation (request.ts). `text` is how it was spelled; the loopback check
 * compares it.
 */
export type Asked =
  | { kind: 'vm'; vm: SystemVm; text: string }
  | { kind: 'adminvm'; text: '@adminvm' }
  | { kind: 'default'; text: '@default' }
  | { kind: 'dispvm'; text: '@dispvm' }
  | { kind: 'dispvm-of'; template: SystemVm; text: string };

/** A normalised request against the TARGET column. */
export function matchesTarget(token: Token, asked: Asked, source: SystemVm, system: SystemInfo): boolean {
  const isDom0 = asked.kind === 'adminvm' || (asked.kind === 'vm' && asked.vm.name === 'dom0');
  switch (token.kind) {
    case 'any':
      return true;
    case 'anyvm':
      return !isDom0;
    case 'adminvm':
      return isDom0;
    case 'default':
      return asked.kind === 'default';
    case 'dispvm':
      return asked.kind === 'dispvm';
    case 'name':
      return asked.kind === 'vm' && system.find(token.name)?.name === asked.vm.name;
    case 'tag':
      return asked.kind === 'vm' && asked.vm.tags.includes(token.value);
    case 'type':
      return asked.kind === 'vm' && asked.vm.type === token.value;
    case 'dispvm-of':
      // A plain `@dispvm` means one from the caller's default template, compared as it is written; the
      // reverse does not hold.
      return asked.kind === 'dispvm'
        ? token.template === source.defaultDispvm
        : asked.kind === 'dispvm-of' && system.find(token.template)?.name === asked.template.name;
    case 'dispvm-tag':
      return askedTemplate(asked, source, system)?.tags.includes(token.value) ?? false;
  }
}

/** A plain `@dispvm` means one from the caller's default template. */
function askedTemplate(asked: Asked, source: SystemVm, system: SystemInfo): SystemVm | undefined {
  if (asked.kind === 'dispvm-of') return asked.template;
  return asked.kind === 'dispvm' && source.defaultDispvm !== null
    ? system.find(source.defaultDispvm)
    : undefined;
}
