# SPDX-License-Identifier: GPL-2.0-or-later
"""Stands in for the package manager: what is installed is a list in a file of the VM, and a name is there to install if a manifest could mean it."""
import os

PATH = '/var/lib/build-infra-packages'


def _read():
    if not os.path.exists(PATH):
        return []
    with open(PATH, encoding='utf-8') as file:
        return file.read().split()


def list_pkgs(versions_as_list=False, purge_desired=False, **kwargs):
    """Name → version, for what is installed."""
    if purge_desired:
        return {}
    return {name: ['1'] if versions_as_list else '1' for name in _read()}


def version(*names, **kwargs):
    """The installed version, '' where there is none."""
    found = {name: '1' if name in _read() else '' for name in names}
    return found[names[0]] if len(names) == 1 else found


def latest_version(*names, **kwargs):
    """'' where nothing newer is to be had."""
    found = {name: '' if name in _read() else '1' for name in names}
    return found[names[0]] if len(names) == 1 else found


def refresh_db(**kwargs):
    """The index is always fresh."""
    return True


def install(name=None, refresh=False, pkgs=None, sources=None, **kwargs):
    """Writes down what was asked for, with the options that matter to the size of a template."""
    wanted = [list(one)[0] if isinstance(one, dict) else one for one in pkgs or [name]]
    before = list_pkgs()
    with open(PATH, 'w', encoding='utf-8') as file:
        file.write('\n'.join(sorted({*before, *wanted})) + '\n')
    with open(PATH + '.options', 'w', encoding='utf-8') as file:
        file.write(f"install_recommends={kwargs.get('install_recommends', True)}\n")
    return {one: {'old': '', 'new': '1'} for one in wanted if one not in before}
