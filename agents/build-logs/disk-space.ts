// SPDX-License-Identifier: GPL-2.0-or-later
// A build VM can fill the disk. New lines and new intents stop early enough that what is acknowledged can
// still be published.
import { statfs } from 'node:fs/promises';
import { Refusal } from './refusals.js';

export const diskFull = (): Refusal =>
  new Refusal('DISK_FULL', 'the build-logs VM has no room; what it acknowledged is kept');

/** Kept free for the publisher: 64 MiB, or a twentieth of a small disk. */
const reserveBytes = 64 * 1024 * 1024;

export function isDiskFull(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  return code === 'ENOSPC' || code === 'EDQUOT' || (error instanceof Refusal && error.code === 'DISK_FULL');
}

/** Bytes that are free on the file system of `folder` beyond the reserve; below 0 where it is touched. */
export async function roomIn(folder: string): Promise<number> {
  const about = await statfs(folder);
  return about.bavail * about.bsize - Math.min(reserveBytes, (about.blocks * about.bsize) / 20);
}

/** @throws Refusal DISK_FULL when less than the reserve is free on the file system of `folder` */
export async function demandRoom(folder: string): Promise<void> {
  if ((await roomIn(folder)) < 0) throw diskFull();
}
