// SPDX-License-Identifier: GPL-2.0-or-later
// Which VM this is: its roles (features that dom0 switched on), its configuration, its options. Every other
// check starts from here.
import { printable } from '../shared/refusal.js';
import type { Role, VmManifest } from '../shared/formats/manifest.js';
import type { Report } from './finding.js';
import { look, readText, type Machine } from './machine.js';

export const configFolder = '/rw/config/build-infra';
export const stateFolder = '/var/lib/build-infra';
/** The agent's account: root where the engine makes chroots. */
export const agentAccount = (role: Role): 'root' | 'user' => (role === 'build' ? 'root' : 'user');

/**
 * The fields of the four configuration documents that the doctor uses (docs/formats.md); the agents check the
 * rest at their start.
 */
export interface Configuration {
  vm?: string;
  env?: string;
  logsVm?: string;
  logsKey?: string;
  signingKey?: string;
  signingKeys?: string[];
  remotes?: { name: string; url: string }[];
  journalKey?: string | null;
  sources?: { vm: string; keysVm: string; journalKey?: string | null }[];
  components?: { name: string; url: string; maintainers: { name: string; fingerprint: string }[] }[];
  commands?: { people?: { name: string; fingerprint: string }[] };
  apt?: { upload: string; validDays?: number };
  distributions?: { name: string }[];
  publication?: { url: string; logsKey: string } | null;
  webhook?: object;
  sshHosts?: object[];
}

export interface VmFacts {
  role: Role;
  manifest: VmManifest;
  /** undefined where the document is not there or cannot be read */
  config: Configuration | undefined;
  /** options that are on in this VM */
  enabled: ReadonlySet<string>;
}

export function rolesHere(machine: Machine, manifests: readonly VmManifest[]): VmManifest[] {
  return manifests.filter(({ vm }) =>
    vm.features.some(
      (feature) => look(machine, `/run/qubes-service/${feature.replace(/^service\./, '')}`) !== undefined,
    ),
  );
}

/**
 * What a VM without any of our features most likely is: by the configuration that lies in it, or by its name.
 */
export function likelyRole(machine: Machine, manifests: readonly VmManifest[]): Role | undefined {
  const byFile = manifests.find(({ role }) => look(machine, `${configFolder}/${role}.json`) !== undefined);
  return (
    byFile?.role ??
    manifests.find(({ role }) => machine.name === role || machine.name.startsWith(`${role}-`))?.role
  );
}

/** In dom0, for one VM: what brings its files up to date. */
export const applyHere = (machine: Machine): string =>
  `in dom0: sudo qubesctl --skip-dom0 --targets=${machine.name} state.highstate`;
export const applyTemplate = (machine: Machine): string =>
  `in dom0: sudo qubesctl --skip-dom0 --targets=$(qvm-prefs ${machine.name} template) state.highstate, shut that template down, restart ${machine.name}`;
export const restartHere = (machine: Machine): string =>
  `in dom0: qvm-shutdown --wait ${machine.name} && qvm-start ${machine.name}`;

/** Reads the role's configuration document; whether it has to be there is for laid-files.ts. */
export function factsOf(machine: Machine, manifest: VmManifest, report: Report): VmFacts {
  const { role } = manifest;
  const path = `${configFolder}/${role}.json`;
  const text = readText(machine, path);
  let config: Configuration | undefined;
  if (text !== undefined) {
    try {
      const parsed = JSON.parse(text) as Configuration | null;
      if (typeof parsed === 'object' && parsed !== null) config = parsed;
    } catch {
      // Said below.
    }
    report.check(
      config !== undefined,
      'BAD_CONFIGURATION',
      `${path} is no JSON document`,
      applyHere(machine),
    );
  }
  if (config !== undefined) {
    report.check(
      config.vm === machine.name,
      'OTHER_CONFIGURATION',
      `${path} is that of ${printable(String(config.vm))}, and this is ${machine.name}`,
      applyHere(machine),
    );
  }
  return { role, manifest, config, enabled: optionsOn(machine, role, config, report) };
}

/** dom0 says by a feature which options this VM serves; the configuration must say the same. */
function optionsOn(
  machine: Machine,
  role: Role,
  config: Configuration | undefined,
  report: Report,
): Set<string> {
  // The notifier is no option of dom0's: where its configuration was laid, there is one.
  if (role === 'build')
    return new Set(look(machine, '/rw/config/build-infra/notify.json') === undefined ? [] : ['notifier']);
  if (role !== 'sys-net') return new Set();
  const configured = { webhooks: config?.webhook !== undefined, 'ssh-proxy': config?.sshHosts !== undefined };
  return new Set(
    Object.entries(configured)
      .filter(([option, there]) => {
        const on = look(machine, `/run/qubes-service/build-infra-${option}`) !== undefined;
        if (config !== undefined) {
          report.check(
            on === there,
            'OPTION_HALF_ON',
            on
              ? `dom0 has switched on build-infra-${option}, and sys-net.json does not know of it`
              : `sys-net.json has ${option}, and dom0 has not switched on build-infra-${option}`,
            `see whether you want it (in dom0: sudo qubesctl top.is_enabled build-infra.${option}); in dom0: sudo qubesctl --targets=${machine.name} state.highstate, then restart ${machine.name}`,
          );
        }
        return on || there;
      })
      .map(([option]) => option),
  );
}
