# SPDX-License-Identifier: GPL-2.0-or-later
"""What a schema cannot say: names that fit together, keys that are what they are called."""
import base64
import binascii
import hashlib
import re
from urllib.parse import urlsplit

from farm_file import Refusal
from farm_values import check_values
from farm_vms import ALL_OPTIONS, vms_of

NO_VM = {'none', 'default', 'domain-0', 'dom0'}
# Names that Qubes keeps, and folders of the logs repository that a VM of that name would write over.
RESERVED = NO_VM | {'intents', 'journal', 'keys', 'build', 'metadata'}
# GitHub refuses longer labels.
LABEL_LIMIT = 50
PACKAGES_OF_ENGINES = {'debian': 'deb', 'rpm': 'rpm'}
# SHA-256 of the RSA host key that github.com withdrew in March 2023 after its secret half was published.
WITHDRAWN_HOST_KEYS = {'nThbg6kXUpJWGl7E1IGOCspRomTxdCARLviKw6E5SY8'}


def check_meaning(farm):
    """Raises Refusal for the first of: templates, names, references, keys, hosts."""
    check_values(farm)
    check_templates(farm)
    check_names(farm)
    check_networks(farm)
    for env, settings in farm['build-envs'].items():
        check_env(farm, env, settings)
    check_comments(farm)
    for vm, logs in farm['logs-vms'].items():
        place = f'logs-vms.{vm}'
        if all(settings['logs'] != vm for settings in farm['build-envs'].values()):
            raise Refusal('UNUSED_LOGS_VM', 'no build environment logs to it', place)
        need_public_key(farm, logs['key'], f'{place}.key')
        if not any(remote['required'] for remote in logs['remotes'].values()):
            raise Refusal('NO_REQUIRED_REMOTE', 'no remote is required, so nothing would ever be published', f'{place}.remotes')
        for name, remote in logs['remotes'].items():
            need_ssh_host(farm, remote['url'], f'{place}.remotes.{name}.url')
    for env, settings in farm['build-envs'].items():
        check_publication(farm, settings, f'build-envs.{env}')
    check_components(farm)
    check_key_owners(farm)
    for host, settings in farm['ssh-hosts'].items():
        check_host_keys(settings['host-keys'], f'ssh-hosts.{host}.host-keys')
    for fingerprint, armored in farm['public-keys'].items():
        check_public_key(fingerprint, armored)


def check_templates(farm):
    templates = farm['templates']
    for name, settings in templates.items():
        if settings['source'] in templates:
            raise Refusal('BAD_TEMPLATE', f'{settings["source"]} is one of our own templates: clone a stock one', f'templates.{name}.source')
    named = [('template', farm), ('webhook.template', farm['webhook'])]
    named += [(f'logs-vms.{vm}.template', settings) for vm, settings in farm['logs-vms'].items()]
    for env, settings in farm['build-envs'].items():
        named += [(f'build-envs.{env}.{role}.template', settings.get(role, {})) for role in ('build', 'keys')]
    for field, settings in named:
        if settings.get('template', farm['template']) not in templates:
            raise Refusal('UNKNOWN_TEMPLATE', f'{settings["template"]} is not one of templates', field)


def check_names(farm):
    shorts = {}
    for name in [vm['name'] for vm in vms_of(farm, ALL_OPTIONS)] + list(farm['templates']):
        if len(name) > 31:
            raise Refusal('BAD_VM_NAME', 'is longer than the 31 characters that Qubes allows', name)
        if name.lower() in RESERVED:
            raise Refusal('BAD_VM_NAME', 'is a reserved name', name)
        short = name[:21].lower()
        other = shorts.get(short)
        if other == name:
            raise Refusal('BAD_VM_NAME', 'is the name of two VMs', name)
        if other is not None:
            raise Refusal('BAD_VM_NAME', f'and {other} are the same in their first 21 characters, so they would share one management disposable', name)
        shorts[short] = name


