// SPDX-License-Identifier: GPL-2.0-or-later
// What a schema cannot say: names that fit together. Facts about VM names: reference notes on Qubes (31 characters; management disposables
// are named after the first 21).
import { createHash } from 'node:crypto';
import { readKey } from 'openpgp';
import { whyNeverUsable } from '../../shared/openpgp/key-now.js';
import { Refusal } from '../../shared/refusal.js';
import type { BuildEnv, BuiltComponent, Pillar } from './pillar.js';
import { isTemplatesDist } from '../../shared/formats/suites.js';
import { checkValues } from './pillar-values.js';
import { vmsOf } from './vms.js';

const noVm = new Set(['none', 'default', 'domain-0', 'dom0']);
/** Names that Qubes keeps, and folders of the logs repository that a VM of that name would write over. */
const reservedNames = new Set([...noVm, 'intents', 'journal', 'keys', 'build', 'metadata']);
/** The RSA host key that github.com withdrew in March 2023 after its secret half was published. */
export const withdrawnHostKeys = new Set(['nThbg6kXUpJWGl7E1IGOCspRomTxdCARLviKw6E5SY8']);

/** @throws Refusal, the first of: names, references, keys, hosts */
export async function checkMeaning(pillar: Pillar): Promise<void> {
  checkValues(pillar);
  checkTemplates(pillar);
  checkVmNames(pillar);
  checkNetworks(pillar);
  for (const [env, settings] of Object.entries(pillar['build-envs'])) checkEnv(env, settings, pillar);
  checkComments(pillar);
  for (const [vm, logs] of Object.entries(pillar['logs-vms'])) {
    if (!Object.values(pillar['build-envs']).some((env) => env.logs === vm)) throw new Refusal('UNUSED_LOGS_VM', 'no build environment logs to it', `logs-vms.${vm}`);
    needPublicKey(pillar, logs.key, `logs-vms.${vm}.key`);
    if (!Object.values(logs.remotes).some(({ required }) => required)) throw new Refusal('NO_REQUIRED_REMOTE', 'no remote is required, so nothing would ever be published', `logs-vms.${vm}.remotes`);
    for (const [name, { url }] of Object.entries(logs.remotes)) needSshHost(pillar, url, `logs-vms.${vm}.remotes.${name}.url`);
  }
  for (const [env, settings] of Object.entries(pillar['build-envs'])) checkPublication(pillar, settings, `build-envs.${env}`);
  checkComponents(pillar);
  checkKeyOwners(pillar);
  for (const [host, { 'host-keys': keys }] of Object.entries(pillar['ssh-hosts'])) checkHostKeys(keys, `ssh-hosts.${host}.host-keys`);
  for (const [fingerprint, armored] of Object.entries(pillar['public-keys'])) await checkPublicKey(fingerprint, armored);
}

function checkTemplates(pillar: Pillar): void {
  const { templates } = pillar;
  for (const [name, { source }] of Object.entries(templates)) {
    if (Object.hasOwn(templates, source)) throw new Refusal('BAD_TEMPLATE', `${source} is one of our own templates: clone a stock one`, `templates.${name}.source`);
  }
  const named: [field: string, template: string | undefined][] = [
    ['template', pillar.template],
    ['webhook.template', pillar.webhook.template],
    ...Object.entries(pillar['logs-vms']).map(([vm, { template }]): [string, string | undefined] => [`logs-vms.${vm}.template`, template]),
    ...Object.entries(pillar['build-envs']).flatMap(([env, { build, keys }]): [string, string | undefined][] => [[`build-envs.${env}.build.template`, build?.template], [`build-envs.${env}.keys.template`, keys?.template]]),
  ];
  for (const [field, template] of named) {
    if (template !== undefined && !Object.hasOwn(templates, template)) throw new Refusal('UNKNOWN_TEMPLATE', `${template} is not one of templates`, field);
  }
}

function checkVmNames(pillar: Pillar): void {
  const byShortName = new Map<string, string>();
  for (const name of [...vmsOf(pillar).map((vm) => vm.name), ...Object.keys(pillar.templates)]) {
    if (name.length > 31) throw new Refusal('BAD_VM_NAME', 'is longer than the 31 characters that Qubes allows', name);
    if (reservedNames.has(name.toLowerCase())) throw new Refusal('BAD_VM_NAME', 'is a reserved name', name);
    const short = name.slice(0, 21).toLowerCase();
    const other = byShortName.get(short);
    if (other === name) throw new Refusal('BAD_VM_NAME', 'is the name of two VMs', name);
    if (other !== undefined) throw new Refusal('BAD_VM_NAME', `and ${other} are the same in their first 21 characters, so they would share one management disposable`, name);
    byShortName.set(short, name);
  }
}

