# SPDX-License-Identifier: GPL-2.0-or-later
"""A service's settings in its VM (rpc-config): `key = value` lines. Anything unexpected fails the call, as on Qubes."""
import os
import re

FOLDERS = ('/run/qubes/rpc-config', '/usr/local/etc/qubes/rpc-config', '/etc/qubes/rpc-config')
SOCKET_ONLY = ('skip-service-descriptor', 'exit-on-client-eof', 'exit-on-service-eof')
LINE = re.compile(r"([A-Za-z0-9_-]+)[ \t]*=[ \t]*(?:'([^']*)'|(-?[0-9]+)|(true|false))[ \t]*(?:#.*)?")


class BadConfig(Exception):
    """The call ends with 125."""


def folders():
    given = os.environ.get('QUBES_RPC_CONFIG_PATH')
    return given.split(':') if given else FOLDERS


def read(service, argument):
    """The settings of the first file found: `service+arg` in every folder, then `service`. @raises BadConfig"""
    for name in (f'{service}+{argument}', service):
        if len(name) > 255:
            continue
        for folder in folders():
            try:
                with open(os.path.join(folder, name), 'rb') as file:
                    return parse(file.read(4097))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise BadConfig(str(error)) from error
    return {}


def parse(data):
    if len(data) > 4096 or b'\0' in data:
        raise BadConfig('too long, or a NUL in it')
    settings = {}
    for line in data.decode('utf-8', 'surrogateescape').split('\n'):
        if line == '' or line.startswith('#') or not line.strip():
            continue
        found = LINE.fullmatch(line)
        if found is None or found[1] in settings:
            raise BadConfig(line)
        settings[found[1]] = found[2] if found[2] is not None else int(found[3]) if found[3] is not None else found[4] == 'true'
    return check(settings)


def check(settings):
    for key, value in settings.items():
        if key in SOCKET_ONLY and not isinstance(value, bool):
            raise BadConfig(key)
        if key == 'wait-for-session' and value not in (0, 1):
            raise BadConfig(key)
        if key == 'force-user' and not isinstance(value, str):
            raise BadConfig(key)
    if 'force-user' in settings and any(settings.get(key) for key in SOCKET_ONLY):
        raise BadConfig('force-user together with a setting for sockets')
    return settings