def check_networks(farm):
    """Network comes from a VM that the machine has: none of ours gives it, least of all one with a key."""
    made = {vm['name'] for vm in vms_of(farm, ALL_OPTIONS) if vm['managed']} | set(farm['templates'])
    named = [('net-vm', farm['net-vm'])]
    named += [(f'logs-vms.{vm}.netvm', settings['netvm']) for vm, settings in farm['logs-vms'].items()]
    named += [(f'build-envs.{env}.netvm', settings['netvm']) for env, settings in farm['build-envs'].items()]
    for field, netvm in named:
        if netvm.lower() in NO_VM:
            raise Refusal('BAD_NETVM', f'{netvm} is no VM that gives network', field)
        if netvm in made:
            raise Refusal('BAD_NETVM', f'{netvm} is a VM of the farm, and gives no network', field)


def check_env(farm, env, settings):
    place = f'build-envs.{env}'
    if settings['logs'] not in farm['logs-vms']:
        raise Refusal('UNKNOWN_LOGS_VM', f'{settings["logs"]} is not one of logs-vms', f'{place}.logs')
    need_public_key(farm, settings['key'], f'{place}.key')
    check_beginning(settings, place)
    people = settings['maintainers']
    for name, fingerprint in people.items():
        need_public_key(farm, fingerprint, f'{place}.maintainers.{name}')
    if len(set(people.values())) != len(people):
        raise Refusal('SAME_KEY_TWICE', 'two maintainers have one key, so they count as one person', f'{place}.maintainers')
    check_repositories(farm, settings, place)
    check_built_templates(settings, place)
    for name, component in settings['components'].items():
        field = f'{place}.components.{name}'
        allowed = component.get('maintainers', list(people))
        stranger = next((person for person in allowed if person not in people), None)
        if stranger is not None:
            raise Refusal('UNKNOWN_MAINTAINER', f'{stranger} is not one of {place}.maintainers', f'{field}.maintainers')
        needed = component.get('required-signatures', settings['required-signatures'])
        if needed > len(allowed):
            raise Refusal('TOO_FEW_MAINTAINERS', f'asks for {needed} signatures, but {len(allowed)} may sign', field)
        if name not in farm['components']:
            raise Refusal('UNKNOWN_COMPONENT', f'{name} is not one of components', field)
        check_lines(settings, farm['components'][name]['tag'], component.get('lines', {}), f'{field}.lines')
    if 'commands' in settings:
        check_commands(farm, settings, f'{place}.commands')
    if 'notify' in settings:
        check_notify(settings, place)


def check_lines(settings, component_tag, lines, place):
    """No tag is of two lines, and no suite has the packages of two."""
    tags = {}
    owners = {}
    for name, line in sorted(lines.items()):
        same = tags.setdefault((line.get('tag', component_tag), line.get('versions', '')), name)
        if same != name:
            raise Refusal('BAD_VALUE', f'has the same tags as {same}', f'{place}.{name}')
        for dist in line['distributions']:
            if dist not in settings['distributions']:
                raise Refusal('UNKNOWN_DISTRIBUTION', f'{dist} is not built in this environment', f'{place}.{name}.distributions')
            way = dist
            if 'suites' in line:
                check_suites(settings, dist, line['suites'], f'{place}.{name}.suites')
                way = f"{dist} {line['suites']}"
            other = owners.setdefault(way, name)
            if other != name:
                raise Refusal('BAD_VALUE', f"{way} is the line {other}'s: a suite has one version of a package", f'{place}.{name}.distributions')


def check_suites(settings, dist, word, field):
    """Of a line's own: what they are called is nothing else's name, and there is somebody to make them."""
    if f'{dist}-{word}' in settings['distributions']:
        raise Refusal('BAD_VALUE', f'the suites of {dist}-{word} have these names already', field)
    if settings['distributions'][dist].get('publisher') == 'engine':
        raise Refusal('BAD_VALUE', f'{dist} is published by its engine, which has suites of its own', field)


def check_beginning(settings, place):
    """What was pinned tells a keys VM that it has begun before. It is made before the first publication, together with the signing key."""
    if settings['key'] is not None and settings.get('journal-key') is None and settings.get('anchor') is None:
        raise Refusal('MISSING_FIELD', 'missing: without it, and without an anchor, a keys VM that lost its memory would believe any history; make-keys keys prints it', f'{place}.journal-key')


