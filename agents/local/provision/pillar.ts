// SPDX-License-Identifier: GPL-2.0-or-later
// The pillar: the one description of a farm, as dom0's Python has checked it (planned-farm.ts).

export type Family = 'Debian' | 'RedHat';

export interface Component {
  url: string;
  'full-name': string;
  tag: string;
}

/** How one environment treats a component; what is left out is as for the whole environment. */
export interface BuiltComponent {
  /** release lines by name */
  lines?: Record<string, { tag?: string; versions?: string; distributions: string[]; suites?: string }>;
  maintainers?: string[];
  'required-signatures'?: number;
}

/** What a VM of ours may have of its own; what is left out is the role's default (farm_vms.py) or Qubes'. */
export interface VmSettings {
  template?: string;
  /** size of the private volume, GiB */
  'private-gib'?: number;
  /** MiB */
  memory?: number;
  maxmem?: number;
  vcpus?: number;
}

export interface Distribution {
  engine: string;
  packages?: 'deb' | 'rpm';
  publisher?: 'agent' | 'engine';
  options?: Record<string, string | number | boolean | string[]>;
}

/** Built by signed commands alone. */
export interface Template {
  releases: string[];
  engine: string;
  distribution: string;
  repository: 'templates-itl' | 'templates-community';
  'build-seconds'?: number;
  options?: Distribution['options'];
}

/** What one key may command; what is left out, nothing. */
export interface Commander {
  key: string;
  verbs?: string[];
  components?: 'all' | string[];
  distributions?: 'all' | string[];
  repositories?: string[];
  templates?: 'all' | string[];
}

/** What becomes notify.json; the token is made by hand in the VM. */
export interface Notify {
  account: string;
  repository: string;
  release: string;
  distributions: Record<string, { set: 'host' | 'vm'; family: string; name?: string }>;
  'issues-repository'?: string;
  'comment-in'?: string[];
  'base-url'?: string;
  'web-url'?: string;
  templates?: string;
  'dry-run'?: boolean;
}

export interface BuildEnv {
  build?: VmSettings;
  keys?: VmSettings;
  logs: string;
  netvm: string;
  key: string | null;
  anchor?: string | null;
  'journal-key'?: string | null;
  distributions: Record<string, Distribution>;
  templates?: Record<string, Template>;
  /** `valid-days`: so long a Release is valid; left out or null: for ever */
  apt?: { upload: string; url: string; origin?: string; label?: string; 'valid-days'?: number | null };
  dnf?: { upload: string; url: string };
  /** where the published logs are read, of a required remote; left out or null: nowhere */
  publication?: { url: string } | null;
  promotion?: { 'min-age-days'?: number };
  'status-page'?: { upload: string; url: string };
  'logs-url'?: string;
  /** what is said on GitHub; left out: nothing */
  notify?: Notify;
  maintainers: Record<string, string>;
  'required-signatures': number;
  components: Record<string, BuiltComponent>;
  /** signed commands in comments; left out: none */
  commands?: {
    releases: string[];
    'window-seconds'?: number;
    'distribution-words'?: Record<string, string>;
    people: Record<string, Commander>;
  };
  'poll-seconds'?: number;
  'build-seconds'?: number;
  'grant-seconds'?: number;
  'payload-bytes'?: number;
}

export interface LogsVm extends VmSettings {
  netvm: string;
  key: string | null;
  remotes: Record<string, { url: string; required: boolean }>;
  'publish-seconds'?: number;
  'intent-seconds'?: number;
  'reopen-seconds'?: number;
  'log-bytes'?: number;
  'open-logs'?: number;
  'intents-per-day'?: number;
  'intent-bytes-per-day'?: number;
}

/** What stands under the pillar's top key `build-infra`. */
export interface Pillar {
  'net-vm': string;
  /** a VM of its own behind the net VM for local.ConnectSSH; without it the net VM answers */
  'ssh-proxy-vm'?: string;
  /** Templates of ours, each a clone of `source`. */
  templates: Record<string, { source: string; family: Family }>;
  /** of every VM that names no other */
  template: string;
  /** `vm`: a VM of its own behind the net VM; without it the net VM receives webhooks itself */
  webhook: VmSettings & {
    vm?: string;
    port: number;
    address?: string;
    tls?: boolean;
    'body-bytes'?: number;
    'forge-addresses'?: string[];
    proxy?: { addresses: string[]; tells: string };
    api?: string | null;
    comments?: string[];
  };
  'ssh-hosts': Record<string, { address: string; port: number; 'host-keys': string[] }>;
  'public-keys': Record<string, string>;
  components: Record<string, Component>;
  'logs-vms': Record<string, LogsVm>;
  'build-envs': Record<string, BuildEnv>;
}
