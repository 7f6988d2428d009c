// SPDX-License-Identifier: GPL-2.0-or-later
// The stand-in needs to be root: of the machine, or of a user namespace of its own. After this everything is
// the root case.
import { spawn, spawnSync } from 'node:child_process';

const inNamespace = 'BUILD_INFRA_NAMESPACE';
const unshare = ['--user', '--map-root-user', '--map-auto', '--mount'];
/** What every sandbox needs: an overlay over /usr, and bubblewrap with a /proc of its own. */
const probeScript =
  'mount -t overlay overlay -o ro,lowerdir=/usr:/etc /usr && exec bwrap --ro-bind / / --proc /proc --dev /dev --unshare-pid --unshare-net true';

/** The one line for a machine where it cannot work; undefined where it can. */
export function namespaceObstacle(): string | undefined {
  const root = process.geteuid?.() === 0;
  const probe = spawnSync(
    'unshare',
    [...(root ? ['--mount'] : unshare), '--propagation', 'private', '--', 'sh', '-c', probeScript],
    { encoding: 'utf8' },
  );
  if (probe.status === 0) return undefined;
  const why = (probe.error?.message ?? probe.stderr).trim().split('\n')[0] ?? '';
  return root
    ? `This root may not make sandboxes (${why}): run on a machine or in a container that allows mounts, with the package bubblewrap.`
    : `User namespaces are not allowed for this user, or not enough (${why}): run as root, or allow them (packages bubblewrap, uidmap and util-linux 2.38, an entry in /etc/subuid, kernel.apparmor_restrict_unprivileged_userns=0).`;
}

/**
 * Returns where this process is root already and may make sandboxes. Otherwise starts the same command line
 * again inside a user namespace and never returns: the exit status is that of the inner process. Where that
 * is not allowed, prints one line and exits with 1.
 */
export async function ensureRootNamespace(): Promise<void> {
  const root = process.geteuid?.() === 0;
  if (root && process.env[inNamespace] !== undefined) return;
  const obstacle =
    process.env[inNamespace] === undefined
      ? namespaceObstacle()
      : 'The user namespace did not make this process root.';
  if (obstacle !== undefined) {
    process.stderr.write(`${obstacle}\n`);
    process.exit(1);
  }
  if (root) return;
  const child = spawn(
    'unshare',
    [...unshare, '--', process.execPath, ...process.execArgv, ...process.argv.slice(1)],
    { stdio: 'inherit', env: { ...process.env, [inNamespace]: String(process.geteuid?.()) } },
  );
  // A terminal's Ctrl-C reaches the inner process by itself; it decides.
  process.on('SIGINT', () => undefined);
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  await new Promise<never>(() => {
    child.on('exit', (status, signal) => process.exit(status ?? (signal === null ? 1 : 128)));
  });
}
