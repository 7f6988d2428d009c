# SPDX-License-Identifier: GPL-2.0-or-later
"""What a dom0 knows, as a JSON file ($BUILD_INFRA_MACHINE): the VMs with their preferences, features, tags and volumes. It refuses what
qubesd refuses, and remembers as qubesd does which preferences were set and which have their default."""
import contextlib
import fcntl
import json
import os
import re

LABELS = {'red', 'orange', 'yellow', 'green', 'gray', 'blue', 'purple', 'black'}
CLASSES = {'AppVM', 'StandaloneVM', 'TemplateVM', 'DispVM'}
GIB = 1024 ** 3


class Refused(Exception):
    """One line, as qubesd says it."""


def machine_file():
    return os.environ['BUILD_INFRA_MACHINE']


@contextlib.contextmanager
def machine(write=False):
    """The machine, and written back at the end: whole, or not at all where something was refused."""
    with open(machine_file() + '.lock', 'w', encoding='utf-8') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with open(machine_file(), encoding='utf-8') as file:
            content = json.load(file)
        yield content
        if write:
            with open(machine_file() + '.new', 'w', encoding='utf-8') as file:
                json.dump(content, file, indent=1, sort_keys=True)
            os.replace(machine_file() + '.new', machine_file())


def find(content, name):
    if name not in content['vms']:
        raise Refused(f'no such domain: {name!r}')
    return content['vms'][name]


def check_name(name):
    if not re.fullmatch(r'[A-Za-z][A-Za-z0-9_.-]{0,30}', name) or name.lower() in ('none', 'default', 'domain-0', 'dom0'):
        raise Refused(f'invalid VM name: {name!r}')


def add(content, name, vm_class, template, label, private=2 * GIB):
    check_name(name)
    if name in content['vms']:
        raise Refused(f'VM with name {name} already exists')
    if vm_class not in CLASSES:
        raise Refused(f'no such class: {vm_class}')
    prefs = {}
    content['vms'][name] = {'class': vm_class, 'prefs': prefs, 'features': {}, 'tags': [], 'volumes': {'private': private}, 'running': False}
    if template is not None:
        set_pref(content, name, 'template', template)
    set_pref(content, name, 'label', label)


def clone(content, source, name):
    original = find(content, source)
    if original['running']:
        raise Refused(f'{source} is running')
    add(content, name, original['class'], None, original['prefs'].get('label', 'black'), original['volumes']['private'])
    content['vms'][name]['features'] = dict(original['features'])
    content['vms'][name]['tags'] = list(original['tags'])


def set_pref(content, name, pref, value):
    vm = find(content, name)
    if pref == 'template':
        if vm['class'] == 'TemplateVM':
            raise Refused('a template has no template')
        if find(content, value)['class'] != 'TemplateVM':
            raise Refused(f'{value} is not a template')
        if vm['running']:
            raise Refused(f'{name} is running: its template cannot be changed')
    elif pref == 'netvm' and value is not None:
        if not find(content, value)['prefs'].get('provides_network'):
            raise Refused(f'{value} does not provide network')
    elif pref == 'label' and value not in LABELS:
        raise Refused(f'no such label: {value}')
    elif pref in ('memory', 'maxmem', 'vcpus') and (type(value) is not int or value <= 0):
        raise Refused(f'{pref} is no number: {value!r}')
    elif pref in ('autostart', 'provides_network', 'include_in_backups') and not isinstance(value, bool):
        raise Refused(f'{pref} is neither true nor false: {value!r}')
    vm['prefs'][pref] = value


def set_feature(content, name, feature, value):
    if not re.fullmatch(r'[a-zA-Z0-9_.-]{1,255}', feature):
        raise Refused(f'invalid feature name: {feature!r}')
    features = find(content, name)['features']
    if value is None:
        features.pop(feature, None)
    elif not isinstance(value, str):
        raise Refused(f'feature {feature} is not text: {value!r}')
    else:
        features[feature] = value


def set_tag(content, name, tag, present):
    if not re.fullmatch(r'[A-Za-z0-9_-]+', tag):
        raise Refused(f'invalid tag: {tag!r}')
    tags = set(find(content, name)['tags'])
    (tags.add if present else tags.discard)(tag)
    find(content, name)['tags'] = sorted(tags)


def shut_down(content, name):
    behind = [other for other, vm in content['vms'].items() if vm['running'] and vm['prefs'].get('netvm') == name]
    if behind:
        raise Refused(f'{name} is the netvm of running VMs: {", ".join(behind)}')
    find(content, name)['running'] = False


def resize(content, volume, size):
    name, _, pool = volume.partition(':')
    volumes = find(content, name)['volumes']
    if pool not in volumes:
        raise Refused(f'no such volume: {volume}')
    if size < volumes[pool]:
        raise Refused('For your own safety, shrinking of a volume is disabled')
    volumes[pool] = size
