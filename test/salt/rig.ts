// SPDX-License-Identifier: GPL-2.0-or-later
// Real Salt over the installed tree, without Qubes: a folder with the roots and the minion configuration of a
// dom0, in which ids are rendered as qubesctl renders them (pillar and top in dom0 with dom0's grains; a VM's
// states with its own grains and only the pillar that dom0 gave it).
//
//   await test('…', salted, async (t) => {                 salted: skips, with the reason, where there is no
//   Salt
//     const rig = makeRig(t, { farm: example(), enable: ['webhooks'] });
//     rig.setFarm(pillar | text | null)                     farm.yaml again; null removes it
//     rig.enable(['ssh-proxy', 'webhooks'])                 which option tops are on, from now
//     await rig.render(['dom0', 'keys-debian'])             Map of id → Rendered; one process, about 0.3 s an
//     id
//     await rig.renderFarms([{ farm, ids }, …])             the same for many farms, a list in their order
//     await rig.pillarItems(id) / showTop(id) / highstate(id) / lowstate(id)   one of them alone; the last
//     two throw on a render error
//     await rig.prepare(id)                                 { config, grains }: a --config-dir for salt-call
//     as that id
//     rig.saltCall(config, ['state.highstate'])             the argv of it: JSON out, exit status passed
//     through
//     await rig.apply(id, { inside: (argv) => [...], test })   runs state.highstate; `inside` puts the argv
//     into a chroot or a namespace: it
//                                                           is required, because the states write to /etc and
//                                                           /rw of wherever they run
//   });
//
// What is where below rig.folder: root/ the installed tree (root/srv/…, root/etc/salt/…), dom0/minion the
// configuration, run/ Salt's root_dir, vm/<id>/ what a VM's run needs, machine.json the dom0 of the stand-ins
// (the VMs with network unless given), whose programs come first in PATH. The stand-ins of
// test/salt/stand-ins/{_modules,_states} are loaded for every id, unless standIns: false. rig.environment is
// what all runs get.
import { execFileSync, spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse, stringify } from 'yaml';

export const top = join(dirname(fileURLToPath(import.meta.url)), '../../..');
const sources = join(top, 'test/salt');
const environment = join(top, '.venv-salt');
export const saltPython = join(environment, 'bin/python');

const { saltMissing } = (await import(join(sources, 'install.mjs'))) as {
  saltMissing: () => string | undefined;
};
const missing = saltMissing();
/** Options for every test that needs Salt. */
export const salted: { skip: string | false } = {
  skip: missing === undefined ? false : `Salt is not here: ${missing}`,
};

export type Option = 'ssh-proxy' | 'webhooks';
export type Grains = Record<string, unknown>;
/** What dom0 and the two families say of themselves; no state may ask for more. */
export const grains = {
  dom0: {
    os: 'Qubes',
    os_family: 'RedHat',
    osmajorrelease: 4,
    osrelease: '4.3',
    kernel: 'Linux',
    init: 'systemd',
  },
  Debian: {
    os: 'Debian',
    os_family: 'Debian',
    osmajorrelease: 13,
    osrelease: '13',
    oscodename: 'trixie',
    kernel: 'Linux',
    init: 'systemd',
  },
  RedHat: {
    os: 'Fedora',
    os_family: 'RedHat',
    osmajorrelease: 43,
    osrelease: '43',
    kernel: 'Linux',
    init: 'systemd',
  },
} satisfies Record<string, Grains>;

