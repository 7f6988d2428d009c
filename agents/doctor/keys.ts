// SPDX-License-Identifier: GPL-2.0-or-later
// Keys: made inside their VM, named in the pillar, and then in the configuration. Where one of these three is
// behind, this says which, and what to do where. Also the public keys that this VM verifies with.
import { fingerprintPattern, matches } from '../shared/formats/names.js';
import type { ManifestFile } from '../shared/formats/manifest.js';
import type { Report } from './finding.js';
import { checkEnd } from './key-ends.js';
import { holdsSecretKeys, readKeyFiles, readKeyRing } from './key-ring.js';
import { list, look, read, type Machine } from './machine.js';
import { fingerprintOf } from './openpgp-key.js';
import { agentAccount, applyHere, configFolder, type VmFacts } from './vm-facts.js';

const keyHome = '/home/user/.gnupg';
const publicKeys = `${configFolder}/public-keys`;
const envOf = (machine: Machine): string => machine.name.replace(/^(?:build|keys)-/, '');
const applyAll = 'then in dom0: sudo qubesctl --all state.highstate, and restart the VMs';

/** Where farm.yaml names this VM's own key. */
function ownField(machine: Machine, facts: VmFacts): string {
  return facts.role === 'keys' ? `build-envs: ${envOf(machine)}: key` : `logs-vms: ${machine.name}: key`;
}

/**
 * The key that is made in this VM itself, against the one that the configuration names. @returns its
 * fingerprint, if it is made
 */
async function checkOwnKey(machine: Machine, facts: VmFacts, report: Report): Promise<string | undefined> {
  const [word, code] =
    facts.role === 'keys' ? (['signing key', 'SIGNING_KEY'] as const) : (['logs key', 'LOGS_KEY'] as const);
  const field = ownField(machine, facts);
  const ring = await readKeyRing(machine, keyHome, 'user');
  if (
    !report.check(
      ring.failure === undefined,
      'KEY_RING_UNREADABLE',
      ring.failure ?? '',
      'as user here: gpg --list-secret-keys',
    )
  )
    return undefined;
  const [made] = ring.secret;
  const make = `as user here: /usr/lib/build-infra/make-keys ${facts.role}, and put what it prints into farm.yaml (${field})`;
  if (
    !report.check(
      made !== undefined,
      `NO_${code}`,
      `${keyHome} holds no ${word}`,
      facts.config === undefined ? make : 'restore it from its backup',
    )
  )
    return undefined;
  const wanted =
    facts.config === undefined
      ? []
      : facts.role === 'keys'
        ? (facts.config.signingKeys ?? [])
        : [facts.config.logsKey ?? ''];
  for (const fingerprint of wanted) {
    report.check(
      ring.secret.includes(fingerprint),
      `OTHER_${code}`,
      `the configuration names ${fingerprint}, and ${keyHome} holds ${ring.secret.join(', ')}`,
      `restore that key from its backup here, or put the other into farm.yaml (${field}), ${applyAll}`,
    );
  }
  for (const key of ring.keys.filter((one) => wanted.includes(one.fingerprint))) {
    checkEnd(
      key,
      `this VM's ${word}`,
      `as user here: gpg --quick-set-expire ${key.fingerprint} 2y, then /usr/lib/build-infra/make-keys ${facts.role} export; put what it prints into farm.yaml under public-keys, ${applyAll}`,
      machine.now(),
      report,
    );
  }
  return made;
}

/**
 * The configuration is left out as long as the pillar says null for a key that it needs. Which one, as far as
 * this VM can know.
 */
