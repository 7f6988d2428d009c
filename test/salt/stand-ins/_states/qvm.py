# SPDX-License-Identifier: GPL-2.0-or-later
"""Stands in for the qvm states of dom0. Where the real ones silently drop what they do not know, these fail (qvm_schema.py: unknown action, key,
flag, or a value of the wrong kind). Unlike the real prefs they change nothing with test=True."""
import copy
import os
import sys

for folder in ('../..', '..'):
    sys.path.insert(0, os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), folder)))
import dom0_machine as dom0  # noqa: E402
import qvm_schema  # noqa: E402

__virtualname__ = 'qvm'

ORDER = ['exists', 'running', 'missing', 'halted', 'absent', 'present', 'clone', 'prefs', 'devices', 'service', 'features', 'firewall', 'tags', 'unpause', 'pause',
         'shutdown', 'kill', 'start', 'run']
MAY_BE_NONE = {'netvm', 'guivm', 'audiovm', 'default_dispvm', 'devices_denied', 'management_dispvm'}


def __virtual__():
    return __virtualname__


def _present(content, name, want):
    if name not in content['vms']:
        dom0.add(content, name, want.get('class', 'AppVM'), want['template'], want['label'])


def _prefs(content, name, want):
    for key, value in want.items():
        pref = key.replace('-', '_')
        # As the real one: spelled with a dash, `none` is a name.
        if key in MAY_BE_NONE and value in ('none', ''):
            value = None
        if value == '*default*':
            dom0.find(content, name)['prefs'].pop(pref, None)
        elif dom0.find(content, name)['prefs'].get(pref, ()) != value:
            dom0.set_pref(content, name, pref, value)


def _features(content, name, want):
    for action, value in (('enable', '1'), ('disable', ''), ('default', None)):
        for feature in want.get(action, []):
            dom0.set_feature(content, name, feature, value)
    for one in want.get('set', []):
        ((feature, value),) = one.items()
        dom0.set_feature(content, name, feature, value)


def _tags(content, name, want):
    for action in ('add', 'present', 'del', 'absent'):
        for tag in want.get(action, []):
            dom0.set_tag(content, name, tag, action in ('add', 'present'))


def _shutdown(content, name, want):
    dom0.shut_down(content, name)


def _exists(content, name, want):
    dom0.find(content, name)


DONE = {'exists': _exists, 'present': _present, 'prefs': _prefs, 'features': _features, 'tags': _tags, 'shutdown': _shutdown}


def _apply(name, work):
    """Runs `work` on the machine; the difference is the change."""
    ret = {'name': name, 'changes': {}, 'result': True, 'comment': ''}
    try:
        with dom0.machine(write=not __opts__['test']) as content:  # noqa: F821
            before = copy.deepcopy(content['vms'])
            work(content)
            after = content['vms']
    except (dom0.Refused, KeyError) as error:
        ret.update(result=False, comment=f'{type(error).__name__}: {error}')
        return ret
    for vm in sorted({*before, *after}):
        if before.get(vm) != after.get(vm):
            ret['changes'][vm] = {'old': before.get(vm), 'new': copy.deepcopy(after.get(vm))}
    if ret['changes'] and __opts__['test']:  # noqa: F821
        ret['result'] = None
    return ret


def _checked(name, fun, given, work):
    problems = list(qvm_schema.qvm_problems({'name': name, 'fun': fun, **given}, set(given)))
    if problems:
        return {'name': name, 'changes': {}, 'result': False, 'comment': problems[0]}
    return _apply(name, work)


def vm(name, **kwargs):
    """One VM: sub-actions in a fixed order, or in that of `actions`."""
    given = {key: value for key, value in kwargs.items() if not key.startswith('__')}

    def work(content):
        for action in given.get('actions', ORDER):
            if action in given:
                if action not in DONE:
                    raise dom0.Refused(f'this stand-in cannot {action}')
                DONE[action](content, name, {key: value for one in given[action] for key, value in one.items()})
    return _checked(name, 'vm', given, work)


def prefs(name, **kwargs):
    """Preferences of one VM, without any other sub-action."""
    given = {key: value for key, value in kwargs.items() if not key.startswith('__')}
    return _checked(name, 'prefs', given, lambda content: _prefs(content, name, given))


def tags(name, **kwargs):
    """Tags of one VM, without any other sub-action."""
    given = {key: value for key, value in kwargs.items() if not key.startswith('__')}
    return _checked(name, 'tags', given, lambda content: _tags(content, name, given))


def clone(name, source, **kwargs):
    """A new VM like `source`; nothing where it is there already."""
    def work(content):
        if name not in content['vms']:
            dom0.clone(content, source, name)
    return _checked(name, 'clone', {'source': source, **{key: value for key, value in kwargs.items() if not key.startswith('__')}}, work)


def template_installed(name, **kwargs):
    """A template from the repositories: any that the machine says there is."""
    def work(content):
        if name not in content['vms']:
            if name not in content['repository']:
                raise dom0.Refused(f'no match for template: {name}')
            dom0.add(content, name, 'TemplateVM', None, 'black')
    return _checked(name, 'template_installed', {key: value for key, value in kwargs.items() if not key.startswith('__')}, work)