export interface Low {
  state: string;
  fun: string;
  name: string;
  __id__: string;
  __sls__: string;
  [key: string]: unknown;
}
export interface Rendered {
  id: string;
  pillar: Record<string, unknown>;
  /** What a refusal says: Salt's own errors of pillar, top, highstate and lowstate, each one line or more. */
  errors: string[];
  top: Record<string, string[]>;
  /**
   * Each enabled top of ours by its file's name, as a VM's own run (dom0's, for dom0) renders it; empty
   * unless asked for.
   */
  tops: Record<string, unknown>;
  highstate: Record<string, Record<string, unknown>>;
  lowstate: Low[];
  /**
   * Whether a VM's own run, with its own grains and pillar, has the same top as dom0 saw for it; undefined
   * where dom0 saw none.
   */
  sameTopInVm: boolean | undefined;
  /** What lint.py has to say about the states, one line each; empty unless asked for. */
  lint: string[];
  config: string;
  seconds: number;
}
export interface Returned {
  result: boolean | null;
  comment: string;
  changes: Record<string, unknown>;
  name: string;
  __id__?: string;
  __sls__?: string;
  __run_num__?: number;
}
export interface Applied {
  status: number | null;
  states: Record<string, Returned>;
  errors: string[];
  stderr: string;
}

type Changes = [path: string, change: null | { link: string } | { text: string }][];
/** What the machine of a farm has already. */
const netVms = ['sys-net', 'sys-firewall', 'sys-whonix', 'Yes'];
const allOptions: Option[] = ['ssh-proxy', 'webhooks'];
const farmPath = 'srv/pillar/base/build-infra/farm.yaml';
const farmText = (farm: object | string | null): string | null =>
  farm === null || typeof farm === 'string'
    ? farm
    : stringify({ 'build-infra': farm }, { aliasDuplicateObjects: false });

interface Ending {
  teardown: (fn: () => void) => void;
}

/** A clean environment: what the caller exports reaches neither Salt nor, through salt-ssh, the target. */
export function cleanEnvironment(more: Record<string, string> = {}): Record<string, string> {
  return {
    PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
    LANG: 'C.UTF-8',
    LC_ALL: 'C.UTF-8',
    HOME: '/nonexistent',
    PYTHONDONTWRITEBYTECODE: '1',
    PYTHONWARNINGS: 'ignore',
    ...more,
  };
}

/** Another program's output, within limits; never a shell. */
export function run(
  argv: string[],
  options: { input?: string; env?: Record<string, string>; seconds?: number } = {},
): Promise<{ status: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(argv[0] as string, argv.slice(1), {
      env: options.env ?? cleanEnvironment(),
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    const timer = setTimeout(() => child.kill('SIGKILL'), (options.seconds ?? 300) * 1000);
    child.stdout.on('data', (data: Buffer) => out.push(data));
    child.stderr.on('data', (data: Buffer) => err.push(data));
    child.stdin.on('error', () => undefined);
    child.on('error', reject);
    child.on('close', (status) => {
      clearTimeout(timer);
      resolve({ status, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() });
    });
    child.stdin.end(options.input ?? '');
  });
}

let staged: string | undefined;
/** The installed tree, made once per process by `make install`; do not change it, every rig has a copy. */
export function installedTree(): string {
  if (staged !== undefined) return staged;
  const from = process.env['BUILD_INFRA_INSTALLED_TREE'];
  if (from !== undefined) return (staged = from);
  const folder = mkdtempSync(join(tmpdir(), 'build-infra-tree-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  execFileSync('make', ['-s', '-C', top, 'install', `DESTDIR=${folder}`], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: cleanEnvironment(),
  });
  return (staged = folder);
}

export interface RigOptions {
  /** farm.yaml: what stands under `build-infra:`, or the file's text, or null for none. */
  farm: object | string | null;
  enable?: Option[];
  /** More file roots, before ours (stand-ins for what other formulas bring). */
  fileRoots?: string[];
  standIns?: boolean;
  /** More of the minion configuration. */
  config?: Record<string, unknown>;
  /** What the stand-ins' dom0 knows. */
  machine?: object;
}

export type Part = 'top' | 'tops' | 'highstate' | 'lowstate' | 'lint';
interface Request {
  ids: string[];
  want?: Part[];
  grains?: Grains;
  farm?: object | string | null;
  enable?: Option[];
}

