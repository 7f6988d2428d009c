# SPDX-License-Identifier: GPL-2.0-or-later
"""Packages, for the local farm: its VMs see the /usr of this machine, where the set-up installed them."""


def installed(name, **kwargs):
    return {'name': name, 'changes': {}, 'result': True, 'comment': 'this machine has them'}
