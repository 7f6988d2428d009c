// SPDX-License-Identifier: GPL-2.0-or-later
// The spelling of every name that crosses a VM boundary. One spelling per value: refuse, never repair.
// docs/formats.md, "Names".

/** A VM: as Qubes allows (docs/formats.md), at most 31 characters. */
export const vmNamePattern = '^[A-Za-z][A-Za-z0-9_.-]{0,30}$';
/** A component, distribution or remote: lower case, starts with a letter or digit. */
export const plainNamePattern = '^[a-z0-9][a-z0-9.+-]{0,63}$';
/** A job: made by the build VM, <component>-<version>-<12 hex>, safe as a file name. */
export const jobIdPattern = '^[A-Za-z0-9][A-Za-z0-9.+~_-]{0,199}$';
/** An OpenPGP v4 fingerprint (40) or v6 (64), upper case hex. */
export const fingerprintPattern = '^(?:[0-9A-F]{40}|[0-9A-F]{64})$';
export const sha256Pattern = '^[0-9a-f]{64}$';
/** A git commit or other object id: SHA-1 or SHA-256, lower case hex. */
export const objectIdPattern = '^(?:[0-9a-f]{40}|[0-9a-f]{64})$';
/** A subdirectory of a VM's logs: one name. */
export const subdirectoryPattern = '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$';
/** A version as in a Debian or RPM package, epoch and tilde allowed, no slash. */
export const versionPattern = '^[0-9][A-Za-z0-9.+:~-]{0,99}$';
/** A file name of an artifact or payload: one path component, no leading dot or dash. */
export const fileNamePattern = '^[A-Za-z0-9_][A-Za-z0-9._+:~-]{0,199}$';
/**
 * A published log: <vm>/<subdirectory>/log_YYYY-mm-dd_HH-MM-SS[.N][.xz]; the receiver makes a day's folder
 * where the sender named none.
 */
export const logPathPattern =
  '^[A-Za-z][A-Za-z0-9_.-]{0,30}/(?:[A-Za-z0-9][A-Za-z0-9._-]{0,63}/)?log_[0-9]{4}-[0-9]{2}-[0-9]{2}_[0-9]{2}-[0-9]{2}-[0-9]{2}(?:\\.[0-9]{1,6})?(?:\\.xz)?$';
/** Any path in the logs repository: up to four plain names. */
export const publishedPathPattern =
  '^[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}(?:/[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}){1,4}$';

const compiled = new Map<string, RegExp>();

/** Whether `untrusted` is a string of that spelling. */
export function matches(pattern: string, untrusted: unknown): untrusted is string {
  let expression = compiled.get(pattern);
  if (expression === undefined) compiled.set(pattern, (expression = new RegExp(pattern)));
  return typeof untrusted === 'string' && expression.test(untrusted) && !untrusted.endsWith('\n');
}