export class Rig {
  readonly folder: string;
  readonly root: string;
  readonly environment: Record<string, string>;

  constructor(options: RigOptions) {
    this.folder = mkdtempSync(join(tmpdir(), 'build-infra-salt-'));
    this.root = join(this.folder, 'root');
    cpSync(installedTree(), this.root, { recursive: true });
    for (const name of ['srv/salt/_tops/base', 'srv/pillar/_tops/base', 'run'])
      mkdirSync(join(this.root, name), { recursive: true });
    const dropIn = parse(
      readFileSync(join(this.root, 'etc/salt/minion.d/qubes-build-infra.conf'), 'utf8'),
    ) as { file_roots: { base: string[] } };
    const standIns = (name: string): string[] =>
      options.standIns !== false && existsSync(join(sources, 'stand-ins', name))
        ? [join(sources, 'stand-ins', name)]
        : [];
    const config = {
      id: 'dom0',
      file_client: 'local',
      root_dir: join(this.folder, 'run'),
      log_level: 'error',
      log_level_logfile: 'quiet',
      enable_fqdns_grains: false,
      enable_gpu_grains: false,
      fileserver_limit_traversal: false,
      state_verbose: true,
      disable_modules: ['git'],
      grains: grains.dom0,
      file_roots: {
        base: [
          join(this.root, 'srv/salt'),
          ...(options.fileRoots ?? []),
          ...dropIn.file_roots.base.map((path) => join(this.root, path)),
        ],
      },
      pillar_roots: { base: [join(this.root, 'srv/pillar'), join(this.root, 'srv/pillar/base')] },
      module_dirs: standIns('_modules'),
      states_dirs: standIns('_states'),
      ...options.config,
    };
    this.environment = cleanEnvironment({
      PATH: `${join(sources, 'stand-ins/bin')}:${cleanEnvironment()['PATH']}`,
      BUILD_INFRA_MACHINE: join(this.folder, 'machine.json'),
    });
    writeFileSync(
      join(this.folder, 'machine.json'),
      JSON.stringify(
        options.machine ?? {
          vms: Object.fromEntries(
            netVms.map((name) => [
              name,
              {
                class: 'AppVM',
                prefs: { provides_network: true },
                features: {},
                tags: [],
                volumes: {},
                running: true,
              },
            ]),
          ),
        },
      ),
    );
    mkdirSync(join(this.folder, 'dom0'));
    writeFileSync(join(this.folder, 'dom0/minion'), JSON.stringify(config, undefined, 1));
    this.setFarm(options.farm);
    this.enable(options.enable ?? []);
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  setFarm(farm: object | string | null): void {
    const text = farmText(farm);
    if (text === null) rmSync(join(this.root, farmPath), { force: true });
    else writeFileSync(join(this.root, farmPath), text);
  }

  /**
   * As `qubesctl top.enable` leaves it: absolute links below _tops, and a top.sls that merges what they name.
   */
  enable(options: Option[], reversed = false): void {
    for (const [path, change] of this.enabling(options, reversed)) {
      rmSync(path, { force: true });
      if (change === null) continue;
      if ('link' in change) symlinkSync(change.link, path);
      else writeFileSync(path, change.text);
    }
  }

  private enabling(options: Option[], reversed: boolean): Changes {
    const formula = (this.config() as { file_roots: { base: string[] } }).file_roots.base
      .map((root) => join(root, 'build-infra'))
      .find((path) => existsSync(join(path, 'manifests'))) as string;
    const found: Changes = [];
    for (const [root, below, enabled] of [
      ['srv/salt', formula, options],
      ['srv/pillar', join(this.root, 'srv/pillar/base/build-infra'), []],
    ] as const) {
      const path = (name: string): string => join(below, `${name}.top`);
      const link = (name: string): string =>
        join(this.root, root, '_tops/base', `build-infra${name === 'init' ? '' : `.${name}`}.top`);
      const tops = ['init', ...enabled].filter((name) => existsSync(path(name)));
      found.push(
        ...allOptions.map((name): Changes[number] => [link(name), null]),
        ...['init', ...enabled].map((name): Changes[number] => [link(name), { link: path(name) }]),
      );
      const text = `${readFileSync(join(sources, 'top.py'), 'utf8')}\n\nTOPS = ${JSON.stringify(tops.map(path))}\nREVERSED = ${reversed ? 'True' : 'False'}\n`;
      found.push([join(this.root, root, 'top.sls'), { text }]);
    }
    return found;
  }

  /** Another enabled pillar, which Salt merges into ours. */
  setForeignPillar(text: string): void {
    writeFileSync(join(this.root, 'srv/pillar/foreign.sls'), text);
    const top = join(this.root, 'srv/pillar/top.sls');
    const enabled = readFileSync(top, 'utf8');
    if (!enabled.includes('def ours'))
      writeFileSync(
        top,
        `${enabled.replace('def run():', 'def ours():')}\n\ndef run():\n    return {'base': {'*': ['build-infra', 'foreign']}}\n`,
      );
  }

  config(): Record<string, unknown> {
    return JSON.parse(readFileSync(join(this.folder, 'dom0/minion'), 'utf8')) as Record<string, unknown>;
  }

  /**
   * Renders ids in one process. `want` says what beside the pillar; `hashSeed` turns round whatever rests on
   * the order of a Python set.
   */
  async render(
    ids: string[],
    options: { want?: Part[]; hashSeed?: number; grains?: Grains } = {},
  ): Promise<Map<string, Rendered>> {
    return (await this.renderFarms([{ ids, ...options }], options.hashSeed))[0] as Map<string, Rendered>;
  }

  /** One process for many: each request may bring its own farm.yaml and options, which stay. */
  async renderFarms(requests: Request[], hashSeed = 0): Promise<Map<string, Rendered>[]> {
    const jobs = requests.map((one) => ({
      ids: one.ids,
      want: one.want ?? ['top', 'highstate', 'lowstate'],
      grains: one.grains,
      files: [
        ...(one.farm === undefined
          ? []
          : [[join(this.root, farmPath), one.farm === null ? null : { text: farmText(one.farm) }]]),
        ...(one.enable === undefined ? [] : this.enabling(one.enable, false)),
      ],
    }));
    return this.drive(jobs, hashSeed);
  }

  private async drive(jobs: object[], hashSeed: number): Promise<Map<string, Rendered>[]> {
    const input = JSON.stringify({ rig: this.folder, grains, jobs });
    const done = await run([saltPython, join(sources, 'render.py')], {
      input,
      env: { ...this.environment, PYTHONHASHSEED: String(hashSeed) },
      seconds: 600,
    });
    if (done.status !== 0)
      throw new Error(`render.py ended with ${done.status}: ${done.stderr.slice(-4000)}`);
    const answers = jobs.map(() => new Map<string, Rendered>());
    for (const line of done.stdout.split('\n').filter((text) => text !== '')) {
      const found = JSON.parse(line) as Record<string, unknown>;
      answers[found['job'] as number]?.set(found['id'] as string, rendered(found));
    }
    return answers;
  }

  /** The lint of state files planted into dom0's top, by their names: what a linter's own test wants. */
  async lintPlanted(files: Map<string, string>): Promise<Rendered> {
    const put = [...files].map(([name, text]) => [join(this.root, 'srv/salt', `${name}.sls`), { text }]);
    const top = [
      join(this.root, 'srv/salt/top.sls'),
      { text: JSON.stringify({ base: { '*': [...files.keys()] } }) },
    ];
    return (await this.drive([{ ids: ['dom0'], want: ['lint'], files: [...put, top] }], 0))[0]?.get(
      'dom0',
    ) as Rendered;
  }

  private async one(id: string, want: Part[]): Promise<Rendered> {
    const found = (await this.render([id], { want })).get(id) as Rendered;
    if (found.errors.length > 0 && want.some((name) => name !== 'top'))
      throw new Error(found.errors.join('\n'));
    return found;
  }

  async pillarItems(id: string): Promise<Record<string, unknown>> {
    return (await this.one(id, [])).pillar;
  }

  async showTop(id: string): Promise<Record<string, string[]>> {
    return (await this.one(id, ['top'])).top;
  }

  async highstate(id: string): Promise<Rendered['highstate']> {
    return (await this.one(id, ['highstate'])).highstate;
  }

  async lowstate(id: string): Promise<Low[]> {
    return (await this.one(id, ['lowstate'])).lowstate;
  }

  /** The configuration for a salt-call as that id; for a VM with the pillar as dom0 gives it now. */
  async prepare(id: string): Promise<{ config: string; pillar: Record<string, unknown> }> {
    return this.one(id, []);
  }

  saltCall(config: string, args: string[]): string[] {
    return [
      saltPython,
      join(environment, 'bin/salt-call'),
      '--config-dir',
      config,
      '--local',
      '--out=json',
      '--out-indent=-1',
      '--retcode-passthrough',
      '-l',
      'error',
      '--no-color',
      ...args,
    ];
  }

  /** The highstate of an id, for real. `inside` has to keep it off this machine's own files. */
  async apply(
    id: string,
    options: { inside: (argv: string[]) => string[]; test?: boolean; args?: string[]; seconds?: number },
  ): Promise<Applied> {
    const { config } = await this.prepare(id);
    const argv = this.saltCall(config, [
      ...(options.args ?? ['state.highstate']),
      ...(options.test === true ? ['test=True'] : []),
    ]);
    const done = await run(options.inside(argv), { env: this.environment, seconds: options.seconds ?? 600 });
    let local: unknown;
    try {
      local = (JSON.parse(done.stdout) as { local: unknown }).local;
    } catch {
      return { status: done.status, states: {}, errors: [done.stdout.trim()], stderr: done.stderr };
    }
    if (local === null || typeof local !== 'object' || Array.isArray(local))
      return { status: done.status, states: {}, errors: [local].flat().map(String), stderr: done.stderr };
    return {
      status: done.status,
      states: local as Record<string, Returned>,
      errors: [],
      stderr: done.stderr,
    };
  }
}

function rendered(found: Record<string, unknown>): Rendered {
  const errors: string[] = [];
  const part = <T>(name: string, empty: T, good: (value: unknown) => boolean): T => {
    const value = found[name];
    if (value === undefined) return empty;
    if (good(value)) return value as T;
    errors.push(...(Array.isArray(value) ? value.map(String) : [JSON.stringify(value)]));
    return empty;
  };
  const mapping = (value: unknown): boolean =>
    value !== null && typeof value === 'object' && !Array.isArray(value);
  const pillar = part<Record<string, unknown>>('pillar', {}, mapping);
  if (Array.isArray(pillar['_errors'])) errors.push(...pillar['_errors'].map(String));
  return {
    id: found['id'] as string,
    pillar,
    errors,
    config: found['config'] as string,
    seconds: found['seconds'] as number,
    top: part('top', {}, mapping),
    tops: (found['tops'] ?? {}) as Record<string, unknown>,
    highstate: part('highstate', {}, mapping),
    lowstate: part<Low[]>('lowstate', [], (value) => Array.isArray(value) && value.every(mapping)),
    lint: (found['lint'] ?? []) as string[],
    sameTopInVm: found['same-top-in-vm'] as boolean | undefined,
  };
}

/** A rig that is removed when the test ends. */
export function makeRig(t: Ending, options: RigOptions): Rig {
  const rig = new Rig(options);
  t.teardown(() => rig.remove());
  return rig;
}
