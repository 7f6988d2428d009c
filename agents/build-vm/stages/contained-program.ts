// SPDX-License-Identifier: GPL-2.0-or-later
// An engine runs among processes and mounts of its own: when it is over, however it ended, so is all that it
// started, and no mount of it is left in a folder that is removed next. Engines jail what they build; this is
// for what an engine itself forgets. Among them is a /run/user/0 of its own: gpg puts its sockets there;
// without, in its home, and fails where the path of that is longer than a socket's may be (107 bytes), as in
// a job's folder.
import { beyondCancellation } from '../../shared/programs/cancellation.js';
import { commandSucceeds } from '../../shared/programs/program.js';

const own = ['unshare', '--mount', '--pid', '--fork', '--kill-child=SIGKILL'];
// A farm inside a container may not mount a /proc of its own; only root makes namespaces at all.
const runUser = [
  'sh',
  '-c',
  'mkdir -p /run/user && mount -t tmpfs -o mode=755 tmpfs /run/user && mkdir -m 700 /run/user/0 && exec "$@"',
  'sh',
];
const ways: readonly (readonly string[])[] = [
  [...own, '--mount-proc', '--', ...runUser],
  [...own, '--', ...runUser],
];
let chosen: Promise<readonly string[]> | undefined;

async function choose(): Promise<readonly string[]> {
  for (const way of ways) if (await commandSucceeds([...way, 'true'])) return way;
  return [];
}

/** The argv that runs `argv` so; `argv` itself where this agent is not root, as in some tests. */
export async function contained(argv: readonly string[]): Promise<string[]> {
  chosen ??= beyondCancellation(choose);
  return [...(await chosen), ...argv];
}
