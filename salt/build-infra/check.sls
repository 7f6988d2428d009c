#!py
# SPDX-License-Identifier: GPL-2.0-or-later
"""qubesctl state.apply build-infra.check: what in dom0 is not as farm.yaml says, one failing line each; it changes nothing. A highstate with test=True
cannot be used for that: the stock qvm.prefs writes even then."""
import hashlib
import json
import re


def ask(*argv):
    """What one of dom0's programs prints, or None where it refuses."""
    done = __salt__['cmd.run_all'](list(argv), python_shell=False, ignore_retcode=True)
    return done['stdout'] if done['retcode'] == 0 else None


def words(output):
    """First word of each line: the rest of it."""
    return {line.split(None, 1)[0]: line.split(None, 1)[1:] for line in output.splitlines() if line.strip()}


def compare(what, found, wanted):
    if found != wanted:
        yield f'{what} is {found}, farm.yaml says {wanted}'


def of_vm(vm):
    name = vm['name']
    prefs = ask('qvm-prefs', name)
    if prefs is None:
        yield f'{name} does not exist'
        return
    # Each line: the name, D for a default or -, the value.
    lines = re.findall(r'^(\S+) +([D-])(.*)$', prefs, re.MULTILINE)
    now = {key: value.strip() for key, _, value in lines}
    own = {key for key, mark, _ in lines if mark == '-'}
    if vm['managed']:
        want = {'template': vm['template'], 'label': vm['label'], 'netvm': vm['netvm'] or 'None', 'autostart': str(vm['autostart'])}
        if vm['role'] != 'build':
            want['default_dispvm'] = 'None'
        for key in ('memory', 'maxmem', 'vcpus'):
            if key in vm:
                want[key] = str(vm[key])
            elif key in own:
                yield f'{name}: {key} is {now[key]}, farm.yaml leaves it to Qubes'
        for key, value in want.items():
            yield from compare(f'{name}: {key}', now.get(key), value)
        size = ask('qvm-volume', 'info', f'{name}:private', 'size')
        if size is None or int(size) < vm['private-size']:
            yield f'{name}: the private volume has {size} bytes, farm.yaml says {vm["private-size"]}'
    features = words(ask('qvm-features', name) or '')
    ours = sorted(key for key, value in features.items() if key.startswith('service.build-infra-') and value == ['1'])
    yield from compare(f'{name}: features of ours', ' '.join(ours), ' '.join(sorted(vm['features'])))
    tags = sorted(tag for tag in words(ask('qvm-tags', name) or '') if re.fullmatch(r'build-infra(-.*)?', tag) and tag != 'build-infra-borrowed')
    yield from compare(f'{name}: tags of ours', ' '.join(tags), ' '.join(sorted(vm['tags'])))


def of_file(infra, file):
    """Content, owner and mode of the policy; rendered in memory, nothing is written."""
    path = file['path']
    if not __salt__['file.file_exists'](path):
        yield f'{path} is missing'
        return
    source = __salt__['cp.get_file_str']('salt://build-infra/' + file['template'], saltenv='base')
    context = {'infra': infra, 'vm': 'dom0', 'env': '', 'enabled': infra['this']['enabled']}
    wanted = __salt__['file.apply_template_on_contents'](source, 'jinja', context, {}, 'base')
    if __salt__['file.read'](path) != wanted:
        yield f'{path} is not what farm.yaml makes it'
    stats = __salt__['file.stats'](path)
    yield from compare(path, f"{stats['user']}:{stats['group']} {stats['mode'].zfill(4)}", f"{file['owner']}:{file['group']} {file['mode']}")


def gone(infra):
    known = {vm['name'] for vm in infra['vms']}
    for name in (ask('qvm-ls', '--raw-list', '--tags', 'build-infra') or '').split():
        if name not in known:
            yield f'{name} is not in farm.yaml any more: qubesctl state.apply build-infra.absent'


def run():
    infra = dict(__salt__['pillar.get']('build-infra', {}))
    seal = infra.pop('seal', '')
    if infra.get('this', {}).get('role') != 'dom0' or seal != hashlib.sha256(json.dumps(infra, sort_keys=True).encode()).hexdigest():
        return {'include': ['build-infra.refused']}
    manifest = __salt__['slsutil.renderer']('salt://build-infra/manifests/dom0.yaml')
    lines = __salt__['slsutil.renderer']('salt://build-infra/dom0/obstacles.py')['lines']
    lines += [line for template in infra['template-vms'] if ask('qvm-check', '--quiet', template['name']) is None for line in [f"{template['name']} does not exist"]]
    for vm in infra['vms']:
        lines += of_vm(vm)
    for file in manifest['vm']['files']:
        lines += of_file(infra, file)
    lines += gone(infra)
    if not lines:
        return {'build-infra dom0 is as farm.yaml says': {'test.nop': []}}
    return {f'build-infra difference {number}': {'test.fail_without_changes': [{'comment': line}]} for number, line in enumerate(lines, 1)}
