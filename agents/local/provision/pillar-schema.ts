// SPDX-License-Identifier: GPL-2.0-or-later
// The shape of the pillar's `build-infra` key. `title` is what a person reads when a value does not fit. Every text that a template puts into
// JSON, a policy or an nginx file is confined here to characters that mean nothing there.
import { commandVerbs, componentRepositories, distWordPattern, releasePattern, templateRepositories } from '../../shared/formats/command.js';
import { payloadLimitBytes } from '../../shared/formats/intent.js';
import { journalKeyPattern } from '../../shared/formats/journal-head.js';
import { logsUrlPattern } from '../../shared/formats/log-link.js';
import { packageSets, repositoryNamePattern } from '../../shared/formats/notification.js';
import { fingerprintPattern, objectIdPattern, plainNamePattern, vmNamePattern } from '../../shared/formats/names.js';
import { lineWordPattern } from '../../shared/formats/suites.js';

const text = (pattern: string, title: string): object => ({ type: 'string', pattern, title });
const whole = (minimum: number, maximum: number): object => ({ type: 'integer', minimum, maximum, title: `a whole number from ${minimum} to ${maximum}` });
const shape = (properties: Record<string, object>, required: string[]): object => ({ type: 'object', additionalProperties: false, properties, required, title: 'a mapping' });
const named = (pattern: string, title: string, content: object, minProperties = 1): object => ({
  type: 'object', propertyNames: { pattern, title }, additionalProperties: content, minProperties, title: minProperties > 0 ? 'a mapping with at least one entry' : 'a mapping',
});

const vmName = text(vmNamePattern, 'a VM name: a letter, then at most 30 of A-Z a-z 0-9 _ . -');
const fingerprint = text(fingerprintPattern, 'a full OpenPGP fingerprint: 40 or 64 upper-case hexadecimal digits');
/** null: the key is made inside its VM and not yet known; what needs it is left out until it is. */
const keyOrNotYet = { anyOf: [fingerprint, { type: 'null' }], title: 'a full OpenPGP fingerprint, or null as long as the VM has not made its key' };
const plain = 'a lower-case name: a letter or digit, then at most 63 of a-z 0-9 . + -';
const hostPattern = '^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$';
const path = '[A-Za-z0-9@:._~/+%-]{0,400}$';
const sourceUrl = text(`^(?:ssh|https|git)://[A-Za-z0-9@]${path}`, 'an ssh://, https:// or git:// address of plain characters');
const remoteUrl = text(`^ssh://[A-Za-z0-9]${path}`, 'an ssh:// address of plain characters');
const uploadUrl = text('^ssh://(?:[a-z_][a-z0-9_-]*@)?[a-z0-9][a-z0-9.-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)+$', 'an ssh:// address with a path of plain names');
const httpUrl = text(`^https?://[A-Za-z0-9]${path}`, 'an http:// or https:// address of plain characters');
const tag = text('^[A-Za-z0-9._/-]{0,60}\\{version\\}[A-Za-z0-9._-]{0,60}$', 'a tag pattern that holds {version} once');
const label = text('^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}$', 'a label of letters, digits, blanks, . _ + -');
const hostKey = text('^(?:ssh-ed25519|ecdsa-sha2-nistp(?:256|384|521)|rsa-sha2-512|ssh-rsa) [A-Za-z0-9+/]{40,2000}={0,2}$', 'an ssh host key: its type and its base64, nothing after');

const fullName = text('^[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}$', 'a repository as GitHub names it: owner/name');

const component = shape({
  url: sourceUrl,
  'full-name': fullName,
  tag,
}, ['url', 'full-name', 'tag']);

const line = shape({
  tag,
  versions: text('^(?:[0-9]{1,9}:)?[0-9]{1,9}(?:\\.[0-9]{1,9}){0,7}$', 'the series of a line: numbers with dots, quoted'),
  distributions: { type: 'array', items: text(plainNamePattern, plain), minItems: 1, uniqueItems: true, title: 'a list of names of distributions' },
  suites: text(lineWordPattern, 'a word before the names of suites: a letter, then at most 15 of a-z 0-9; quoted where YAML reads it otherwise'),
}, ['distributions']);