function explainMissing(
  machine: Machine,
  file: ManifestFile,
  facts: VmFacts,
  made: string | undefined,
  report: Report,
): void {
  const env = envOf(machine);
  const wait = (key: string): boolean =>
    report.check(
      false,
      'WAITS_FOR_KEY',
      `${file.path} is left out as long as farm.yaml has null for ${key}`,
      applyAll,
    );
  const notConfigured = (code: 'LOGS_KEY_NOT_CONFIGURED' | 'SIGNING_KEY_NOT_CONFIGURED'): boolean =>
    report.check(
      false,
      code,
      `${made ?? ''} is made here and not yet in farm.yaml`,
      `put it there (${ownField(machine, facts)}), and what make-keys ${facts.role} export prints under public-keys; ${applyAll}`,
    );
  switch (facts.role) {
    case 'build':
      wait(`build-envs: ${env}: key (made in keys-${env}, as user: /usr/lib/build-infra/make-keys keys)`);
      break;
    case 'build-logs':
      if (made !== undefined) notConfigured('LOGS_KEY_NOT_CONFIGURED');
      break;
    case 'keys':
      // The logs key's public half comes as soon as the pillar names it.
      if (list(machine, publicKeys).length === 0)
        wait('logs-vms: key (made in the logs VM, as user: /usr/lib/build-infra/make-keys build-logs)');
      else if (made !== undefined) notConfigured('SIGNING_KEY_NOT_CONFIGURED');
      break;
    case 'sys-net':
      report.check(false, 'NO_FILE', `${file.path} is missing`, applyHere(machine));
  }
}

export async function checkKeys(machine: Machine, facts: VmFacts, report: Report): Promise<void> {
  const made =
    facts.role === 'keys' || facts.role === 'build-logs'
      ? await checkOwnKey(machine, facts, report)
      : undefined;
  for (const file of facts.manifest.vm.files) {
    if (file.needs !== undefined && look(machine, file.path) === undefined)
      explainMissing(machine, file, facts, made, report);
  }
  if (facts.role !== 'build') return;
  for (const home of ['/root/.gnupg', keyHome]) {
    report.check(
      !holdsSecretKeys(machine, home),
      'KEY_IN_BUILD_VM',
      `${home} holds a secret OpenPGP key, which a build could read`,
      'move it out of this VM, and revoke it if it signs anything',
    );
  }
}

/** Whose public keys this VM verifies with, by fingerprint. */
function ownersOf({ config, role }: VmFacts): Map<string, string> {
  const owners = new Map<string, string>();
  const add = (fingerprint: string | undefined, whose: string): void => {
    if (fingerprint !== undefined && !owners.has(fingerprint)) owners.set(fingerprint, whose);
  };
  if (role !== 'build') {
    add(config?.logsKey, 'the logs VM');
    return owners;
  }
  add(config?.signingKey, 'the keys VM');
  add(config?.publication?.logsKey, 'the logs VM');
  for (const { name, fingerprint } of (config?.components ?? []).flatMap(({ maintainers }) => maintainers))
    add(fingerprint, name);
  for (const { name, fingerprint } of config?.commands?.people ?? []) add(fingerprint, name);
  return owners;
}

/**
 * The keys that the configuration names must be here, each file must hold the key of its name, and none of
 * them may end soon.
 */
export async function checkPublicKeys(machine: Machine, facts: VmFacts, report: Report): Promise<void> {
  if ((facts.manifest.vm['public-keys'] ?? []).length === 0) return;
  const owners = ownersOf(facts);
  for (const fingerprint of owners.keys()) {
    report.check(
      look(machine, `${publicKeys}/${fingerprint}.asc`) !== undefined,
      'NO_PUBLIC_KEY',
      `${publicKeys}/${fingerprint}.asc is missing, which the configuration names`,
      applyHere(machine),
    );
  }
  const good = list(machine, publicKeys).filter((name) => {
    const wanted = name.replace(/\.asc$/, '');
    if (!matches(fingerprintPattern, wanted)) return false;
    const found = fingerprintOf(read(machine, `${publicKeys}/${name}`) ?? Buffer.alloc(0));
    return report.check(
      found === wanted,
      'WRONG_PUBLIC_KEY',
      `${publicKeys}/${name} holds ${found ?? 'no readable public key'}`,
      applyHere(machine),
    );
  });
  if (good.length === 0) return;
  const keys = await readKeyFiles(
    machine,
    good.map((name) => `${publicKeys}/${name}`),
    agentAccount(facts.role),
  );
  if (
    !report.check(
      typeof keys !== 'string',
      'KEY_RING_UNREADABLE',
      `${publicKeys}: ${typeof keys === 'string' ? keys : ''}`,
      applyHere(machine),
    ) ||
    typeof keys === 'string'
  )
    return;
  for (const key of keys) {
    const whose = owners.get(key.fingerprint);
    if (whose !== undefined)
      checkEnd(
        key,
        whose,
        `its owner lengthens it (gpg --quick-set-expire) and sends the public half; put that block into farm.yaml under public-keys, ${applyAll}`,
        machine.now(),
        report,
      );
  }
}
