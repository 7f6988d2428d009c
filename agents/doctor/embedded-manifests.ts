// SPDX-License-Identifier: GPL-2.0-or-later
// What belongs into the VMs of each role: salt/build-infra/manifests/*.yaml, which Salt and the provisioner read too, so that nothing is written
// twice. agents/bundle.mjs puts their content in place of the empty list below; the program that runs in a VM needs no YAML.

export type Account = 'root' | 'user' | 'qubes';
export type Role = 'build' | 'keys' | 'build-logs' | 'sys-net';
export type NeededKey = 'signing-key' | 'logs-key';

export interface LaidFolder {
  path: string;
  owner: Account;
  group: Account;
  /** four octal digits */
  mode: string;
}

export interface LaidFile {
  path: string;
  source?: string;
  template?: string;
  link?: string;
  owner: Account;
  group: Account;
  mode?: string;
  needs?: NeededKey[];
  /** an option of the farm: laid only where this VM has it */
  when?: string;
}

export interface Manifest {
  role: Role;
  template: { packages: Record<'Debian' | 'RedHat', string[]>; files: LaidFile[] };
  vm: { features: string[]; folders?: LaidFolder[]; files: LaidFile[]; 'public-keys'?: (NeededKey | 'maintainers')[] };
}

export const embeddedManifests: readonly Manifest[] = [];