/** How one environment treats one component; `{}` for as all others. */
const builtComponent = shape({
  lines: named(plainNamePattern, plain, line),
  maintainers: { type: 'array', items: text(plainNamePattern, plain), minItems: 1, uniqueItems: true, title: 'a list of names of maintainers' },
  'required-signatures': whole(1, 16),
}, []);

/** Of a VM that we make: what it may have of its own. */
const vmSettings = {
  template: vmName,
  'private-gib': whole(1, 65_536),
  memory: whole(200, 1_048_576),
  maxmem: whole(200, 1_048_576),
  vcpus: whole(1, 512),
};

const plainText = { type: 'string', pattern: '^[A-Za-z0-9 ._+:/@=,~-]{0,200}$', title: 'text of letters, digits, blanks and . _ + : / @ = , ~ -' };

const engine = text('^[a-z0-9][a-z0-9-]{0,63}$', 'an engine: the name of a program, of a-z 0-9 -');
const engineOptions = named('^[A-Za-z][A-Za-z0-9_-]{0,63}$', 'an option: a letter, then letters, digits, _ -', {
  anyOf: [plainText, { type: 'boolean' }, { type: 'integer', minimum: 0, maximum: 2_147_483_647 }, { type: 'array', items: plainText }],
  title: 'plain text, a whole number, true, false, or a list of plain texts',
});

/** `packages` has to be said where the engine is not one of ours. Options are the engine's: it checks them. */
const distribution = shape({
  engine,
  packages: { enum: ['deb', 'rpm'], title: 'a kind of packages: deb or rpm' },
  publisher: { enum: ['agent', 'engine'], title: 'who signs and publishes: agent or engine' },
  options: engineOptions,
}, ['engine']);

const listOf = (items: object, title: string, minItems = 0): object => ({ type: 'array', items, minItems, uniqueItems: true, title });
const allOrNames = { anyOf: [{ enum: ['all'] }, listOf(text(plainNamePattern, plain), 'a list of names')], title: 'all, or a list of lower-case names' };
const wordsOf = (known: readonly string[]): object => listOf({ enum: known, title: `one of ${known.join(', ')}` }, 'a list');

/** A template that is built by signed commands: its package is qubes-template-<name>. */
const builtTemplate = shape({
  releases: listOf(text('^r[0-9]{1,2}\\.[0-9]{1,2}$', 'a release: rX.Y, which makes the version of its templates'), 'a list of at least one release', 1),
  engine,
  distribution: text(distWordPattern, 'a word for what is in it, such as vm-trixie'),
  repository: { enum: templateRepositories, title: `one of ${templateRepositories.join(', ')}` },
  'build-seconds': whole(60, 604_800),
  options: engineOptions,
}, ['releases', 'engine', 'distribution', 'repository']);

/** What one key may command; what is left out, nothing. */
const commander = shape({
  key: fingerprint,
  verbs: wordsOf(commandVerbs),
  components: allOrNames,
  distributions: allOrNames,
  repositories: wordsOf([...componentRepositories, ...templateRepositories]),
  templates: allOrNames,
}, ['key']);

const commands = shape({
  releases: listOf(text(releasePattern, 'a release: lower-case letters and digits, single . or - between them'), 'a list of at least one release', 1),
  'window-seconds': whole(60, 2_592_000),
  'distribution-words': named(distWordPattern, 'a word for a distribution: a lower-case name other than all', text(plainNamePattern, plain)),
  people: named(plainNamePattern, plain, commander),
}, ['releases', 'people']);

const pagePath = '(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~-]{1,100}){0,8}$';
const page = (title: string): object => text(`^https://[A-Za-z0-9][A-Za-z0-9.-]{0,200}${pagePath}|^http://(?:127\\.0\\.0\\.1|localhost)${pagePath}`, `${title}: an https:// address of plain names`);
const notifiedRepository = text(repositoryNamePattern, 'a repository as GitHub names it: owner/name');

