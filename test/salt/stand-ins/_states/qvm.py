# SPDX-License-Identifier: GPL-2.0-or-later
"""Stands in for the qvm states of dom0. Where the real ones silently drop what they do not know, these fail: unknown action, key, flag, or a
value of the wrong kind. Unlike the real prefs they change nothing with test=True."""
import copy
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
import dom0_machine as dom0  # noqa: E402

__virtualname__ = 'qvm'

ORDER = ['exists', 'running', 'missing', 'halted', 'absent', 'present', 'clone', 'prefs', 'devices', 'service', 'features', 'firewall', 'tags', 'unpause', 'pause',
         'shutdown', 'kill', 'start', 'run']
PREFS = {'autostart', 'debug', 'default_user', 'default_dispvm', 'devices_denied', 'management_dispvm', 'guivm', 'audiovm', 'template_for_dispvms', 'dispvm_allowed',
         'virt_mode', 'label', 'last_backup', 'include_in_backups', 'installed_by_rpm', 'ip', 'kernel', 'kernelopts', 'mac', 'maxmem', 'memory', 'netvm',
         'pci_strictreset', 'pcidevs', 'provides_network', 'template', 'qrexec_timeout', 'updateable', 'vcpus'}
MAY_BE_NONE = {'netvm', 'guivm', 'audiovm', 'default_dispvm', 'devices_denied', 'management_dispvm'}


def __virtual__():
    return __virtualname__


def _options(given, keys, flags=()):
    """A list of one-key mappings and bare words, as qvm.vm takes it; `flags` is a list by itself."""
    if not isinstance(given, list):
        raise dom0.Refused(f'not a list: {given!r}')
    found = {}
    for one in given:
        if not isinstance(one, dict) or len(one) != 1:
            raise dom0.Refused(f'not a mapping of one key: {one!r}')
        ((key, value),) = one.items()
        if key in found:
            raise dom0.Refused(f'{key} stands twice')
        if key == 'flags' and flags:
            unknown = [flag for flag in value if flag not in flags]
            if unknown:
                raise dom0.Refused(f'unknown flag: {unknown[0]}')
        elif key not in keys:
            raise dom0.Refused(f'unknown key: {key}')
        found[key] = value
    return found


def _names(value):
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise dom0.Refused(f'not a list of names: {value!r}')
    if len(set(value)) != len(value):
        raise dom0.Refused(f'a name stands twice: {value!r}')
    return value


def _present(content, name, given):
    want = _options(given, {'template', 'label', 'class', 'mem', 'vcpus', 'root-move-from', 'root-copy-from'}, {'standalone', 'hvm', 'hvm-template', 'proxy', 'net', 'quiet'})
    if name not in content['vms']:
        dom0.add(content, name, want.get('class', 'AppVM'), want['template'], want['label'])


def _prefs(content, name, given):
    for key, value in _options(given, PREFS | {key.replace('_', '-') for key in PREFS}).items():
        pref = key.replace('-', '_')
        if pref in MAY_BE_NONE and value in ('none', ''):
            value = None
        elif pref in MAY_BE_NONE | {'template', 'label'} and not isinstance(value, str):
            raise dom0.Refused(f'{key} is not a name: {value!r}')
        if value == '*default*':
            dom0.find(content, name)['prefs'].pop(pref, None)
        else:
            dom0.set_pref(content, name, pref, value) if dom0.find(content, name)['prefs'].get(pref, ()) != value else None


def _features(content, name, given):
    want = _options(given, {'enable', 'disable', 'default', 'set'})
    for action, value in (('enable', '1'), ('disable', ''), ('default', None)):
        for feature in _names(want.get(action, [])):
            dom0.set_feature(content, name, feature, value)
    for one in want.get('set', []):
        ((feature, value),) = one.items()
        dom0.set_feature(content, name, feature, value)


def _tags(content, name, given):
    want = _options(given, {'add', 'present', 'del', 'absent'})
    for action in ('add', 'present', 'del', 'absent'):
        for tag in _names(want.get(action, [])):
            dom0.set_tag(content, name, tag, action in ('add', 'present'))


def _shutdown(content, name, given):
    _options(given, {'exclude'}, {'force', 'wait', 'all', 'kill'})
    dom0.shut_down(content, name)


def _exists(content, name, given):
    _options(given, (), {'quiet', 'template'})
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


def vm(name, actions=None, **kwargs):
    """One VM: sub-actions in a fixed order, or in that of `actions`."""
    kwargs = {key: value for key, value in kwargs.items() if not key.startswith('__')}
    order = actions if actions is not None else ORDER
    unknown = [key for key in kwargs if key not in order]
    if unknown:
        return {'name': name, 'changes': {}, 'result': False, 'comment': f'Unknown action keyword: {unknown[0]}'}

    def work(content):
        for action in order:
            if action in kwargs:
                if action not in DONE:
                    raise dom0.Refused(f'this stand-in cannot {action}')
                DONE[action](content, name, kwargs[action])
    return _apply(name, work)


def clone(name, source, flags=()):
    """A new VM like `source`; nothing where it is there already."""
    def work(content):
        if set(flags) - {'shutdown', 'quiet'}:
            raise dom0.Refused(f'unknown flag: {flags}')
        if name not in content['vms']:
            dom0.clone(content, source, name)
    return _apply(name, work)


def template_installed(name, fromrepo=None, pool=None):
    """A template from the repositories: any that the machine says there is."""
    def work(content):
        if name not in content['vms']:
            if name not in content['repository']:
                raise dom0.Refused(f'no match for template: {name}')
            dom0.add(content, name, 'TemplateVM', None, 'black')
    return _apply(name, work)
