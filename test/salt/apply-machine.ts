// SPDX-License-Identifier: GPL-2.0-or-later
// A dom0 for tests: a rig, a root, and a machine of VMs behind strict stand-ins for what only dom0 has.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Qubes } from './apply-qubes.js';
import { makeRig, type Applied, type Option, type Rig } from './rig.js';

export interface Qube {
  class: string;
  prefs: Record<string, unknown>;
  features: Record<string, string>;
  tags: string[];
  volumes: { private: number };
  running: boolean;
}
export interface Machine {
  repository: string[];
  vms: Record<string, Qube>;
}
export const gib = 1024 ** 3;
export const policyPath = 'etc/qubes/policy.d/30-build-infra.policy';

/** A Qubes machine as it is installed, with somebody's own VM. */
export function stockMachine(): Machine {
  const make = (of: string, prefs: Qube['prefs'], more: Partial<Qube> = {}): Qube => ({
    class: of,
    prefs: { label: 'black', ...prefs },
    features: {},
    tags: [],
    volumes: { private: 2 * gib },
    running: false,
    ...more,
  });
  return {
    repository: ['debian-13-minimal', 'fedora-43-minimal'],
    vms: {
      'fedora-43-xfce': make('TemplateVM', {}),
      'sys-net': make(
        'AppVM',
        { template: 'fedora-43-xfce', label: 'red', netvm: null, provides_network: true, autostart: true },
        { running: true, features: { 'service.clocksync': '1' }, tags: ['created-by-dom0'] },
      ),
      'sys-firewall': make(
        'AppVM',
        { template: 'fedora-43-xfce', netvm: 'sys-net', provides_network: true, autostart: true },
        { running: true },
      ),
      'sys-whonix': make('AppVM', {
        template: 'fedora-43-xfce',
        netvm: 'sys-firewall',
        provides_network: true,
      }),
      personal: make(
        'AppVM',
        { template: 'fedora-43-xfce', label: 'yellow' },
        { tags: ['mine'], features: { 'service.cups': '1' } },
      ),
    },
  };
}

export class Dom0 {
  private constructor(
    readonly qubes: Qubes,
    readonly rig: Rig,
  ) {}

  static async of(
    t: { teardown: (fn: () => void) => void },
    farm: object | string,
    options: { enable: Option[]; machine?: Machine },
  ): Promise<Dom0> {
    const rig = makeRig(t, { farm, enable: options.enable, config: { grains_cache: true } });
    const dom0 = new Dom0(new Qubes(t, rig), rig);
    dom0.machine = options.machine ?? stockMachine();
    await dom0.qubes.layOut('dom0');
    mkdirSync(dirname(dom0.policyFile), { recursive: true });
    return dom0;
  }

  get machine(): Machine {
    return JSON.parse(readFileSync(this.qubes.machine, 'utf8')) as Machine;
  }

  set machine(now: Machine) {
    writeFileSync(this.qubes.machine, JSON.stringify(now));
  }

  /** What somebody does by hand, between two runs. */
  byHand(change: (vms: Machine['vms']) => void): void {
    const now = this.machine;
    change(now.vms);
    this.machine = now;
  }

  get policyFile(): string {
    return join(this.qubes.root('dom0'), policyPath);
  }

  get policy(): string {
    return readFileSync(this.policyFile, 'utf8');
  }

  async run(args?: string[]): Promise<Applied> {
    const [done] = await this.qubes.call(['dom0'], args);
    return done?.get('dom0') as Applied;
  }

  async twice(): Promise<[Applied, Applied]> {
    const [first, second] = await this.qubes.call(['dom0'], undefined, 2);
    return [first?.get('dom0') as Applied, second?.get('dom0') as Applied];
  }
}

/** With the net VM on our template, as the first run asked for. */
export function readyMachine(template = 'debian-13-build-infra'): Machine {
  const machine = stockMachine();
  const blank = {
    class: 'TemplateVM',
    prefs: { label: 'black' },
    features: {},
    tags: [],
    volumes: { private: 2 * gib },
    running: false,
  };
  machine.vms['debian-13-minimal'] = structuredClone(blank);
  machine.vms[template] = { ...structuredClone(blank), tags: ['build-infra-template'] };
  (machine.vms['sys-net'] as Qube).prefs['template'] = template;
  return machine;
}

export const text = (done: Applied): string =>
  Object.values(done.states)
    .map(({ comment }) => comment)
    .join('\n');
