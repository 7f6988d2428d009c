# SPDX-License-Identifier: GPL-2.0-or-later
"""What follows from farms, as dom0 understands them: its modules read and check each, and Jinja renders as Salt does.

usage: plan_farms.py CHECKOUT <REQUESTS
A request is one line: {"file": PATH, "enabled": [OPTION…]}, or with "farm", what stands under build-infra, in the place of "file".
The answer to it is one line: {"farm", "vms", "machines"}, or {"refused": {"code", "detail", "field"}}.
"""
import functools
import json
import os
import sys

import jinja2
import yaml

PILLAR = os.path.join(sys.argv[1], 'salt/pillar/build-infra')
STATES = os.path.join(sys.argv[1], 'salt/build-infra')
SCHEMA = os.path.join(PILLAR, 'schema.json')
sys.path.insert(0, PILLAR)

from farm_slices import Refusal, check_farm, read_farm, slice_for, vms_of  # noqa: E402


def printed(value):
    """Python's spelling of anything else is not what a reader of the file expects."""
    if isinstance(value, (str, int, jinja2.Undefined)) and not isinstance(value, bool):
        return value
    raise jinja2.TemplateError(f'a {type(value).__name__} is printed')


JINJA = jinja2.Environment(loader=jinja2.FileSystemLoader(STATES), undefined=jinja2.StrictUndefined, keep_trailing_newline=True, finalize=printed)


@functools.lru_cache(maxsize=None)
def manifest_of(role):
    with open(os.path.join(STATES, 'manifests', f'{role}.yaml'), encoding='utf-8') as file:
        return yaml.safe_load(file)


def entry_of(file, context):
    entry = {word: file[word] for word in ('path', 'owner', 'group', 'mode', 'source', 'link') if word in file}
    if 'template' in file:
        entry['content'] = JINJA.get_template(file['template']).render(context)
        if file['path'].endswith('.json'):
            json.loads(entry['content'])
    return entry


def machine(farm, enabled, name):
    """What lies in a VM, or in dom0: folders first, then files and links, in the manifest's order; and what waits for a key."""
    infra = slice_for(farm, enabled, name)
    this = infra['this']
    manifest = manifest_of(this['role'])
    context = {'infra': infra, 'vm': name, 'env': this['env'], 'enabled': this['enabled']}
    entries = list(manifest['vm'].get('folders', []))
    waiting = []
    for file in manifest.get('template', {}).get('files', []) + manifest['vm']['files']:
        if 'when' in file and file['when'] not in this['enabled']:
            continue
        missing = next((word for word in file.get('needs', []) if word in this['needs-missing']), None)
        if missing is None:
            entries.append(entry_of(file, context))
        else:
            waiting.append(f'{file["path"]} needs {missing}')
    keys = set()
    for word in manifest['vm'].get('public-keys', []):
        keys.update(this['keys'][word] if word == 'maintainers' else [this['keys'][word]])
    for key in sorted(keys - {None}):
        entries.append({'path': f'/rw/config/build-infra/public-keys/{key}.asc', 'owner': 'root', 'group': 'root', 'mode': '0644', 'content': infra['public-keys'][key]})
    return {'entries': entries, 'waiting': waiting}


def answer(request):
    try:
        farm = read_farm(request['file'], SCHEMA) if 'file' in request else check_farm(request['farm'], SCHEMA)
    except Refusal as refusal:
        return {'refused': {'code': refusal.code, 'detail': refusal.detail, 'field': refusal.field}}
    enabled = request['enabled']
    vms = vms_of(farm, enabled)
    return {'farm': farm, 'vms': vms, 'machines': {name: machine(farm, enabled, name) for name in ['dom0', *(vm['name'] for vm in vms)]}}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
