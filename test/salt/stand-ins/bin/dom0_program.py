#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Stands in for programs of dom0, by the name it is called by: qvm-check, qvm-features, qvm-ls, qvm-prefs, qvm-tags,
qvm-volume. Only the ways in which the formula calls
them; everything else is an error."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
import dom0_machine as dom0  # noqa: E402


def check(words):
    if words[:1] != ['--quiet'] or len(words) != 2:
        raise dom0.Refused(f'not understood: {words}')
    with dom0.machine() as content:
        return 0 if words[1] in content['vms'] else 1


def ls(words):
    if words[:2] == ['--raw-data', '--fields'] and len(words) == 3:
        with dom0.machine() as content:
            for name, vm in [('dom0', {'class': 'AdminVM', 'running': True, 'prefs': {}}), *sorted(content['vms'].items())]:
                known = {**DEFAULTS, 'provides_network': False, **vm['prefs'], 'name': name, 'class': vm['class'], 'state': 'Running' if vm['running'] else 'Halted'}
                # The real one shows what is not there, and what is None, as a dash.
                print('|'.join('-' if known.get(field) is None else str(known[field]) for field in words[2].split(',')))
        return 0
    if words[:2] != ['--raw-list', '--tags'] or len(words) < 3:
        raise dom0.Refused(f'not understood: {words}')
    with dom0.machine() as content:
        for name, vm in sorted(content['vms'].items()):
            if set(words[2:]) & set(vm['tags']):
                print(name)
    return 0


DEFAULTS = {'default_dispvm': 'default-dvm', 'template': None, 'label': 'red', 'netvm': 'sys-firewall', 'autostart': False, 'memory': 400, 'maxmem': 4000, 'vcpus': 2}


def prefs(words):
    if words[:1] == ['--default'] and len(words) == 3:
        with dom0.machine(write=True) as content:
            dom0.find(content, words[1])['prefs'].pop(words[2], None)
        return 0
    hide = words[:1] == ['--hide-default']
    if hide and len(words) == 2:
        words = words[1:]
    if len(words) not in (1, 2) or words[0].startswith('-'):
        raise dom0.Refused(f'not understood: {words}')
    with dom0.machine() as content:
        found = dom0.find(content, words[0])['prefs']
    if len(words) == 2:
        value = {**DEFAULTS, **found}.get(words[1])
        # The real one says nothing at all for what is not set, and None in its list.
        if value is not None:
            print(value)
    else:
        for name, value in sorted({**({} if hide else DEFAULTS), **found}.items()):
            print(f"{name:20}  {'-' if name in found else 'D'}  {value}")
    return 0


def features(words):
    if len(words) != 1:
        raise dom0.Refused(f'not understood: {words}')
    with dom0.machine() as content:
        for name, value in sorted(dom0.find(content, words[0])['features'].items()):
            print(f'{name:20}  {value}')
    return 0


def tags(words):
    if len(words) != 1:
        raise dom0.Refused(f'not understood: {words}')
    with dom0.machine() as content:
        print('\n'.join(dom0.find(content, words[0])['tags']))
    return 0


def volume(words):
    if words[:1] == ['info'] and len(words) == 3 and words[2] == 'size':
        with dom0.machine() as content:
            name, _, pool = words[1].partition(':')
            print(dom0.find(content, name)['volumes'][pool])
        return 0
    if words[:1] == ['resize'] and len(words) == 3:
        with dom0.machine(write=True) as content:
            dom0.resize(content, words[1], int(words[2]))
        return 0
    raise dom0.Refused(f'not understood: {words}')


def main():
    program = os.path.basename(sys.argv[0])
    try:
        return {'qvm-check': check, 'qvm-features': features, 'qvm-ls': ls, 'qvm-prefs': prefs, 'qvm-tags': tags, 'qvm-volume': volume}[program](sys.argv[1:])
    except dom0.Refused as error:
        print(f'{program}: error: {error}', file=sys.stderr)
        return 1


sys.exit(main())
