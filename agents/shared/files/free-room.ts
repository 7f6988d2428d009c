// SPDX-License-Identifier: GPL-2.0-or-later
// A full disk looks different to every tool. Here it has one name.
import { statfsSync } from 'node:fs';
import { AnyRefusal } from '../refusal.js';
import { Refusal } from '../refusals.js';

/** Less than this is as good as nothing: no tool gets further with it. */
const leastBytes = 8 * 1024 * 1024;

/** Whether the file system of `folder` has no room, or no file, left for anyone. */
export function isFull(folder: string): boolean {
  const { bavail, bsize, files, ffree } = statfsSync(folder);
  return bavail * bsize < leastBytes || (files > 0 && ffree === 0);
}

export function isDiskFull(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '');
}

/** These name their cause; NO_LOG_SINK is what the sink of a stage says. */
const explained = new Set<string>(['TIMED_OUT', 'OUTPUT_LIMIT', 'NO_LOG_SINK', 'DISK_FULL'] satisfies (
  Refusal['code'] | 'NO_LOG_SINK'
)[]);

/** The same error, or that `folder` is full where that is what lies behind it. */
export function sayIfFull(error: unknown, folder: string): unknown {
  const known = error instanceof AnyRefusal ? ` (${error.code})` : '';
  const full =
    isDiskFull(error) || (!(error instanceof AnyRefusal && explained.has(error.code)) && isFull(folder));
  return full ? new Refusal('DISK_FULL', `no room was left on the disk that it was built on${known}`) : error;
}
