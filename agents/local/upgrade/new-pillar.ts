// SPDX-License-Identifier: GPL-2.0-or-later
// Ours from theirs, as far as it goes: what is left to write, and what of the old one has no counterpart, is
// said and never guessed. Secrets are neither taken over nor printed
// (docs/upgrade-from-qubes-infrastructure.md).
import { readKey } from 'openpgp';
import { fingerprintPattern } from '../../shared/formats/names.js';
import { entriesOf, mappingOf, textOf, type Mapping } from './old-pillar.js';

export interface Moved {
  farm: Record<string, unknown>;
  /** one line each: what a person has to write before this is a farm.yaml */
  toWrite: string[];
  /** one line each: a field of the old pillar, and what becomes of what it was for */
  without: string[];
}

const noCounterpart = new Map([
  [
    'github_api_key',
    'a secret: the token of the notifier goes into its build VM by hand (deploy.md, "A token for the notifier")',
  ],
  ['github_ssh_key', 'a secret: a logs VM makes its own push key (make-keys)'],
  ['mirror_ssh_key', 'a secret: a build VM makes its own upload key (make-keys)'],
  ['openqa_server', 'nothing here starts openQA'],
  ['openqa_key', 'a secret, and nothing here starts openQA'],
  ['openqa_secret', 'a secret, and nothing here starts openQA'],
  [
    'logs_repo',
    'a farm begins with empty logs repositories, two of them: logs-vms.VM.remotes; the old one stays readable',
  ],
  [
    'logs_key_fpr',
    'a logs VM makes a new logs key for the new repositories; the old one goes with the old ones',
  ],
  ['logs_repo_public_key', 'as logs_key_fpr'],
  ['build_logs_repo_public_key', 'as logs_key_fpr'],
  ['build_bot_name', 'commits of the logs are signed, and name their VM'],
  ['build_bot_email', 'commits of the logs are signed, and name their VM'],
]);

const family = (template: string): string => (template.startsWith('fedora') ? 'RedHat' : 'Debian');
const gib = (size: string): number | undefined => {
  const [, number, unit] = /^([0-9]+) ?([GT])i?B?$/i.exec(size) ?? [];
  return number === undefined ? undefined : Number(number) * (unit?.toUpperCase() === 'T' ? 1024 : 1);
};

/** Every armored block, under the fingerprint of the key in it. */
async function publicKeysIn(armored: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const [block] of armored.matchAll(
    /-----BEGIN PGP PUBLIC KEY BLOCK-----[^]*?-----END PGP PUBLIC KEY BLOCK-----/g,
  )) {
    try {
      const key = await readKey({ armoredKey: block });
      if (!key.isPrivate())
        found.set(key.getFingerprint().toUpperCase(), `${key.armor().replaceAll('\r', '').trim()}\n`);
    } catch {
      // Their example has dots in the place of a key.
    }
  }
  return found;
}

class Move {
  readonly farm: Record<string, unknown> = {};
  readonly toWrite: string[] = [];
  readonly without: string[] = [];

  constructor(readonly old: Mapping) {}

  text(name: string, otherwise: string): string {
    return textOf(this.old[name]) ?? otherwise;
  }

  templates(): Record<'build' | 'logs' | 'keys', string> {
    const sources = {
      build: this.text('build-template', 'fedora-43-xfce'),
      logs: this.text('logs-template', 'fedora-43-xfce'),
      keys: this.text('keys-template', 'fedora-43-minimal'),
    };
    const ours = (source: string): string => `bi-${source}`.slice(0, 31);
    this.farm['templates'] = Object.fromEntries(
      Object.values(sources).map((source) => [ours(source), { source, family: family(source) }]),
    );
    this.farm['template'] = ours(sources.build);
    return { build: ours(sources.build), logs: ours(sources.logs), keys: ours(sources.keys) };
  }

  hosts(): void {
    this.farm['ssh-hosts'] = Object.fromEntries(
      Object.entries(mappingOf(this.old['remote-hosts'])).map(([host, settings]) => {
        const { ssh_user: user, ssh_host_enc: type, ssh_host_key: key } = mappingOf(settings);
        if (textOf(user) !== undefined)
          this.toWrite.push(
            `build-envs.ENV.apt.upload or dnf.upload: ssh://${textOf(user)}@${host}/PATH, for the environments that upload to ${host}`,
          );
        return [
          host,
          { address: host, port: 22, 'host-keys': [`${textOf(type) ?? 'ssh-rsa'} ${textOf(key) ?? ''}`] },
        ];
      }),
    );
    this.toWrite.push(
      'ssh-hosts: every other host that sources and logs are on, such as github.com, with the host keys that it publishes',
    );
  }