/** Network comes from a VM that the machine has: none of ours gives it, least of all one with a key. */
function checkNetworks(pillar: Pillar): void {
  const made = new Set([...vmsOf(pillar).filter(({ managed }) => managed).map(({ name }) => name), ...Object.keys(pillar.templates)]);
  const named: [field: string, netvm: string][] = [
    ['net-vm', pillar['net-vm']],
    ...Object.entries(pillar['logs-vms']).map(([vm, { netvm }]): [string, string] => [`logs-vms.${vm}.netvm`, netvm]),
    ...Object.entries(pillar['build-envs']).map(([env, { netvm }]): [string, string] => [`build-envs.${env}.netvm`, netvm]),
  ];
  for (const [field, netvm] of named) {
    if (noVm.has(netvm.toLowerCase())) throw new Refusal('BAD_NETVM', `${netvm} is no VM that gives network`, field);
    if (made.has(netvm)) throw new Refusal('BAD_NETVM', `${netvm} is a VM of the farm, and gives no network`, field);
  }
}

function checkEnv(env: string, settings: BuildEnv, pillar: Pillar): void {
  const place = `build-envs.${env}`;
  if (!Object.hasOwn(pillar['logs-vms'], settings.logs)) throw new Refusal('UNKNOWN_LOGS_VM', `${settings.logs} is not one of logs-vms`, `${place}.logs`);
  needPublicKey(pillar, settings.key, `${place}.key`);
  checkBeginning(settings, place);
  const people = Object.entries(settings.maintainers);
  for (const [name, fingerprint] of people) needPublicKey(pillar, fingerprint, `${place}.maintainers.${name}`);
  if (new Set(people.map(([, fingerprint]) => fingerprint)).size !== people.length) throw new Refusal('SAME_KEY_TWICE', 'two maintainers have one key, so they count as one person', `${place}.maintainers`);
  checkRepositories(pillar, settings, place);
  checkBuiltTemplates(settings, place);
  if (settings['status-page'] !== undefined) needSshHost(pillar, settings['status-page'].upload, `${place}.status-page.upload`);
  for (const [name, component] of Object.entries(settings.components)) {
    const field = `${place}.components.${name}`;
    const allowed = component.maintainers ?? people.map(([person]) => person);
    const stranger = allowed.find((person) => !Object.hasOwn(settings.maintainers, person));
    if (stranger !== undefined) throw new Refusal('UNKNOWN_MAINTAINER', `${stranger} is not one of ${place}.maintainers`, `${field}.maintainers`);
    const needed = component['required-signatures'] ?? settings['required-signatures'];
    if (needed > allowed.length) throw new Refusal('TOO_FEW_MAINTAINERS', `asks for ${needed} signatures, but ${allowed.length} may sign`, field);
    if (!Object.hasOwn(pillar.components, name)) throw new Refusal('UNKNOWN_COMPONENT', `${name} is not one of components`, field);
    checkLines(settings, pillar.components[name]?.tag ?? '', component.lines ?? {}, `${field}.lines`);
  }
  checkCommands(settings, pillar, `${place}.commands`);
  checkNotify(settings, place);
}

/** No tag is of two lines, and no suite has the packages of two. */
function checkLines(settings: BuildEnv, componentTag: string, lines: NonNullable<BuiltComponent['lines']>, place: string): void {
  const tags = new Map<string, string>();
  const owners = new Map<string, string>();
  for (const [name, { tag = componentTag, versions = '', distributions, suites }] of Object.entries(lines).sort(([a], [b]) => (a < b ? -1 : 1))) {
    const same = tags.get(`${tag} ${versions}`);
    if (same !== undefined) throw new Refusal('BAD_VALUE', `has the same tags as ${same}`, `${place}.${name}`);
    tags.set(`${tag} ${versions}`, name);
    for (const dist of distributions) {
      if (!Object.hasOwn(settings.distributions, dist)) throw new Refusal('UNKNOWN_DISTRIBUTION', `${dist} is not built in this environment`, `${place}.${name}.distributions`);
      if (suites !== undefined) checkSuites(settings, dist, suites, `${place}.${name}.suites`);
      const way = suites === undefined ? dist : `${dist} ${suites}`;
      const other = owners.get(way);
      if (other !== undefined) throw new Refusal('BAD_VALUE', `${way} is the line ${other}'s: a suite has one version of a package`, `${place}.${name}.distributions`);
      owners.set(way, name);
    }
  }
}