def check_notify(settings, place):
    """What is built can be said, and with a link to its log."""
    if 'logs-url' not in settings:
        raise Refusal('MISSING_FIELD', 'missing: notify links logs', f'{place}.logs-url')
    told = settings['notify']['distributions']
    for name in told:
        if name not in settings['distributions']:
            raise Refusal('UNKNOWN_DISTRIBUTION', f'{name} is not built in this environment', f'{place}.notify.distributions.{name}')
    for name in settings['distributions']:
        if name not in told:
            raise Refusal('MISSING_FIELD', f'missing: {name} is built in this environment', f'{place}.notify.distributions.{name}')
    check_labels(settings, place)


def check_labels(settings, place):
    """Labels and the commands that status issues show for copying: what the first notification would find wrong, or the first signed command."""
    release = settings['notify']['release']
    commands = settings.get('commands')
    if commands is not None and release not in commands['releases']:
        raise Refusal('BAD_VALUE', f'{release} is not one of commands.releases, so no command of a status issue would be taken', f'{place}.notify.release')
    owners = {}
    lines = [line for component in settings['components'].values() for line in component.get('lines', {}).values()]
    for dist, told in settings['notify']['distributions'].items():
        field = f'{place}.notify.distributions.{dist}'
        word = f'{told["set"]}-{told.get("name", dist)}'
        ways = [word] + [f"{word}-{line['suites']}" for line in lines if 'suites' in line and dist in line['distributions']]
        for way in ways:
            other = owners.setdefault(way, dist)
            if other != dist:
                raise Refusal('BAD_VALUE', f'{way} is the label of {other} too', field)
        longest = next((label for label in (f'{release}-{way}-building' for way in ways) if len(label) > LABEL_LIMIT), None)
        if longest is not None:
            raise Refusal('BAD_VALUE', f'the label {longest} is longer than the {LABEL_LIMIT} characters that GitHub allows: give it a shorter name', field)
        if commands is not None and word != dist and commands.get('distribution-words', {}).get(word) != dist:
            raise Refusal('UNKNOWN_DISTRIBUTION', f'{word} has to be one of commands.distribution-words and mean {dist}: status issues show commands with it', field)


def check_comments(farm):
    """Commands come in comments and in no other way."""
    takers = [env for env, settings in farm['build-envs'].items() if 'commands' in settings]
    if takers and 'comments' not in farm['webhook']:
        raise Refusal('MISSING_FIELD', f'missing: {takers[0]} takes commands, and no comments are read', 'webhook.comments')


def check_commands(farm, settings, place):
    def stranger(names, among):
        return None if names == 'all' else next((name for name in names if name not in among), None)

    def need_distributions(names, field):
        unknown = stranger(names, distributions)
        if unknown is not None:
            raise Refusal('UNKNOWN_DISTRIBUTION', f'{unknown} is not built in this environment', field)

    distributions = settings['distributions']
    for word, dist in settings['commands'].get('distribution-words', {}).items():
        field = f'{place}.distribution-words.{word}'
        need_distributions([dist], field)
        if word != dist and word in distributions:
            raise Refusal('BAD_VALUE', 'is a distribution itself', field)
    owners = {}
    for name, rights in settings['commands']['people'].items():
        field = f'{place}.people.{name}'
        need_public_key(farm, rights['key'], f'{field}.key')
        other = owners.setdefault(rights['key'], name)
        if other != name:
            raise Refusal('SAME_KEY_TWICE', f'is the key of {other} too', f'{field}.key')
        unknown = stranger(rights.get('components', []), settings['components'])
        if unknown is not None:
            raise Refusal('UNKNOWN_COMPONENT', f'{unknown} is not built in this environment', f'{field}.components')
        need_distributions(rights.get('distributions', []), f'{field}.distributions')
        unbuilt = stranger(rights.get('templates', []), settings.get('templates', {}))
        if unbuilt is not None:
            raise Refusal('UNKNOWN_TEMPLATE', f'{unbuilt} is not built in this environment', f'{field}.templates')