  env(
    name: string,
    settings: Mapping,
    commands: object | undefined,
    templates: Record<string, string>,
  ): Record<string, unknown> {
    const place = `build-envs.${name}`;
    const { logs, 'volume-size': size, 'builders-list': builders, builderv2, ...others } = settings;
    const private_ = size === undefined ? undefined : gib(textOf(size) ?? '');
    const maintainers = new Set<string>();
    const releases = new Set<string>();
    for (const [path, builder] of Object.entries(mappingOf(builders))) {
      const { keys, release, config } = mappingOf(builder);
      const repository = entriesOf(entriesOf(config)['repository']);
      for (const one of [keys, repository['maintainers']].flat())
        if (typeof one === 'string') maintainers.add(one.replace(/^0x/, '').toUpperCase());
      if (textOf(release) !== undefined) releases.add(`r${textOf(release)}`);
      this.without.push(
        `${place}.builders-list.${path}: ${/^(?:true|yes|on)$/i.test(textOf(builderv2) ?? '') ? 'a configuration of qubes-builder v2 stays in the build VM; a distribution names it: engine qubesbuilderv2, options builder and conf (engines.md)' : 'qubes-builder v1 is no engine here; debian, rpm and qubesbuilderv2 are (engines.md)'}`,
      );
    }
    for (const field of Object.keys(others))
      this.without.push(
        `${place}.${field}: ${field === 'windows' ? 'there is no VM for keys of Windows here' : 'not known here'}`,
      );
    const known = [...maintainers].filter((key) => new RegExp(fingerprintPattern).test(key));
    for (const key of maintainers)
      if (!known.includes(key)) this.without.push(`${place}: ${key} is no full fingerprint`);
    this.toWrite.push(
      `${place}.distributions, components, and apt or dnf: the old ones stood in the configuration of its builder`,
      `${place}.publication: the required remote that build-${name} reads, or null`,
    );
    this.toWrite.push(
      known.length === 0
        ? `${place}.maintainers: whose signed tags start builds`
        : `${place}.maintainers: names for these people`,
    );
    return {
      logs: textOf(logs) ?? 'logs',
      netvm: this.text('build-netvm', 'sys-whonix'),
      ...(private_ === undefined ? {} : { build: { 'private-gib': private_ } }),
      keys: { template: templates['keys'] },
      key: null,
      anchor: null,
      'journal-key': null,
      publication: null,
      ...(known.length === 0
        ? {}
        : { maintainers: Object.fromEntries(known.map((key, at) => [`maintainer-${at + 1}`, key])) }),
      'required-signatures': 1,
      ...(commands === undefined || releases.size === 0
        ? {}
        : { commands: { releases: [...releases], ...commands } }),
    };
  }
}

export async function newPillar(old: Mapping): Promise<Moved> {
  const move = new Move(old);
  const known = new Set([
    'netvm',
    'build-template',
    'logs-template',
    'keys-template',
    'build-netvm',
    'logs-netvm',
    'build-envs',
    'remote-hosts',
    'commands_public_keys',
    'build_issues_repo',
    'build_report_repo',
  ]);
  move.farm['net-vm'] = move.text('netvm', 'sys-net');
  const templates = move.templates();
  const issues = textOf(old['build_issues_repo']) ?? textOf(old['build_report_repo']);
  move.farm['webhook'] = { port: 8080, ...(issues === undefined ? {} : { comments: [issues] }) };
  move.hosts();
  const keys = await publicKeysIn(textOf(old['commands_public_keys']) ?? '');
  const people = [...keys.keys()].map((key, at): [string, object] => [`person-${at + 1}`, { key }]);
  const commands =
    people.length === 0 || issues === undefined ? undefined : { people: Object.fromEntries(people) };
  if (people.length > 0)
    move.toWrite.push(
      commands === undefined
        ? 'build-envs.ENV.commands, and webhook.comments: where signed commands stand; their keys are under public-keys'
        : 'build-envs.ENV.commands.people: names for these people, and what each may (verbs, components, distributions, repositories): what is not said is not allowed',
    );
  if (issues !== undefined)
    move.toWrite.push(
      `build-envs.ENV.notify: who speaks in ${issues}, if anybody is to (deploy.md, section 3)`,
    );
  move.farm['components'] = {};
  move.toWrite.push('components: every component with its url, full-name and tag');
  move.farm['public-keys'] = Object.fromEntries(keys);
  const envs = Object.entries(mappingOf(old['build-envs'])).map(
    ([name, settings]): [string, Record<string, unknown>] => [
      name,
      move.env(name, mappingOf(settings), commands, templates),
    ],
  );
  move.farm['logs-vms'] = Object.fromEntries(
    [...new Set(envs.map(([, { logs }]) => String(logs)))].map((vm) => {
      move.toWrite.push(`logs-vms.${vm}.remotes: two empty repositories, required: true`);
      return [vm, { netvm: move.text('logs-netvm', 'sys-firewall'), template: templates.logs, key: null }];
    }),
  );
  move.farm['build-envs'] = Object.fromEntries(envs);
  move.toWrite.push('public-keys: the armored public key of every maintainer');
  for (const name of Object.keys(old)) {
    if (!known.has(name)) move.without.push(`${name}: ${noCounterpart.get(name) ?? 'not known here'}`);
  }
  return move;
}
