# SPDX-License-Identifier: GPL-2.0-or-later
"""What the states of dom0's qvm module accept. The real ones drop every argument and flag that they do not know, without a word: `templat:`
makes a VM of the default template, and the run is green."""
import re

VM_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,30}")
NAMES = "list of names"
PREFS = {
    "autostart": bool, "debug": bool, "default-user": str, "default-dispvm": str, "devices-denied": str, "management-dispvm": str, "guivm": str, "audiovm": str,
    "template-for-dispvms": bool, "dispvm-allowed": bool, "virt-mode": str, "label": str, "last-backup": str, "include-in-backups": bool,
    "installed-by-rpm": bool, "ip": str, "kernel": str, "kernelopts": str, "mac": str, "maxmem": int, "memory": int, "netvm": str, "pci-strictreset": bool,
    "pcidevs": list, "provides-network": bool, "template": str, "qrexec-timeout": int, "updateable": bool, "vcpus": int,
}
#: sub-action of qvm.vm, and state of the same name: arguments and flags.
ACTIONS = {
    "exists": ({}, {"quiet", "template"}),
    "missing": ({}, {"quiet", "template"}),
    "running": ({}, set()),
    "halted": ({}, set()),
    "present": (
        {"template": str, "label": str, "class": str, "mem": int, "vcpus": int, "root-move-from": str, "root-copy-from": str},
        {"standalone", "hvm", "hvm-template", "proxy", "net", "quiet"},
    ),
    "absent": ({}, {"just-db", "force-root", "quiet"}),
    "clone": ({"source": str}, {"shutdown", "quiet"}),
    "prefs": (PREFS, set()),
    "service": ({"enable": NAMES, "disable": NAMES, "default": NAMES}, set()),
    "features": ({"enable": NAMES, "disable": NAMES, "default": NAMES, "set": "features"}, set()),
    "tags": ({"add": NAMES, "present": NAMES, "del": NAMES, "absent": NAMES}, set()),
    "firewall": ({"set": NAMES}, set()),
    "devices": ({"attach": list, "detach": list}, set()),
    "start": ({"drive": str, "hddisk": str, "cdrom": str, "custom-config": str}, {"quiet"}),
    "shutdown": ({"exclude": NAMES}, {"force", "wait", "all", "kill"}),
    "kill": ({}, {"force", "wait", "all", "kill"}),
    "pause": ({}, {"force", "wait", "all", "kill"}),
    "unpause": ({}, {"force", "wait", "all", "kill"}),
}
MAY_BE_UNSET = {"default-dispvm", "devices-denied", "management-dispvm"}
#: A state, but no sub-action.
ALONE = {"template_installed": ({"fromrepo": str, "pool": str}, set())}
LABELS = {"red", "orange", "yellow", "green", "gray", "blue", "purple", "black"}
CLASSES = {"AppVM", "StandaloneVM", "TemplateVM", "DispVM"}


def value_problems(where, key, value, kind):
    if kind is NAMES:
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            yield f"{where}: {key} is not a list of names"
    elif kind == "features":
        for one in value if isinstance(value, list) else [value]:
            # A number or a boolean never equals what qubesd stored: a change in every run.
            if not isinstance(one, dict) or len(one) != 1 or not all(isinstance(text, str) for text in one.values()):
                yield f"{where}: {key} is not a list of one feature and its text each"
    elif value != "*default*" and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        yield f"{where}: {key} is {value!r}, not of type {kind.__name__}"
    elif key == "label" and value not in LABELS:
        yield f"{where}: there is no label {value}"
    elif key == "class" and value not in CLASSES:
        yield f"{where}: there is no class {value}"
    elif key in {"netvm", "template", "source", "default-dispvm", "management-dispvm"} and (value == "None" or not (value in {"", "*default*"} or VM_NAME.fullmatch(value))):
        yield f"{where}: {key} is {value!r}, which is no name of a VM"


def action_problems(where, given, arguments, flags):
    """`given` is a mapping of what was said to an action."""
    for written, value in given.items():
        key = written.replace("_", "-")
        if written == "flags":
            for flag in value if isinstance(value, list) else [value]:
                if flag not in flags:
                    yield f"{where} has no flag {flag}"
        elif key in arguments:
            if "-" in written and key in MAY_BE_UNSET and value in {"none", ""}:
                yield f"{where}: {written} is {value!r}, which means unset only where it is spelled {key.replace('-', '_')}"
            yield from value_problems(where, key, value, arguments[key])
        else:
            yield f"{where} has no argument {written}"


def qvm_problems(chunk, given):
    if not VM_NAME.fullmatch(str(chunk["name"])):
        yield f"{chunk['name']} is no name of a VM"
    fun = chunk["fun"]
    if fun != "vm":
        if fun not in ACTIONS and fun not in ALONE:
            yield f"there is no qvm.{fun}"
            return
        yield from action_problems(f"qvm.{fun}", {key: chunk[key] for key in sorted(given)}, *{**ACTIONS, **ALONE}[fun])
        return
    listed = [re.sub(": pass$", "", str(one if not isinstance(one, dict) else next(iter(one)))) for one in chunk.get("actions", [])]
    for action in sorted(given - {"actions"}):
        where = f"qvm.vm {action}"
        if action not in ACTIONS:
            yield f"{where}: there is no such action"
            continue
        if listed and action not in listed:
            yield f"{where} does not stand under actions"
        said = {}
        if not isinstance(chunk[action], list):
            yield f"{where} is not a list"
            continue
        for one in chunk[action]:
            if not isinstance(one, dict) or len(one) != 1:
                yield f"{where}: {one!r} is not one argument"
                continue
            ((key, value),) = one.items()
            if key in said:
                yield f"{where}: {key} stands twice"
            said[key] = value
        yield from action_problems(where, said, *ACTIONS[action])
    for action in listed:
        if action not in ACTIONS:
            yield f"qvm.vm actions: there is no {action}"