def check_built_templates(settings, place):
    """Templates are rpm packages, and their names are theirs alone."""
    name = next(iter(settings.get('templates', {})), None)
    if name is not None and 'dnf' not in settings:
        raise Refusal('MISSING_FIELD', f'missing: the template {name} is an rpm package', f'{place}.dnf')
    for template, built in settings.get('templates', {}).items():
        for release in built['releases']:
            if 'commands' in settings and release not in settings['commands']['releases']:
                raise Refusal('BAD_VALUE', f'{release} is not one of commands.releases, so nobody could have it built', f'{place}.templates.{template}.releases')
    for dist in settings['distributions']:
        if dist.startswith('templates-'):
            raise Refusal('BAD_VALUE', 'is where templates lie', f'{place}.distributions.{dist}')
    for component in settings['components']:
        if component.startswith('qubes-template-'):
            raise Refusal('BAD_VALUE', 'is the name of a template', f'{place}.components.{component}')


def check_repositories(farm, settings, place):
    for name, distribution in settings['distributions'].items():
        kind = distribution.get('packages', PACKAGES_OF_ENGINES.get(distribution['engine']))
        if kind is None:
            raise Refusal('MISSING_FIELD', f'missing: deb or rpm, since {distribution["engine"]} is not an engine of ours', f'{place}.distributions.{name}.packages')
        repository = 'apt' if kind == 'deb' else 'dnf'
        if repository not in settings:
            raise Refusal('MISSING_FIELD', f'missing: {name} has {kind} packages', f'{place}.{repository}')
    for repository in ('apt', 'dnf', 'status-page'):
        if repository in settings:
            need_ssh_host(farm, settings[repository]['upload'], f'{place}.{repository}.upload')


def check_publication(farm, settings, place):
    """A publication need not be on a remote that is not required, so it is not looked for there."""
    publication = settings.get('publication')
    if publication is None:
        if 'promotion' in settings:
            raise Refusal('MISSING_FIELD', 'missing: promotion goes by the published logs', f'{place}.publication')
        return
    field = f'{place}.publication.url'
    if publication['url'].startswith('ssh://'):
        need_ssh_host(farm, publication['url'], field)
    for name, remote in farm['logs-vms'][settings['logs']]['remotes'].items():
        if remote['url'] == publication['url'] and not remote['required']:
            raise Refusal('BAD_VALUE', f'is remote {name}, which is not required', field)


def check_components(farm):
    owners = {}
    for name, component in farm['components'].items():
        field = f'components.{name}'
        if component['url'].startswith('ssh://'):
            need_ssh_host(farm, component['url'], f'{field}.url')
        # GitHub compares names without case.
        other = owners.setdefault(component['full-name'].lower(), name)
        if other != name:
            raise Refusal('SAME_REPOSITORY_TWICE', f'is the repository of {other} too', f'{field}.full-name')


def need_public_key(farm, fingerprint, field):
    if fingerprint is not None and fingerprint not in farm['public-keys']:
        raise Refusal('NO_PUBLIC_KEY', f'{fingerprint} is not under public-keys', field)


def check_key_owners(farm):
    """One secret key, one VM: a key shared by two would let one of them act as the other."""
    owners = {}
    for place in ('logs-vms', 'build-envs'):
        for name, settings in farm[place].items():
            if settings['key'] is None:
                continue
            field = f'{place}.{name}.key'
            other = owners.setdefault(settings['key'], field)
            if other != field:
                raise Refusal('SAME_KEY_TWICE', f'is the key of {other} too', field)
    for env, settings in farm['build-envs'].items():
        people = [(fingerprint, f'maintainers.{name}') for name, fingerprint in settings['maintainers'].items()]
        people += [(rights['key'], f'commands.people.{name}.key') for name, rights in settings.get('commands', {}).get('people', {}).items()]
        for fingerprint, field in people:
            if fingerprint in owners:
                raise Refusal('SAME_KEY_TWICE', f'is the key of {owners[fingerprint]} too', f'build-envs.{env}.{field}')


def need_ssh_host(farm, url, field):
    parts = urlsplit(url)
    host = parts.netloc.rpartition('@')[2]
    if ':' in host:
        raise Refusal('BAD_VALUE', 'the port of an ssh host stands under ssh-hosts only', field)
    if host not in farm['ssh-hosts']:
        raise Refusal('UNKNOWN_SSH_HOST', f'{host} is not one of ssh-hosts', field)


