#!py
# SPDX-License-Identifier: GPL-2.0-or-later
"""What stands in the way of a run in dom0, one line each, looked at before anything is touched: init.sls stops with these lines, check.sls says them too.
Not a state: run() returns {'lines': [...]}."""
import os

POLICY = '30-build-infra.policy'
FOLDERS = ('/run/qubes/policy.d', '/etc/qubes/policy.d')
SERVICES = {'*', 'qubes.Gpg', 'qubes.Gpg2', 'qubes.GpgArmorSign', 'qubes.GpgBinarySign', 'qubes.GpgClearSign', 'qubes.GpgImportKey', 'qubesbuilder.LogReceived',
            'qubesbuilder.BuildLog', 'qubesbuilder.TriggerBuild', 'qubesbuilder.ProcessGithubCommand', 'local.ConnectSSH'}
#: A source that a VM of ours is too.
ANY_VM = {'*', '@anyvm', '@type:AppVM'}
#: Of the formula that was there before (docs/upgrade-from-qubes-infrastructure.md).
LEFT_OVER = {'20-qubesbuilder.policy', '20-qubesbuilder-webhook.policy'}
OWN_VMS = 'name VMs of their own in farm.yaml, which are made behind it (ssh-proxy-vm, and webhook: vm), and it stays as it is'


def ask(*argv):
    """What one of dom0's programs prints, or None where it refuses."""
    done = __salt__['cmd.run_all'](list(argv), python_shell=False, ignore_retcode=True)
    return done['stdout'] if done['retcode'] == 0 else None


def machine():
    """Every VM by its name."""
    fields = ['name', 'class', 'state', 'template', 'provides_network']
    rows = ask('qvm-ls', '--raw-data', '--fields', ','.join(fields))
    return None if rows is None else {row.split('|')[0]: dict(zip(fields, row.split('|'))) for row in rows.splitlines() if row}


def of_template(name, here, tagged):
    if here['class'] != 'TemplateVM':
        yield f"{name} exists and is of the class {here['class']}, and farm.yaml makes a template of that name: take another name there"
    elif name not in tagged:
        yield from not_ours(name, 'build-infra-template')


def not_ours(name, tag):
    yield f'{name} exists and does not carry our tag, so it is not taken over: take another name in farm.yaml, or, if it was made for this farm: qvm-tags {name} add {tag}'


def of_vm(vm, here, tagged):
    name = vm['name']
    if here['class'] != 'AppVM':
        yield f"{name} exists and is of the class {here['class']}, and farm.yaml makes an AppVM of that name: take another name there"
    elif name not in tagged:
        yield from not_ours(name, 'build-infra')
    elif here['state'] != 'Halted' and here['template'] != vm['template']:
        yield f"{name} runs on {here['template']}, and farm.yaml says {vm['template']}, which only a halted VM can be given: qvm-shutdown --wait {name}; then this again"


def of_net_vm(name, here):
    """The machine's own; that it is on one of our templates is looked at later, when those are made."""
    if here is None:
        yield f'{name} (net-vm in farm.yaml) does not exist'
    elif here['class'] == 'DispVM':
        yield f'{name} (net-vm in farm.yaml) is a disposable, and what is laid into it would be gone at its next start: {OWN_VMS}'
    elif here['class'] != 'AppVM':
        yield f"{name} (net-vm in farm.yaml) is a {here['class']}, which has no template of ours: {OWN_VMS}"


def of_netvm(vm, netvm):
    if netvm is None:
        yield f"{vm['name']}: its netvm {vm['netvm']} does not exist"
    elif netvm['provides_network'] != 'True':
        yield f"{vm['name']}: its netvm {vm['netvm']} does not provide network"


def is_elsewhere(token, ours):
    """Whether a word of a rule names one VM, and none of the farm's."""
    return not token.startswith(('@', '$', '*', 'uuid:')) and token not in ours


def decides(line, ours):
    """Whether a rule that comes before ours could open what ours denies. Who uses split GPG for something else names both its VMs."""
    words = line.split()
    if words[:1] and words[0].startswith('!'):
        return True
    if len(words) < 5 or line.lstrip().startswith('#') or words[4] == 'deny':
        return False
    if words[0] not in SERVICES:
        # Ours denies what leads out of a keys VM, and into a disposable, for every service.
        return words[4] == 'allow' and (words[2] in ANY_VM or words[2].startswith('@tag:build-infra') or words[2] in ours)
    chosen = [word.split('=', 1)[1] for word in words[5:] if word.split('=', 1)[0] in ('target', 'default_target')]
    targets = chosen if words[3] == '@default' and chosen else [words[3], *chosen]
    return not all(is_elsewhere(token, ours) for token in [words[2], *targets])


def of_policy(ours):
    for folder in FOLDERS:
        for name in sorted(os.listdir(folder) if os.path.isdir(folder) else []):
            path = os.path.join(folder, name)
            if name == POLICY and folder == FOLDERS[0]:
                yield f'{path} takes the place of our policy: remove it'
            if not name.endswith('.policy') or name.startswith('.') or name >= POLICY or not os.path.isfile(path):
                continue
            with open(path, encoding='utf-8', errors='replace') as file:
                line = next((line.strip() for line in file if decides(line, ours)), None)
            if name in LEFT_OVER:
                yield f'{path} is the policy of the formula qubes-infrastructure, comes before ours and wins: remove it'
            elif line is not None:
                yield f'{path} comes before our policy, and this line of it wins (take it out, or into a file that sorts after {POLICY}): {" ".join(line.split())}'


def lines(infra):
    there = machine()
    if there is None:
        yield 'qvm-ls does not answer'
        return
    tagged = (ask('qvm-ls', '--raw-list', '--tags', 'build-infra', 'build-infra-template') or '').split()
    for template in infra['template-vms']:
        if template['name'] in there:
            yield from of_template(template['name'], there[template['name']], tagged)
    for vm in infra['vms']:
        if not vm['managed']:
            yield from of_net_vm(vm['name'], there.get(vm['name']))
        elif vm['name'] in there:
            yield from of_vm(vm, there[vm['name']], tagged)
        if vm['netvm']:
            yield from of_netvm(vm, there.get(vm['netvm']))
    yield from of_policy({vm['name'] for vm in infra['vms']})


def run():
    return {'lines': list(lines(__salt__['pillar.get']('build-infra', {})))}
