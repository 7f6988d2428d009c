# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads the systemd units that the provisioner laid into the VM, as far as our units go."""
import glob
import os
import re
import shlex

FOLDER = '/usr/lib/systemd/system'


class Unit:
    def __init__(self, path):
        self.name = os.path.basename(path)
        self.values = {}
        section = ''
        with open(path, encoding='utf-8') as file:
            text = re.sub(r'\\\n[ \t]*', ' ', file.read())
        for line in text.split('\n'):
            line = line.strip()
            if line.startswith('['):
                section = line.strip('[]')
            elif line and line[0] not in '#;' and '=' in line:
                key, _, value = line.partition('=')
                self.values.setdefault((section, key.strip()), []).append(value.strip())

    def all(self, section, key):
        """Every value; an empty one forgets those before it, as in systemd."""
        values = []
        for value in self.values.get((section, key), []):
            values = [] if value == '' else [*values, value]
        return values

    def get(self, section, key, default=''):
        values = self.all(section, key)
        return values[-1] if values else default

    def words(self, section, key):
        return [word for value in self.all(section, key) for word in value.split()]

    def wanted(self):
        """Conditions that begin with ! must not hold."""
        for path in self.all('Unit', 'ConditionPathExists'):
            if os.path.exists(path.lstrip('!|')) == path.startswith('!'):
                return False
        return True


def read_all():
    """(services by name, sockets) of this VM whose conditions hold."""
    paths = sorted(glob.glob(f'{FOLDER}/build-infra-*'))
    services = {unit.name: unit for unit in (Unit(path) for path in paths if path.endswith('.service'))}
    sockets = [unit for unit in (Unit(path) for path in paths if path.endswith('.socket')) if unit.wanted()]
    return services, sockets


def seconds(text):
    """100ms, 1s, 2min, 5"""
    found = re.fullmatch(r'([0-9.]+) ?(ms|s|sec|m|min)?', text)
    if found is None:
        return 0.1
    return float(found[1]) * {'ms': 0.001, 'm': 60, 'min': 60}.get(found[2], 1)


def command(line):
    """(argv, whether its failure is ignored)"""
    ignored = line.startswith('-')
    return shlex.split(line.lstrip('-@+!:')), ignored