/** Of a line's own: what they are called is nothing else's name, and there is somebody to make them. */
function checkSuites({ distributions }: BuildEnv, dist: string, word: string, field: string): void {
  if (Object.hasOwn(distributions, `${dist}-${word}`)) throw new Refusal('BAD_VALUE', `the suites of ${dist}-${word} have these names already`, field);
  if (distributions[dist]?.publisher === 'engine') throw new Refusal('BAD_VALUE', `${dist} is published by its engine, which has suites of its own`, field);
}

/** What was pinned tells a keys VM that it has begun before. It is made before the first publication, together with the signing key. */
function checkBeginning({ key, anchor = null, 'journal-key': journalKey = null }: BuildEnv, place: string): void {
  if (key === null || journalKey !== null || anchor !== null) return;
  throw new Refusal('MISSING_FIELD', 'missing: without it, and without an anchor, a keys VM that lost its memory would believe any history; make-keys keys prints it', `${place}.journal-key`);
}

/** What is built can be said, and with a link to its log. */
function checkNotify(settings: BuildEnv, place: string): void {
  if (settings.notify === undefined) return;
  if (settings['logs-url'] === undefined) throw new Refusal('MISSING_FIELD', 'missing: notify links logs', `${place}.logs-url`);
  const { distributions } = settings.notify;
  for (const name of Object.keys(distributions)) {
    if (!Object.hasOwn(settings.distributions, name)) throw new Refusal('UNKNOWN_DISTRIBUTION', `${name} is not built in this environment`, `${place}.notify.distributions.${name}`);
  }
  for (const name of Object.keys(settings.distributions)) {
    if (!Object.hasOwn(distributions, name)) throw new Refusal('MISSING_FIELD', `missing: ${name} is built in this environment`, `${place}.notify.distributions.${name}`);
  }
  checkLabels(settings, settings.notify, place);
}

/** GitHub refuses longer ones. */
const labelLimit = 50;

/** Labels and the commands that status issues show for copying: what the first notification would find wrong, or the first signed command. */
function checkLabels({ commands, components }: BuildEnv, { release, distributions }: NonNullable<BuildEnv['notify']>, place: string): void {
  if (commands !== undefined && !commands.releases.includes(release)) throw new Refusal('BAD_VALUE', `${release} is not one of commands.releases, so no command of a status issue would be taken`, `${place}.notify.release`);
  const owners = new Map<string, string>();
  const words = Object.values(components).flatMap(({ lines = {} }) => Object.values(lines));
  for (const [dist, { set, name = dist }] of Object.entries(distributions)) {
    const field = `${place}.notify.distributions.${dist}`;
    const word = `${set}-${name}`;
    const ways = words.flatMap(({ distributions: its, suites }) => (suites !== undefined && its.includes(dist) ? [`${word}-${suites}`] : []));
    for (const way of new Set([word, ...ways])) {
      const other = owners.get(way);
      if (other !== undefined) throw new Refusal('BAD_VALUE', `${way} is the label of ${other} too`, field);
      owners.set(way, dist);
    }
    const longest = [word, ...ways].map((way) => `${release}-${way}-building`).find((label) => label.length > labelLimit);
    if (longest !== undefined) throw new Refusal('BAD_VALUE', `the label ${longest} is longer than the ${labelLimit} characters that GitHub allows: give it a shorter name`, field);
    if (commands !== undefined && word !== dist && commands['distribution-words']?.[word] !== dist) {
      throw new Refusal('UNKNOWN_DISTRIBUTION', `${word} has to be one of commands.distribution-words and mean ${dist}: status issues show commands with it`, field);
    }
  }
}

/** Commands come in comments and in no other way. */
function checkComments(pillar: Pillar): void {
  const taker = Object.entries(pillar['build-envs']).find(([, { commands }]) => commands !== undefined)?.[0];
  if (taker !== undefined && pillar.webhook.comments === undefined) throw new Refusal('MISSING_FIELD', `missing: ${taker} takes commands, and no comments are read`, 'webhook.comments');
}

