# SPDX-License-Identifier: GPL-2.0-or-later
"""Renders many ids in one process with Salt's own loader and compiler, as qubesctl does it: the pillar and the top of an id in dom0, with dom0's grains
and that id; then, for a VM, its states with the VM's grains and nothing but the pillar that dom0 gave it.

Reads one JSON request, {"rig": folder, "grains": {...}, "jobs": [{"files": [[path, null | {"link"|"text": ...}]], "ids": [...], "want": [...]}]}:
the files are put there, then the ids are rendered. Writes a JSON answer per line."""
import copy
import functools
import glob
import json
import os
import sys
import time
import warnings

warnings.simplefilter("ignore")

import salt.config
import salt.loader
import salt.loader.lazy
import salt.pillar
import salt.state
import salt.utils.entrypoints

import lint

base_grains = {}
file_mappings = {}
read_mapping = salt.loader.lazy.LazyLoader._refresh_file_mapping


def remembered_mapping(loader):
    """What modules lie in a folder: Salt lists its own folders again for each of a dozen loaders of each id, a third of the whole time."""
    key = (tuple(loader.module_dirs), tuple(loader.disabled), tuple(loader.static_modules))
    if key not in file_mappings:
        read_mapping(loader)
        file_mappings[key] = (loader.file_mapping, dict(loader.suffix_map), list(loader.suffix_order))
    mapping, loader.suffix_map, loader.suffix_order = file_mappings[key]
    loader.file_mapping = dict(mapping)


salt.loader.lazy.LazyLoader._refresh_file_mapping = remembered_mapping
salt.utils.entrypoints.iter_entry_points = functools.lru_cache(maxsize=None)(salt.utils.entrypoints.iter_entry_points)


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


def pillar_of(opts):
    """pillar.items, as `qubesctl --dom0-only --id=X pillar.items` gets it."""
    return salt.pillar.get_pillar(opts, opts["grains"], opts["id"], opts.get("saltenv")).compile_pillar()


def states_of(opts, pillar, want):
    """state.show_top, show_highstate and show_lowstate in one go, with the checks that a run makes before its first state."""
    answer = {}
    with salt.state.HighState(opts, initial_pillar=pillar) as high_state:
        high_state.push_active()
        try:
            top = high_state.get_top()
            errors = list(high_state.verify_tops(top))
            matches = high_state.top_matches(top)
            answer["top"] = matches
            if "tops" in want:
                render = high_state.state.functions["slsutil.renderer"]
                links = [path for root in opts["file_roots"]["base"] for path in glob.glob(os.path.join(root, "_tops/base/*.top"))]
                answer["tops"] = {os.path.basename(path): render(path=path, default_renderer="jinja|yaml") for path in links}
            if not set(want) & {"highstate", "lowstate", "lint"}:
                return {**answer, "top": errors or matches}
            high, more = high_state.render_highstate(matches)
            errors += more
            answer["highstate"] = errors or copy.deepcopy(high)
            if not errors:
                high, more = high_state.state.reconcile_extend(high)
                errors += more
                errors += high_state.state.verify_high(high)
                high, more = high_state.state.requisite_in(high)
                errors += more
                high = high_state.state.apply_exclude(high)
            answer["lowstate"] = errors or high_state.state.compile_high_data(high)
            if "lint" in want and not errors:
                answer["lint"] = lint.problems(answer["lowstate"], high_state)
        finally:
            high_state.pop_active()
    return answer


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


def put(path, change):
    if os.path.lexists(path):
        os.remove(path)
    if change and "link" in change:
        os.symlink(change["link"], path)
    elif change:
        write(path, change["text"])


def answer_for(rig, grains_of, dom0_grains, minion_id, job):
    want = job["want"]
    opts = options(os.path.join(rig, "dom0"), minion_id, dom0_grains)
    pillar = settled(pillar_of(opts))
    answer = {"pillar": pillar}
    if minion_id == "dom0":
        answer["config"] = os.path.join(rig, "dom0")
        answer.update(states_of(opts, pillar, want) if want else {})
        return answer
    if want:
        answer.update(states_of(opts, pillar, ["top"]))
    family = (pillar.get("build-infra") or {}).get("this", {}).get("family", "Debian")
    grains = job.get("grains") or grains_of[family]
    answer["config"] = vm_config(rig, minion_id, pillar, grains)
    # No top of ours: qubesctl skips the VM.
    if set(want) & {"tops", "highstate", "lowstate", "lint"} and (answer["top"] or "tops" in want):
        there = states_of(options(answer["config"], minion_id, grains), pillar, want)
        answer["same-top-in-vm"] = there.pop("top") == answer["top"]
        answer.update(there)
    return answer


def main():
    request = json.load(sys.stdin)
    rig = request["rig"]
    with open(os.path.join(rig, "dom0", "minion"), encoding="utf-8") as file:
        dom0_grains = json.load(file)["grains"]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for number, job in enumerate(request["jobs"]):
        for path, change in job["files"]:
            put(path, change)
        for minion_id in job["ids"]:
            began = time.monotonic()
            answer = answer_for(rig, request["grains"], dom0_grains, minion_id, job)
            answer.update({"job": number, "id": minion_id, "seconds": time.monotonic() - began})
            answers.write(json.dumps(settled(answer)) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
