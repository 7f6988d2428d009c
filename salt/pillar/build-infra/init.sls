#!py
# SPDX-License-Identifier: GPL-2.0-or-later
"""Rendered in dom0, once for each id: reads farm.yaml beside this file, checks all of it, and gives the id its slice. A farm.yaml with
something wrong gives dom0 the one line that says so (its highstate then fails before anything is written), and nobody else anything. The seal is for the states
(sealed.jinja): with it they see whether another pillar was merged into this one.
"""
import hashlib
import importlib.util
import json
import os
import sys


def folder():
    for root in __opts__['pillar_roots'].get(__env__, []) + __opts__['pillar_roots'].get('base', []):
        path = os.path.join(root, 'build-infra')
        if os.path.exists(os.path.join(path, 'farm_slices.py')):
            return path
    raise RuntimeError('build-infra: the pillar files lie in none of pillar_roots')


def load(path, name):
    """The modules beside this file. Not byte-compiled: nothing is written below /srv."""
    if path not in sys.path:
        sys.path.insert(0, path)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec = importlib.util.spec_from_file_location(name, os.path.join(path, name + '.py'))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.dont_write_bytecode = before
        sys.path.remove(path)


def switched_on(option):
    """An option is on when its top is enabled: topd keeps a symbolic link for each."""
    roots = __opts__['file_roots'].get('base', [])
    return any(os.path.lexists(os.path.join(root, '_tops', 'base', f'build-infra.{option}.top')) for root in roots)


def run():
    name = __grains__['id']
    here = folder()
    slices = load(here, 'farm_slices')
    try:
        farm = slices.read_farm(os.path.join(here, 'farm.yaml'), os.path.join(here, 'schema.json'))
    except slices.Refusal as refusal:
        return {'build-infra': {'refused': refusal.line()}} if name == 'dom0' else {}
    enabled = [option for option in slices.ALL_OPTIONS if switched_on(option)]
    mine = slices.slice_for(farm, enabled, name)
    return {} if mine is None else {'build-infra': {**mine, 'seal': hashlib.sha256(json.dumps(mine, sort_keys=True).encode()).hexdigest()}}