function checkCommands(settings: BuildEnv, pillar: Pillar, place: string): void {
  if (settings.commands === undefined) return;
  const { people, 'distribution-words': words = {} } = settings.commands;
  const stranger = (names: 'all' | string[] | undefined, among: object): string | undefined => (names === 'all' ? undefined : names?.find((name) => !Object.hasOwn(among, name)));
  const needDistributions = (names: 'all' | string[] | undefined, field: string): void => {
    const unknown = stranger(names, settings.distributions);
    if (unknown !== undefined) throw new Refusal('UNKNOWN_DISTRIBUTION', `${unknown} is not built in this environment`, field);
  };
  for (const [word, dist] of Object.entries(words)) {
    needDistributions([dist], `${place}.distribution-words.${word}`);
    if (word !== dist && Object.hasOwn(settings.distributions, word)) throw new Refusal('BAD_VALUE', 'is a distribution itself', `${place}.distribution-words.${word}`);
  }
  const owners = new Map<string, string>();
  for (const [name, { key, components, distributions, templates }] of Object.entries(people)) {
    const field = `${place}.people.${name}`;
    needPublicKey(pillar, key, `${field}.key`);
    const other = owners.get(key);
    if (other !== undefined) throw new Refusal('SAME_KEY_TWICE', `is the key of ${other} too`, `${field}.key`);
    owners.set(key, name);
    const unknown = stranger(components, settings.components);
    if (unknown !== undefined) throw new Refusal('UNKNOWN_COMPONENT', `${unknown} is not built in this environment`, `${field}.components`);
    needDistributions(distributions, `${field}.distributions`);
    const unbuilt = stranger(templates, settings.templates ?? {});
    if (unbuilt !== undefined) throw new Refusal('UNKNOWN_TEMPLATE', `${unbuilt} is not built in this environment`, `${field}.templates`);
  }
}

/** Templates are rpm packages, and their names are theirs alone. */
function checkBuiltTemplates(settings: BuildEnv, place: string): void {
  const [name] = Object.keys(settings.templates ?? {});
  if (name !== undefined && settings.dnf === undefined) throw new Refusal('MISSING_FIELD', `missing: the template ${name} is an rpm package`, `${place}.dnf`);
  for (const [template, { releases }] of Object.entries(settings.templates ?? {})) {
    const uncommanded = releases.find((release) => settings.commands !== undefined && !settings.commands.releases.includes(release));
    if (uncommanded !== undefined) throw new Refusal('BAD_VALUE', `${uncommanded} is not one of commands.releases, so nobody could have it built`, `${place}.templates.${template}.releases`);
  }
  const dist = Object.keys(settings.distributions).find(isTemplatesDist);
  if (dist !== undefined) throw new Refusal('BAD_VALUE', 'is where templates lie', `${place}.distributions.${dist}`);
  const component = Object.keys(settings.components).find((one) => one.startsWith('qubes-template-'));
  if (component !== undefined) throw new Refusal('BAD_VALUE', 'is the name of a template', `${place}.components.${component}`);
}

const packagesOfEngines = new Map([['debian', 'deb'], ['rpm', 'rpm']]);

/** A publication need not be on a remote that is not required, so it is not looked for there. */
function checkPublication(pillar: Pillar, { publication, promotion, logs }: BuildEnv, place: string): void {
  if (publication === undefined || publication === null) {
    if (promotion !== undefined) throw new Refusal('MISSING_FIELD', 'missing: promotion goes by the published logs', `${place}.publication`);
    return;
  }
  const field = `${place}.publication.url`;
  if (publication.url.startsWith('ssh://')) needSshHost(pillar, publication.url, field);
  const optional = Object.entries(pillar['logs-vms'][logs]?.remotes ?? {}).find(([, { url, required }]) => url === publication.url && !required);
  if (optional !== undefined) throw new Refusal('BAD_VALUE', `is remote ${optional[0]}, which is not required`, field);
}

/** Each distribution's packages have a repository of their kind to go to. */
function checkRepositories(pillar: Pillar, settings: BuildEnv, place: string): void {
  for (const [name, { engine, packages }] of Object.entries(settings.distributions)) {
    const field = `${place}.distributions.${name}`;
    const kind = packages ?? packagesOfEngines.get(engine);
    if (kind === undefined) throw new Refusal('MISSING_FIELD', `missing: deb or rpm, since ${engine} is not an engine of ours`, `${field}.packages`);
    const repository = kind === 'deb' ? 'apt' : 'dnf';
    if (settings[repository] === undefined) throw new Refusal('MISSING_FIELD', `missing: ${name} has ${kind} packages`, `${place}.${repository}`);
  }
  if (settings.apt !== undefined) needSshHost(pillar, settings.apt.upload, `${place}.apt.upload`);
  if (settings.dnf !== undefined) needSshHost(pillar, settings.dnf.upload, `${place}.dnf.upload`);
}

