# SPDX-License-Identifier: GPL-2.0-or-later
"""What of the farm reaches which id: what its templates use, and nothing else, so a template that reaches further fails. No secret is in any of them."""
from farm_file import Refusal, check_shape, read_farm_file, read_schema
from farm_meaning import check_meaning
from farm_vms import ALL_OPTIONS, templates_of, vms_of

__all__ = ['ALL_OPTIONS', 'Refusal', 'check_farm', 'read_farm', 'slice_for', 'vms_of']

OF_OUR_VMS = {'template', 'private-gib', 'memory', 'maxmem', 'vcpus', 'netvm'}


def check_farm(untrusted, schema_path):
    """The farm, checked as a whole. Raises Refusal."""
    check_shape(read_schema(schema_path), untrusted)
    check_meaning(untrusted)
    return untrusted


def read_farm(path, schema_path):
    """As check_farm, of a farm.yaml."""
    return check_farm(read_farm_file(path), schema_path)


def without(mapping, names):
    return {name: content for name, content in mapping.items() if name not in names}


def only(mapping, names):
    return {name: content for name, content in mapping.items() if name in names}


def slice_for(farm, enabled, name):
    """None for an id that is none of ours."""
    if name == 'dom0':
        return {**farm, 'this': {'name': 'dom0', 'role': 'dom0', 'env': '', 'enabled': enabled}, 'vms': vms_of(farm, enabled), 'template-vms': templates_of(farm)}
    vms = vms_of(farm, enabled)
    vm = next((one for one in vms if one['name'] == name), None)
    if vm is not None:
        return {**OF_ROLE[vm['role']](farm, vm), 'this': about(farm, vm)}
    if name in farm['templates']:
        # Unmanaged VMs are based on one of our templates, but which one the machine decides: each gets their role.
        roles = [{'role': one['role'], 'enabled': one['enabled']} for one in vms if one['template'] == name or not one['managed']]
        return {'this': {'name': name, 'role': 'template', 'family': farm['templates'][name]['family'], 'roles': roles}}
    return None


def keys_of_people(settings):
    """Whose tags or commands count in an environment."""
    commanders = settings.get('commands', {}).get('people', {}).values()
    return sorted({*settings.get('maintainers', {}).values(), *(one['key'] for one in commanders)})


def about(farm, vm):
    settings = farm['build-envs'].get(vm['env'], {})
    logs = farm['logs-vms'].get(settings.get('logs', vm['name']), {})
    keys = {'signing-key': settings.get('key'), 'logs-key': logs.get('key'), 'maintainers': keys_of_people(settings)}
    return {
        'name': vm['name'], 'role': vm['role'], 'env': vm['env'], 'enabled': vm['enabled'], 'family': vm['family'], 'keys': keys,
        'needs-missing': [word for word in ('signing-key', 'logs-key') if keys[word] is None],
    }


def of_build(farm, vm):
    settings = farm['build-envs'][vm['env']]
    logs = farm['logs-vms'][settings['logs']]
    return {
        'build-envs': {vm['env']: without(settings, {'build', 'keys', 'netvm'})},
        'components': only(farm['components'], settings['components']),
        'ssh-hosts': farm['ssh-hosts'],
        'logs-vms': {settings['logs']: only(logs, {'key'})},
        'public-keys': only(farm['public-keys'], [*keys_of_people(settings), settings['key'], logs['key']]),
    }


def of_keys(farm, vm):
    settings = farm['build-envs'][vm['env']]
    logs = farm['logs-vms'][settings['logs']]
    return {
        'build-envs': {vm['env']: only(settings, {'logs', 'key', 'anchor', 'journal-key', 'grant-seconds', 'payload-bytes'})},
        'logs-vms': {settings['logs']: {'key': logs['key'], 'remotes': {name: only(remote, {'required'}) for name, remote in logs['remotes'].items()}}},
        'public-keys': only(farm['public-keys'], [logs['key']]),
    }


def of_build_logs(farm, vm):
    settings = farm['logs-vms'][vm['name']]
    return {
        'build-envs': {env: only(one, {'logs', 'key', 'journal-key', 'payload-bytes'}) for env, one in farm['build-envs'].items() if one['logs'] == vm['name']},
        'logs-vms': {vm['name']: without(settings, OF_OUR_VMS)},
        'ssh-hosts': farm['ssh-hosts'],
        'public-keys': only(farm['public-keys'], [settings['key']]),
    }


def of_sys_net(farm, vm):
    mine = {}
    if 'webhooks' in vm['enabled']:
        mine['build-envs'] = {env: {'commands': True} if 'commands' in settings else {} for env, settings in farm['build-envs'].items()}
        mine['components'] = {name: only(component, {'full-name', 'tag'}) for name, component in farm['components'].items()}
        mine['webhook'] = without(farm['webhook'], OF_OUR_VMS | {'vm'})
    if 'ssh-proxy' in vm['enabled']:
        mine['ssh-hosts'] = {host: only(settings, {'address', 'port'}) for host, settings in farm['ssh-hosts'].items()}
    return mine


OF_ROLE = {'build': of_build, 'keys': of_keys, 'build-logs': of_build_logs, 'sys-net': of_sys_net}