/** What the notifier of an environment says, and where. Its token is made by hand: no secret is in a pillar. */
const notify = shape({
  account: text('^[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})(?:\\[bot\\])?$', 'a login of GitHub'),
  repository: notifiedRepository,
  release: text(releasePattern, 'a release: lower-case letters and digits, single . or - between them'),
  distributions: named(plainNamePattern, plain, shape({
    set: { enum: packageSets, title: 'a package set: host or vm' },
    family: text(plainNamePattern, plain),
    name: text(plainNamePattern, plain),
  }, ['set', 'family'])),
  'issues-repository': notifiedRepository,
  'comment-in': listOf(text('^[A-Za-z0-9][A-Za-z0-9-]{0,38}/(?:[A-Za-z0-9._-]{1,100}|\\*)$', 'owner/name, or owner/*'), 'a list of repositories'),
  'base-url': page('of the API'),
  'web-url': page('of the pages'),
  templates: text('^(?:/[A-Za-z0-9_][A-Za-z0-9._-]{0,63}){1,8}$', 'an absolute path of plain names'),
  'dry-run': { type: 'boolean', title: 'true or false' },
}, ['account', 'repository', 'release', 'distributions']);

const buildEnv = shape({
  build: shape(vmSettings, []),
  keys: shape(vmSettings, []),
  logs: vmName,
  netvm: vmName,
  key: keyOrNotYet,
  anchor: { anyOf: [text(objectIdPattern, 'a commit id'), { type: 'null' }], title: 'a full commit id of the logs repository, or null for its root commit' },
  'journal-key': { anyOf: [text(journalKeyPattern, 'a journal key'), { type: 'null' }], title: 'a journal key of 64 lower-case hexadecimal digits, or null until it is made' },
  distributions: named(plainNamePattern, plain, distribution),
  templates: named('^[a-z0-9][a-z0-9.+-]{0,47}$', 'a template: a lower-case letter or digit, then at most 47 of a-z 0-9 . + -', builtTemplate),
  apt: shape({ upload: uploadUrl, url: httpUrl, origin: label, label, 'valid-days': { anyOf: [whole(1, 365), { type: 'null' }], title: 'a whole number from 1 to 365, or null' } }, ['upload', 'url']),
  dnf: shape({ upload: uploadUrl, url: httpUrl }, ['upload', 'url']),
  'status-page': shape({ upload: uploadUrl, url: httpUrl }, ['upload', 'url']),
  'logs-url': text(logsUrlPattern, 'an http:// or https:// address that holds {path} once, and {commit} at most once'),
  notify,
  maintainers: named(plainNamePattern, plain, fingerprint),
  'required-signatures': whole(1, 16),
  components: named(plainNamePattern, plain, builtComponent),
  commands,
  publication: { anyOf: [shape({ url: sourceUrl }, ['url']), { type: 'null' }], title: 'a mapping with the url of a required remote, or null' },
  promotion: shape({ 'min-age-days': whole(0, 365) }, []),
  'poll-seconds': whole(10, 86_400),
  'build-seconds': whole(60, 86_400),
  'grant-seconds': whole(10, 900),
  'payload-bytes': whole(1024, payloadLimitBytes),
}, ['logs', 'netvm', 'key', 'distributions', 'maintainers', 'required-signatures', 'components']);

const logsVm = shape({
  ...vmSettings,
  netvm: vmName,
  key: keyOrNotYet,
  remotes: named(plainNamePattern, plain, shape({ url: remoteUrl, required: { type: 'boolean', title: 'true or false' } }, ['url', 'required'])),
  'publish-seconds': whole(1, 3_600),
  'intent-seconds': whole(5, 3_600),
  'reopen-seconds': whole(1, 3_600),
  'log-bytes': whole(1_048_576, 4_294_967_296),
  'open-logs': whole(1, 1000),
  'intents-per-day': whole(1, 1_000_000),
  'intent-bytes-per-day': whole(1_048_576, 1_099_511_627_776),
}, ['netvm', 'key', 'remotes']);

