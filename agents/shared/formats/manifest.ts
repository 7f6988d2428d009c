// SPDX-License-Identifier: GPL-2.0-or-later
// The manifest of a role: what goes into its VMs, as data (salt/README.md). Types only: who lays it checks
// it, who looks at it has it built in.

export type Account = 'root' | 'user' | 'qubes';
/** Of VMs that have an agent. */
export type Role = 'build' | 'keys' | 'build-logs' | 'sys-net';
/** What a farm may do without. */
export type Option = 'ssh-proxy' | 'webhooks';
/**
 * What an entry of a manifest may depend on: an option, or that the pillar has `notify` for the VM's
 * environment.
 */
export type Condition = Option | 'notifier';
export type NeededKey = 'signing-key' | 'logs-key';
export type ListedKeys = NeededKey | 'maintainers';

export interface ManifestFolder {
  path: string;
  owner: Account;
  group: Account;
  /** four octal digits */
  mode: string;
}

/**
 * Exactly one of `source` (copied), `template` (rendered) and `link` (a symbolic link's target, as the VM
 * sees it; no mode).
 */
export interface ManifestFile {
  path: string;
  source?: string;
  template?: string;
  link?: string;
  owner: Account;
  group: Account;
  mode?: string;
  /** left out as long as the pillar has not these keys */
  needs?: NeededKey[];
  /** left out unless this is so in the VM */
  when?: Condition;
}

export interface Manifest {
  format: 'build-infra/manifest@1';
  role: Role | 'dom0';
  template?: { packages: Record<'Debian' | 'RedHat', string[]>; files: ManifestFile[] };
  vm: {
    features?: string[];
    folders?: ManifestFolder[];
    files: ManifestFile[];
    'public-keys'?: ListedKeys[];
  };
}

/** Of a VM that has an agent: with a template and features. */
export interface VmManifest extends Manifest {
  role: Role;
  template: NonNullable<Manifest['template']>;
  vm: Manifest['vm'] & { features: string[] };
}
