// SPDX-License-Identifier: GPL-2.0-or-later
// What the calling VM sent becomes a request. Everything here is hostile until it is cleaned; nothing is
// refused for its characters.
import { adminUuid, type SystemInfo } from './system-info.js';
import type { Asked } from './tokens.js';

/** Bytes of the target field; longer is cut, not refused. */
export const targetBytes = 63;
/**
 * Bytes of SERVICE+ARGUMENT that get through qrexec's first ring in one piece; longer ends a real agent, so
 * it is refused here.
 */
export const serviceBytes = 3900;
/** Bytes of a service's name, before its `+`; longer is 125 from the target's agent. */
export const serviceNameBytes = 255;

/** Every byte outside `A-Za-z0-9 - . _ +` becomes `_`, so each byte of a UTF-8 letter does. */
export function cleanService(untrusted: Uint8Array): string {
  return Buffer.from(untrusted)
    .toString('latin1')
    .replace(/[^A-Za-z0-9._+-]/g, '_');
}

/**
 * The same without `+`, plus `@` and `:`; cut at 63 bytes. The `$` of old callers was turned into `@` by
 * qrexec-client-vm.
 */
export function cleanTarget(untrusted: Uint8Array): string {
  return Buffer.from(untrusted)
    .subarray(0, targetBytes)
    .toString('latin1')
    .replace(/[^A-Za-z0-9._@:-]/g, '_');
}

/** Split at the first `+`; the argument keeps it, and is `+` where there is none. */
export function splitService(service: string): { service: string; argument: string } {
  const plus = service.indexOf('+');
  return plus < 0
    ? { service, argument: '+' }
    : { service: service.slice(0, plus), argument: service.slice(plus) };
}

/** The target that rules are matched against, or the reason for a denial before any rule is looked at. */
export function normaliseTarget(target: string, system: SystemInfo): Asked | string {
  if (target === '' || target === '@default') return { kind: 'default', text: '@default' };
  if (target === '@adminvm' || target === `uuid:${adminUuid}`) return { kind: 'adminvm', text: '@adminvm' };
  if (target === '@dispvm') return { kind: 'dispvm', text: '@dispvm' };
  if (target.startsWith('@dispvm:')) {
    const template = system.find(target.slice('@dispvm:'.length));
    if (template === undefined) return `no such VM to make a disposable of: ${target}`;
    return template.templateForDispvms
      ? { kind: 'dispvm-of', template, text: `@dispvm:${template.name}` }
      : `not a disposable template: ${target}`;
  }
  if (target.startsWith('@')) return `a caller may not ask for ${target}`;
  const vm = system.find(target);
  return vm === undefined ? { kind: 'default', text: '@default' } : { kind: 'vm', vm, text: target };
}
