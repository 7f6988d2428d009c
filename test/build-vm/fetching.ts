// SPDX-License-Identifier: GPL-2.0-or-later
// A component at a real forge and a job that is about to be fetched, for tests in which one thing is bad and
// all else good. Keys and forge are made once for a test file.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Component, Config } from '../../agents/build-vm/configuration/config.js';
import type { DownloadLimits } from '../../agents/build-vm/source/downloads.js';
import { fetchSource, fetchTarget, type FetchTarget } from '../../agents/build-vm/stages/fetch-stage.js';
import { listRemoteTags } from '../../agents/build-vm/source/git.js';
import { newJob, type Evidence } from '../../agents/build-vm/jobs/job-document.js';
import type { HighestVersion } from '../../agents/build-vm/jobs/job-queue.js';
import type { LineSink } from '../../agents/shared/programs/logged-program.js';
import { AnyRefusal } from '../../agents/shared/refusal.js';
import { Forge, Keys, writeKeys, type TestRepository } from './forge.js';

export const keys = new Keys();
export const forge = new Forge();
export const alice = keys.make('alice');
export const bob = keys.make('bob');
export const stranger = keys.make('stranger');
keys.make('carol');
keys.gpg(['--quick-add-key', keys.exported('carol').fingerprint, 'ed25519', 'sign', 'never']);
keys.gpg(['--quick-add-key', keys.exported('carol').fingerprint, 'ed25519', 'sign', 'never']);
export const carol = keys.exported('carol');
const publicKeys = mkdtempSync(join(tmpdir(), 'bi-keys-'));
writeKeys(publicKeys, [alice, bob, carol]);
await forge.start();

export function endForge(): void {
  forge.end();
  keys.end();
  rmSync(publicKeys, { recursive: true });
}

const targetsFor = (kinds: readonly ('deb' | 'rpm')[]): FetchTarget[] =>
  kinds.map((packages) =>
    fetchTarget({ name: packages === 'deb' ? 'bookworm' : 'fc41', packages, engine: packages }),
  );

let count = 0;
export interface Situation {
  repository: TestRepository;
  component: Component;
  /** the job's */
  folder: string;
  fetch: (
    tag?: string,
    options?: {
      highest?: HighestVersion;
      componentsOf?: string[];
      now?: Date;
      keys?: string;
      version?: string;
      object?: string;
      packages?: ReadonlySet<'deb' | 'rpm'>;
      targets?: FetchTarget[];
      downloads?: DownloadLimits;
    },
  ) => Promise<{
    evidence: Evidence;
    folder: string;
    lines: string[];
    nothing: string[];
    modules: Record<string, string>;
  }>;
  code: (...args: Parameters<Situation['fetch']>) => Promise<string>;
}

export function situation(
  test: { teardown: (handler: () => void) => void },
  change: Partial<Component> = {},
): Situation {
  const name = `hello${count++}`;
  const repository = forge.create(name);
  const component: Component = {
    name: 'hello-tiny',
    url: forge.url(name),
    tag: 'v{version}',
    requiredSignatures: 1,
    maintainers: [
      { name: 'alice', fingerprint: alice.fingerprint },
      { name: 'bob', fingerprint: bob.fingerprint },
      { name: 'carol', fingerprint: carol.fingerprint },
    ],
    ...change,
  };
  const folder = mkdtempSync(join(tmpdir(), 'bi-fetch-'));
  test.teardown(() => rmSync(folder, { recursive: true }));
  const config = {
    env: 'debian',
    distributions: [{ name: 'bookworm', engine: 'debian', packages: 'deb' }],
    signingKey: 'F'.repeat(40),
    apt: {},
  } as unknown as Config;
  const lines: string[] = [];
  const log: LineSink = {
    say: (text) => void lines.push(text),
    tool: (line) => lines.push(line.toString()) > 0,
    drained: async () => undefined,
    whenFailed: new Promise(() => undefined),
  };
  const options = {
    forge: { sshConfig: '/dev/null', timeoutMs: 30_000 },
    publicKeys,
    folder,
    targets: targetsFor(['deb']),
  };
  const fetch: Situation['fetch'] = async (tag = 'v1.0-1', change = {}) => {
    const shown = (await listRemoteTags(component.url, options.forge)).find((remote) => remote.name === tag);
    const job = newJob(
      config,
      component,
      {
        tag,
        tagObject: change.object ?? shown?.object ?? '0'.repeat(40),
        version: change.version ?? tag.slice(1),
      },
      1,
      new Date(),
    );
    const found = await fetchSource(
      job,
      component,
      {
        ...options,
        publicKeys: change.keys ?? publicKeys,
        targets:
          change.targets ??
          (change.packages === undefined ? options.targets : targetsFor([...change.packages])),
        highest: change.highest,
        componentsOf: () => change.componentsOf ?? [],
        now: change.now ?? new Date(),
        ...(change.downloads === undefined ? {} : { downloads: change.downloads }),
      },
      log,
    );
    return { evidence: found.evidence, folder, lines, nothing: found.nothing, modules: found.modules };
  };
  return {
    repository,
    component,
    folder,
    fetch,
    code: (...args) =>
      fetch(...args).then(
        () => 'none',
        (error: unknown) => (error instanceof AnyRefusal ? error.code : String((error as Error).stack)),
      ),
  };
}