const octet = '(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})';
/** Small enough that it names somebody: 0.0.0.0/0 would be everybody. */
const network = text(`^(?:${octet}(?:\\.${octet}){3}(?:/(?:[89]|[12][0-9]|3[0-2]))?|(?=[0-9a-f]*:)[0-9a-f:]{2,39}(?:/(?:1[6-9]|[2-9][0-9]|1[01][0-9]|12[0-8]))?)$`, 'an IP address or a network, as 192.0.2.0/24 or 2001:db8::/32');

export const pillarSchema = shape({
  'net-vm': vmName,
  'ssh-proxy-vm': vmName,
  templates: named(vmNamePattern, 'a VM name: a letter, then at most 30 of A-Z a-z 0-9 _ . -', shape({
    source: vmName,
    family: { enum: ['Debian', 'RedHat'], title: 'a family: Debian or RedHat' },
  }, ['source', 'family'])),
  template: vmName,
  webhook: shape({
    ...vmSettings,
    vm: vmName,
    port: whole(1, 65_535),
    address: text('^(?:[0-9]{1,3}(?:\\.[0-9]{1,3}){3}|\\[[0-9a-f:]{2,39}\\]|\\*)$', 'an IPv4 address, an IPv6 address in brackets, or *'),
    tls: { type: 'boolean', title: 'true or false' },
    'body-bytes': whole(1024, 2_097_152),
    'forge-addresses': { type: 'array', items: network, uniqueItems: true, title: 'a list of addresses or networks' },
    proxy: shape({
      addresses: { type: 'array', items: network, minItems: 1, uniqueItems: true, title: 'a list of at least one address or network' },
      tells: text('^[A-Z][A-Za-z0-9-]{1,40}$', 'PROXY, for the PROXY protocol, or the name of a header'),
    }, ['addresses', 'tells']),
    api: { anyOf: [text('^(?:https://[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?|http://127\\.0\\.0\\.1:[0-9]{1,5})(?:/[A-Za-z0-9._-]+)*$', 'an address of an API'), { type: 'null' }], title: 'an API that begins with https://, or null' },
    comments: { type: 'array', items: fullName, minItems: 1, uniqueItems: true, title: 'a list of at least one repository as GitHub names it' },
  }, ['port']),
  'ssh-hosts': named(hostPattern, 'a host name in lower case', shape({
    address: text('^[A-Za-z0-9](?:[A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?$|^::1$', 'a host name or an IP address'),
    port: whole(1, 65_535),
    'host-keys': { type: 'array', items: hostKey, minItems: 1, uniqueItems: true, title: 'a list of at least one ssh host key' },
  }, ['address', 'port', 'host-keys']), 0),
  'public-keys': named(fingerprintPattern, 'a full OpenPGP fingerprint: 40 or 64 upper-case hexadecimal digits', {
    type: 'string', maxLength: 131_072, pattern: '^-----BEGIN PGP PUBLIC KEY BLOCK-----\\n[\\x0a\\x20-\\x7e]+\\n-----END PGP PUBLIC KEY BLOCK-----\\n$',
    title: 'one armored public key block and nothing else',
  }, 0),
  components: named(plainNamePattern, plain, component, 0),
  'logs-vms': named(vmNamePattern, 'a VM name: a letter, then at most 30 of A-Z a-z 0-9 _ . -', logsVm, 0),
  'build-envs': named('^[a-z][a-z0-9-]{0,24}$', 'an environment: a lower-case letter, then at most 24 of a-z 0-9 -', buildEnv, 0),
}, ['net-vm', 'templates', 'template', 'webhook', 'ssh-hosts', 'public-keys', 'components', 'logs-vms', 'build-envs']);
