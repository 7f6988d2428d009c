// SPDX-License-Identifier: GPL-2.0-or-later
// The same trees as provision() lays, laid by the formula: as qubesctl does it, dom0 first, then the
// templates, then each VM, with the pillar that dom0 has for it and nothing else of dom0. A VM's tree has its
// template's /usr and /etc, so on a template that several roles share it has the units of all.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { findTree } from '../provision/checkout.js';
import type { Pillar } from '../provision/pillar.js';
import { answerOf, saltCall, stateRun } from './salt-call.js';
import { templateFolders, unpackedPackage } from './salt-package.js';
import { prepareSandbox, type SaltSandbox } from './salt-sandbox.js';

export interface BySaltOptions {
  /** becomes farm.yaml */
  pillar: Pillar;
  /** emptied at each call */
  work: string;
  /** the tree of dom0 or of a VM */
  rootOf: (machine: string) => string;
  /** where the trees of the templates are kept */
  templates: string;
  /** called as soon as one machine is done, with the paths that changed */
  done: (machine: string, changed: string[]) => void;
  /** the checkout; by default found above this program */
  tree?: string;
  /** where an unpacked package lies (unpackedPackage); by default it is made */
  unpacked?: string | undefined;
}

interface FarmVm {
  name: string;
  template: string;
}
/** id → its pillar, as dom0 renders it */
type Pillars = Record<string, { 'build-infra'?: { refused?: string; vms?: FarmVm[] } }>;

const formula = 'srv/formulas/base/build-infra';
const sideBySide = 2;
/** An include of the enabled top stands for topd, which would merge it with those of other formulas. */
const top = '{% include "build-infra/init.top" %}\n';

function write(path: string, content: string): void {
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, content);
}

function minion(id: string, pillarRoots: string[], fileRoots: string[], grains: object = {}): string {
  return JSON.stringify({
    id,
    file_client: 'local',
    root_dir: '/run/salt',
    file_roots: { base: fileRoots },
    pillar_roots: { base: pillarRoots },
    states_dirs: ['/run/stand-ins/_states'],
    grains,
    log_level_logfile: 'quiet',
    enable_fqdns_grains: false,
    enable_gpu_grains: false,
  });
}

/** Names are from the pillar, checked. */
class FarmSalt {
  readonly #options: BySaltOptions;
  readonly #tree: string;
  readonly #package: string;
  readonly #folders: string[];

