// SPDX-License-Identifier: GPL-2.0-or-later
// The address at which a person reads a published log. The path comes from the build-logs VM and ends in a
// public page: strict grammar first.
import { logPathPattern, matches, objectIdPattern } from './names.js';

/**
 * `{path}` once, and `{commit}` at most once: e.g. https://forge.example/example/build-logs/blob/main/{path}
 */
export const logsUrlPattern =
  '^https?://[A-Za-z0-9][A-Za-z0-9.:-]{0,200}/(?:[A-Za-z0-9._~/?=&;,:%-]|\\{commit\\}(?!.*\\{commit\\})){0,300}\\{path\\}(?:[?#][A-Za-z0-9._~/=&-]{0,100})?$';

/** Undefined where the path is none of a log, or the address needs a commit that is not known (yet). */
export function logLink(logsUrl: string, untrustedPath: string, commit: string | null): string | undefined {
  if (!matches(logPathPattern, untrustedPath)) return undefined;
  if (logsUrl.includes('{commit}') && !matches(objectIdPattern, commit)) return undefined;
  const path = untrustedPath.split('/').map(encodeURIComponent).join('/');
  return logsUrl.replace('{commit}', () => commit ?? '').replace('{path}', () => path);
}
