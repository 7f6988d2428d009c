// SPDX-License-Identifier: GPL-2.0-or-later
// What the local farm remembers between runs: one folder, in the checkout unless told otherwise.
import { createServer } from 'node:net';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readIfThere, writeDurably } from '../../shared/durable-files.js';
import type { ForgePorts } from '../outside/forge.js';

export interface LocalSettings {
  ports: ForgePorts & { webhook: number };
  /**
   * the distributions that are built for: this machine's own first, and one beside it that its mirror has as
   * well
   */
  dists: string[];
  /** sources that were imported so far */
  components: string[];
  /**
   * RPM components that were made so far: the environment `rpm` is there as soon as there is one. Not in
   * folders of earlier versions
   */
  rpmComponents?: string[];
  /** keys of the maintainers of components that are none of Alice's */
  foreign?: Record<string, { fingerprint: string; publicKey: string }[]>;
  /**
   * what a release team has beside the farm, since the first `demo-promotion`: packages wait so many days in
   * testing; a GitHub that listens on these ports and knows this token
   */
  releaseTeam?: { minAgeDays: number; github: { port: number; shownPort: number; token: string } };
}

/** The signing domains of the local farm, each a pair of VMs. */
export type LocalEnv = 'debian' | 'rpm';
export const envOf = (settings: LocalSettings, component: string): LocalEnv =>
  settings.rpmComponents?.includes(component) === true ? 'rpm' : 'debian';
export const envsOf = (settings: LocalSettings): LocalEnv[] =>
  settings.rpmComponents === undefined ? ['debian'] : ['debian', 'rpm'];

export class LocalState {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
    for (const name of ['vms', 'logs', 'tmp']) mkdirSync(join(folder, name), { recursive: true });
  }

  rootOf(machine: string): string {
    return join(this.folder, 'vms', machine);
  }

  get pillarFile(): string {
    return join(this.folder, 'pillar.yaml');
  }

  get policyFolder(): string {
    return join(this.rootOf('dom0'), 'etc/qubes/policy.d');
  }

  async settings(): Promise<LocalSettings> {
    const before = readIfThere(join(this.folder, 'settings.json'));
    if (before !== undefined) return JSON.parse(before.toString()) as LocalSettings;
    const [ssh, git, http, webhook] = (await freePorts(4)) as [number, number, number, number];
    const settings = { ports: { ssh, git, http, webhook }, dists: distributions(), components: ['hello'] };
    this.save(settings);
    return settings;
  }

  save(settings: LocalSettings): void {
    writeDurably(join(this.folder, 'settings.json'), `${JSON.stringify(settings, null, 1)}\n`);
  }
}

function codename(): string {
  const found = /^VERSION_CODENAME="?([a-z]+)"?$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1];
  if (found === undefined)
    throw new Error('/etc/os-release names no VERSION_CODENAME: this needs Debian or Ubuntu');
  return found;
}

/** What is built for besides the machine's own, where it is known that a mirror of the one has the other. */
const besides: Record<string, string> = {
  bookworm: 'trixie',
  trixie: 'bookworm',
  jammy: 'noble',
  noble: 'jammy',
};

function distributions(): string[] {
  const own = codename();
  const other = besides[own];
  return other === undefined ? [own] : [own, other];
}

export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<ReturnType<typeof createServer>>((resolve) => {
          const server = createServer();
          server.listen(0, '127.0.0.1', () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