  constructor(options: BySaltOptions) {
    this.#options = options;
    this.#tree = options.tree ?? findTree();
    rmSync(options.work, { recursive: true, force: true });
    this.#package = join(options.work, 'dom0');
    cpSync(options.unpacked ?? unpackedPackage(this.#tree, join(options.work, 'package')), this.#package, {
      recursive: true,
    });
    this.#folders = templateFolders(join(this.#package, formula, 'build-infra/manifests'));
    // What "qubesctl top.enable" of the formula and both options leaves.
    for (const root of ['salt', 'pillar']) write(join(this.#package, 'srv', root, 'top.sls'), top);
    mkdirSync(join(this.#package, 'srv/salt/_tops/base'), { recursive: true });
    for (const option of ['ssh-proxy', 'webhooks'])
      symlinkSync(
        `/${formula}/build-infra/${option}.top`,
        join(this.#package, `srv/salt/_tops/base/build-infra.${option}.top`),
      );
    write(
      join(this.#package, 'srv/pillar/base/build-infra/farm.yaml'),
      stringify({ 'build-infra': options.pillar }, { lineWidth: 0, aliasDuplicateObjects: false }),
    );
    // As on Qubes: Salt merges the lists of drop-ins, in the order of their names.
    write(join(this.#package, 'etc/salt/minion'), '{}');
    write(
      join(this.#package, 'etc/salt/minion.d/f_defaults.conf'),
      minion('dom0', ['/srv/pillar', '/srv/pillar/base'], ['/srv/salt'], {
        os: 'Qubes',
        os_family: 'RedHat',
      }),
    );
  }

  #sandbox(name: string, root: string, shown: SaltSandbox['shown']): SaltSandbox {
    const here = join(this.#tree, 'agents/local/provision-by-salt');
    return {
      name,
      root,
      folders: this.#folders,
      work: join(this.#options.work, 'machines', name),
      shown: [
        [join(this.#tree, '.venv-salt'), '/run/salt-venv'],
        [join(here, 'stand-ins'), '/run/stand-ins'],
        [here, '/run/by-salt'],
        ...shown,
      ],
    };
  }

  /** dom0's part. @returns what follows for the rest */
  async dom0(): Promise<{ vms: FarmVm[]; pillars: Pillars }> {
    const shown: SaltSandbox['shown'] = [
      [join(this.#package, 'srv'), '/srv'],
      [join(this.#package, 'etc/salt'), '/run/salt-config'],
    ];
    const asked = prepareSandbox(this.#sandbox('dom0', join(this.#options.work, 'asked'), shown));
    let pillars: Pillars;
    try {
      pillars = (await answerOf(
        'the pillars',
        asked.command(['/run/salt-venv/bin/python', '/run/by-salt/pillars.py']),
      )) as Pillars;
    } finally {
      asked.forget();
    }
    const own = pillars['dom0']?.['build-infra'];
    if (own?.vms === undefined) throw new Error(`the pillar is refused: ${own?.refused ?? 'dom0 has none'}`);
    const { vms } = own;
    const farm = join(this.#options.work, 'farm.json');
    write(farm, JSON.stringify(Object.fromEntries(vms.map(({ name, template }) => [name, template]))));
    const programs: SaltSandbox['shown'] = [
      [farm, '/run/farm.json'],
      [process.execPath, '/run/node'],
      [join(this.#tree, 'dist/build-infra.mjs'), '/run/build-infra.mjs'],
    ];
    const { command, forget } = prepareSandbox(
      this.#sandbox('dom0', this.#options.rootOf('dom0'), [...shown, ...programs]),
    );
    try {
      this.#options.done(
        'dom0',
        stateRun('dom0', await answerOf('dom0', command(saltCall('state.highstate')))).changed,
      );
    } finally {
      forget();
    }
    return { vms, pillars };
  }

  /** A template's part in its own tree, or a VM's own part in the VM's. */
  async #apply(id: string, root: string, pillars: Pillars): Promise<string[]> {
    const folder = join(this.#options.work, 'pillars', id);
    write(join(folder, 'pillar/top.sls'), "base:\n  '*': [combined]\n");
    write(join(folder, 'pillar/combined.sls'), `#!json\n${JSON.stringify(pillars[id])}`);
    write(join(folder, 'config/minion'), minion(id, ['/srv/pillar'], ['/srv/salt', `/${formula}`]));
    const { command, forget } = prepareSandbox(
      this.#sandbox(id, root, [
        [join(this.#package, 'srv/salt'), '/srv/salt'],
        [join(this.#package, 'srv/formulas'), '/srv/formulas'],
        [join(folder, 'pillar'), '/srv/pillar'],
        [join(folder, 'config'), '/run/salt-config'],
      ]),
    );
    try {
      return stateRun(id, await answerOf(id, command(saltCall('state.highstate')))).changed;
    } finally {
      forget();
    }
  }

  async template(name: string, pillars: Pillars): Promise<void> {
    await this.#apply(name, join(this.#options.templates, name), pillars);
  }

  async vm({ name, template }: FarmVm, pillars: Pillars): Promise<void> {
    const root = this.#options.rootOf(name);
    const fromTemplate = ['usr', 'etc'].flatMap((folder) =>
      mirror(join(this.#options.templates, template, folder), join(root, folder)).map(
        (path) => `/${folder}/${path}`,
      ),
    );
    this.#options.done(name, [...fromTemplate, ...(await this.#apply(name, root, pillars))]);
  }
}

/** The VM's /usr/local is its own. @returns what changed */
function mirror(from: string, to: string): string[] {
  mkdirSync(from, { recursive: true });
  mkdirSync(to, { recursive: true });
  const done = spawnSync(
    'rsync',
    [
      '--archive',
      '--omit-dir-times',
      '--checksum',
      '--delete',
      '--exclude=/local',
      '--out-format=%i %n',
      `${from}/`,
      `${to}/`,
    ],
    { encoding: 'utf8', timeout: 60_000 },
  );
  if (done.status !== 0) throw new Error(`rsync ended with ${done.status ?? done.signal}: ${done.stderr}`);
  return done.stdout
    .split('\n')
    .filter((line) => /^[^.\s]/.test(line))
    .map((line) => line.replace(/^\S+\s+/, ''));
}

async function inLanes<T>(all: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
  const rest = [...all];
  const lane = async (): Promise<void> => {
    for (let one = rest.shift(); one !== undefined; one = rest.shift()) await work(one);
  };
  await Promise.all(Array.from({ length: sideBySide }, lane));
}

/**
 * Needs root, or root of a user namespace (vm/root-namespace.ts). A second call changes nothing. @throws with
 * Salt's own words where a state fails
 */
export async function provisionBySalt(options: BySaltOptions): Promise<void> {
  const salt = new FarmSalt(options);
  const { vms, pillars } = await salt.dom0();
  await inLanes([...new Set(vms.map(({ template }) => template))], (template) =>
    salt.template(template, pillars),
  );
  await inLanes(vms, (vm) => salt.vm(vm, pillars));
}