def check_host_keys(keys, field):
    for key in keys:
        kind, text = key.split(' ')
        blob = base64.b64decode(text + '=' * (-len(text) % 4))
        digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip('=')
        if digest in WITHDRAWN_HOST_KEYS:
            raise Refusal('WITHDRAWN_HOST_KEY', 'is the RSA key that github.com withdrew in March 2023', field)
        inside = blob[4:4 + int.from_bytes(blob[:4], 'big')].decode('latin-1')
        if inside != kind:
            raise Refusal('BAD_VALUE', f'names itself "{inside[:40]}" inside', field)


def check_public_key(fingerprint, armored):
    """Enough of RFC 9580 to know which key it is, and that no secret one is among the packets."""
    field = f'public-keys.{fingerprint}'
    try:
        packets = read_key(armored, field)
        found, material = fingerprint_of(packets[0][1])
        why = 'has no user ID' if all(tag != 13 for tag, _ in packets) else unusable(material)
    except (ValueError, IndexError, binascii.Error):
        raise Refusal('BAD_PUBLIC_KEY', 'is not one OpenPGP key as gpg --armor --export writes it', field) from None
    if found != fingerprint:
        raise Refusal('BAD_PUBLIC_KEY', f'holds the key {found}', field)
    if why is not None:
        raise Refusal('KEY_NOT_USABLE', f'holds a key that {why}: nothing that it signs is good here', field)


# Object identifiers of NIST P-256, P-384, P-521 and Ed25519.
CURVES = {19: ('2a8648ce3d030107', '2b81040022', '2b81040023'), 22: ('2b06010401da470f01',)}


def unusable(material):
    """Why openpgp.js in the build VM takes no signature of such a key, or None. The words of RFC 9580, section 9.1."""
    algorithm, rest = material[0], material[1:]
    if algorithm in (1, 3):
        return 'is of RSA with fewer than 2048 bits' if int.from_bytes(rest[:2], 'big') < 2047 else None
    if algorithm in (27, 28):
        return None
    if algorithm not in CURVES:
        return 'is of an algorithm that is not taken'
    return None if rest[1:1 + rest[0]].hex() in CURVES[algorithm] else 'is of a curve that is not taken'


def read_key(armored, field):
    body = re.fullmatch(r'-----BEGIN PGP PUBLIC KEY BLOCK-----\n(?:[A-Za-z]+: .*\n)*\n([A-Za-z0-9+/=\n]+?)(?:\n=[A-Za-z0-9+/]{4})?\n-----END PGP PUBLIC KEY BLOCK-----\n', armored)
    if body is None:
        raise ValueError('no armor')
    packets = list(read_packets(base64.b64decode(body[1].replace('\n', ''), validate=True)))
    if any(tag in (5, 7) for tag, _ in packets):
        raise Refusal('SECRET_IN_PILLAR', 'holds a secret key', field)
    if not packets or packets[0][0] != 6 or sum(tag == 6 for tag, _ in packets) != 1:
        raise ValueError('not one primary key')
    return packets


def fingerprint_of(key):
    """The fingerprint, and what follows the time: the algorithm and its numbers."""
    if key[0] == 4:
        return hashlib.sha1(b'\x99' + len(key).to_bytes(2, 'big') + key).hexdigest().upper(), key[5:]
    if key[0] == 6:
        return hashlib.sha256(b'\x9b' + len(key).to_bytes(4, 'big') + key).hexdigest().upper(), key[5:6] + key[10:]
    raise ValueError('unknown version')


def read_packets(data):
    at = 0
    while at < len(data):
        head, at = data[at], at + 1
        if not head & 0x80:
            raise ValueError('not a packet')
        if head & 0x40:
            tag, first, at = head & 0x3f, data[at], at + 1
            if first < 192:
                length = first
            elif first < 224:
                length, at = ((first - 192) << 8) + data[at] + 192, at + 1
            elif first == 255:
                length, at = int.from_bytes(data[at:at + 4], 'big'), at + 4
            else:
                raise ValueError('partial length')
        else:
            tag, size = head >> 2 & 0x0f, (1, 2, 4, 0)[head & 3]
            if size == 0:
                raise ValueError('indeterminate length')
            length, at = int.from_bytes(data[at:at + size], 'big'), at + size
        if at + length > len(data):
            raise ValueError('cut short')
        yield tag, data[at:at + length]
        at += length
