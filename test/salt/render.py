# SPDX-License-Identifier: GPL-2.0-or-later
"""Renders many ids in one process with Salt's own loader, as qubesctl does it: the pillar and the top of an id in dom0, with dom0's grains
and that id; then, for a VM, its states with the VM's grains and nothing but the pillar that dom0 gave it.

Reads one JSON request, {"rig": folder, "ids": [{"id": ..., "grains": {...}, "want": [...]}]}, and writes a JSON answer per line."""
import copy
import json
import os
import sys
import time
import warnings

warnings.simplefilter("ignore")

import salt.client
import salt.config
import salt.loader
import salt.utils.yaml

base_grains = {}


def options(config, minion_id, grains):
    """As salt-call reads them; the machine's own grains are looked up once, they are the same for every id."""
    opts = salt.config.minion_config(os.path.join(config, "minion"), minion_id=minion_id)
    opts["id"] = minion_id
    opts["file_client"] = "local"
    opts["grains"] = opts.get("grains", {})
    if not base_grains:
        base_grains.update(salt.loader.grains(opts))
    own = copy.deepcopy(base_grains)
    own.update(grains)
    own["id"] = minion_id
    opts["grains"] = own
    return opts


def caller(opts):
    """salt.client.Caller, but that it does not look up the grains again."""
    real = salt.loader.grains
    salt.loader.grains = lambda *_args, **_named: opts["grains"]
    try:
        return salt.client.Caller(mopts=opts)
    finally:
        salt.loader.grains = real


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def vm_config(rig, minion_id, pillar, grains):
    """What the management disposable has of a VM: the whole state tree, and the pillar of this VM alone."""
    folder = os.path.join(rig, "vm", minion_id)
    with open(os.path.join(rig, "dom0", "minion"), encoding="utf-8") as file:
        config = json.load(file)
    config["id"] = minion_id
    config["grains"] = grains
    config["root_dir"] = os.path.join(folder, "run")
    config["pillar_roots"] = {"base": [os.path.join(folder, "pillar")]}
    write(os.path.join(folder, "pillar", "top.sls"), "base:\n  '*': [combined]\n")
    write(os.path.join(folder, "pillar", "combined.sls"), "#!json\n" + json.dumps(pillar))
    write(os.path.join(folder, "config", "minion"), json.dumps(config, indent=1))
    return os.path.join(folder, "config")


def settled(value):
    """As --out=json would print it."""
    return json.loads(json.dumps(value, default=str))


def main():
    request = json.load(sys.stdin)
    rig = request["rig"]
    with open(os.path.join(rig, "dom0", "minion"), encoding="utf-8") as file:
        dom0_grains = json.load(file)["grains"]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for job in request["ids"]:
        began = time.monotonic()
        minion_id, want = job["id"], job["want"]
        answer = {"id": minion_id}
        in_dom0 = caller(options(os.path.join(rig, "dom0"), minion_id, dom0_grains))
        answer["pillar"] = settled(in_dom0.cmd("pillar.items"))
        if "top" in want:
            answer["top"] = settled(in_dom0.cmd("state.show_top"))
        if minion_id == "dom0":
            answer["config"] = os.path.join(rig, "dom0")
            there = in_dom0
        else:
            family = (answer["pillar"].get("build-infra") or {}).get("this", {}).get("family", "Debian")
            grains = job.get("grains") or request["grains"][family]
            answer["config"] = vm_config(rig, minion_id, answer["pillar"], grains)
            there = None
            if set(want) & {"highstate", "lowstate"}:
                there = caller(options(answer["config"], minion_id, grains))
        for name in ("highstate", "lowstate"):
            if name in want:
                answer[name] = settled(there.cmd("state.show_" + name))
        answer["seconds"] = time.monotonic() - began
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


main()