function checkComponents(pillar: Pillar): void {
  const byRepository = new Map<string, string>();
  for (const [name, component] of Object.entries(pillar.components)) {
    const field = `components.${name}`;
    if (component.url.startsWith('ssh://')) needSshHost(pillar, component.url, `${field}.url`);
    // GitHub compares names without case.
    const repository = component['full-name'].toLowerCase();
    const other = byRepository.get(repository);
    if (other !== undefined) throw new Refusal('SAME_REPOSITORY_TWICE', `is the repository of ${other} too`, `${field}.full-name`);
    byRepository.set(repository, name);
  }
}

function needPublicKey(pillar: Pillar, fingerprint: string | null, field: string): void {
  if (fingerprint !== null && !Object.hasOwn(pillar['public-keys'], fingerprint)) {
    throw new Refusal('NO_PUBLIC_KEY', `${fingerprint} is not under public-keys`, field);
  }
}

/** One secret key, one VM: a key shared by two would let one of them act as the other. */
function checkKeyOwners(pillar: Pillar): void {
  const owners = new Map<string, string>();
  const own = (fingerprint: string | null, field: string): void => {
    if (fingerprint === null) return;
    const other = owners.get(fingerprint);
    if (other !== undefined) throw new Refusal('SAME_KEY_TWICE', `is the key of ${other} too`, field);
    owners.set(fingerprint, field);
  };
  for (const [vm, { key }] of Object.entries(pillar['logs-vms'])) own(key, `logs-vms.${vm}.key`);
  for (const [env, { key }] of Object.entries(pillar['build-envs'])) own(key, `build-envs.${env}.key`);
  const refuseOwned = (fingerprint: string, field: string): void => {
    const other = owners.get(fingerprint);
    if (other !== undefined) throw new Refusal('SAME_KEY_TWICE', `is the key of ${other} too`, field);
  };
  for (const [env, { maintainers, commands }] of Object.entries(pillar['build-envs'])) {
    for (const [name, fingerprint] of Object.entries(maintainers)) refuseOwned(fingerprint, `build-envs.${env}.maintainers.${name}`);
    for (const [name, { key }] of Object.entries(commands?.people ?? {})) refuseOwned(key, `build-envs.${env}.commands.people.${name}.key`);
  }
}

function needSshHost(pillar: Pillar, url: string, field: string): void {
  const { hostname, port } = new URL(url);
  if (port !== '') throw new Refusal('BAD_VALUE', 'the port of an ssh host stands under ssh-hosts only', field);
  if (!Object.hasOwn(pillar['ssh-hosts'], hostname)) throw new Refusal('UNKNOWN_SSH_HOST', `${hostname} is not one of ssh-hosts`, field);
}

function checkHostKeys(keys: readonly string[], field: string): void {
  for (const key of keys) {
    const blob = Buffer.from(key.split(' ')[1] as string, 'base64');
    const digest = createHash('sha256').update(blob).digest('base64').replace(/=+$/, '');
    if (withdrawnHostKeys.has(digest)) throw new Refusal('WITHDRAWN_HOST_KEY', 'is the RSA key that github.com withdrew in March 2023', field);
    const type = blob.subarray(4, 4 + Math.min(blob.length, blob.readUInt32BE(0))).toString('latin1');
    if (type !== key.split(' ')[0]) throw new Refusal('BAD_VALUE', `names itself ${JSON.stringify(type.slice(0, 40))} inside`, field);
  }
}

async function checkPublicKey(fingerprint: string, armored: string): Promise<void> {
  const field = `public-keys.${fingerprint}`;
  const key = await readKey({ armoredKey: armored }).catch(() => {
    throw new Refusal('BAD_PUBLIC_KEY', 'is not one OpenPGP key as gpg --armor --export writes it', field);
  });
  if (key.isPrivate()) throw new Refusal('SECRET_IN_PILLAR', 'holds a secret key', field);
  const found = key.getFingerprint().toUpperCase();
  if (found !== fingerprint) throw new Refusal('BAD_PUBLIC_KEY', `holds the key ${found}`, field);
  const why = await whyNeverUsable(key);
  if (why !== undefined) throw new Refusal('KEY_NOT_USABLE', `holds a key that ${why}: nothing that it signs is good here`, field);
}
