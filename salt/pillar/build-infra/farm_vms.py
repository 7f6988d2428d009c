# SPDX-License-Identifier: GPL-2.0-or-later
"""Every VM of a farm, derived from farm.yaml: no name is written twice."""
# What a farm may do without. ssh-proxy: ssh leaves through the net VM (local.ConnectSSH) instead of each VM's own network.
# webhooks: the forge tells us of a push, instead of waiting for the next poll.
ALL_OPTIONS = ['ssh-proxy', 'webhooks']
# What a manifest may ask for: an option, or that the environment has a notifier.
ALL_CONDITIONS = [*ALL_OPTIONS, 'notifier']
LABELS = {'build': 'red', 'keys': 'black', 'build-logs': 'orange', 'sys-net': 'red'}
# GiB: chroots, sources and packages; a key ring and a journal; the logs repository and what waits for it; a spool.
PRIVATE_GIB = {'build': 64, 'keys': 2, 'build-logs': 32, 'sys-net': 2}
GIB = 1024 ** 3


def make(farm, name, role, own, enabled, env='', netvm='', managed=True):
    template = own.get('template', farm['template'])
    vm = {
        'name': name, 'role': role, 'env': env, 'enabled': [option for option in ALL_CONDITIONS if option in enabled],
        'class': 'AppVM', 'managed': managed, 'template': template, 'family': farm['templates'].get(template, {}).get('family', 'Debian'),
        'label': LABELS[role], 'netvm': netvm, 'autostart': role != 'keys',
        'private-size': own.get('private-gib', PRIVATE_GIB[role]) * GIB,
        'features': [f'service.build-infra-{role}'], 'tags': ['build-infra', f'build-infra-{role}'],
    }
    if role == 'sys-net':
        vm['features'] += [f'service.build-infra-{option}' for option in vm['enabled']]
    vm.update({setting: own[setting] for setting in ('memory', 'maxmem', 'vcpus') if setting in own})
    return vm


def vms_of(farm, enabled):
    """In the order of starting: who is called before who calls. Without an environment there is nobody to serve."""
    webhook = farm['webhook']
    envs = sorted(farm['build-envs'].items())
    enabled = enabled if envs else []
    own_vms = [('ssh-proxy', farm.get('ssh-proxy-vm'), {}), ('webhooks', webhook.get('vm'), webhook)]
    by_net_vm = [option for option, name, _ in own_vms if option in enabled and name is None]
    proxy = [option for option in enabled if option == 'ssh-proxy']
    vms = []
    if by_net_vm:
        vms.append(make(farm, farm['net-vm'], 'sys-net', {}, by_net_vm, managed=False))
    for option, name, own in own_vms:
        if name is not None and option in enabled:
            vms.append(make(farm, name, 'sys-net', own, [option], netvm=farm['net-vm']))
    for name, own in sorted(farm['logs-vms'].items()):
        vms.append(make(farm, name, 'build-logs', own, proxy, netvm=own['netvm']))
    for env, settings in envs:
        vms.append(make(farm, f'keys-{env}', 'keys', settings.get('keys', {}), [], env=env))
    for env, settings in envs:
        vms.append(make(farm, f'build-{env}', 'build', settings.get('build', {}), [*proxy, *(['notifier'] if 'notify' in settings else [])], env=env, netvm=settings['netvm']))
    return vms


def templates_of(farm):
    return [{'name': name, **settings} for name, settings in sorted(farm['templates'].items())]
