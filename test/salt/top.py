#!py
# SPDX-License-Identifier: GPL-2.0-or-later
# What topd does with the enabled tops: each rendered, all merged by target. The lists of one target have no order there either; here the
# rig may turn them round. The names are written behind this text by the rig, as TOPS.


def run():
    merged = {}
    for path in TOPS:
        for saltenv, targets in (__salt__["slsutil.renderer"](path=path, default_renderer="jinja|yaml") or {}).items():
            for target, names in targets.items():
                have = merged.setdefault(saltenv, {}).setdefault(target, [])
                have.extend(name for name in names if name not in have)
    if REVERSED:
        for targets in merged.values():
            for names in targets.values():
                names.reverse()
    return merged
