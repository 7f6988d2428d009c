# SPDX-License-Identifier: GPL-2.0-or-later
"""What is wrong with a lowstate though Salt would run it: an argument that the state does not have (Salt drops what it does not know, so an
`onchange` means nothing and says nothing), a requisite or a salt:// that leads nowhere, a mode that YAML made a number of, an owner left to
whoever runs it, a command that runs every time."""
import fnmatch
import inspect
import re

import salt.state

from qvm_schema import qvm_problems

INTERNAL = salt.state.STATE_INTERNAL_KEYWORDS | {"name", "__id__", "__sls__", "names"}
REQUISITES = (salt.state.STATE_REQUISITE_KEYWORDS | salt.state.STATE_REQUISITE_IN_KEYWORDS) - {"prerequired"}
#: Through **kwargs: what the function really looks at there. A new one is put here by hand, after a look at its source.
THROUGH_KWARGS = {
    "file.directory": {"mode"},
    "cmd.script": {"args"},
    "pkg.installed": {"install_recommends"},
    "test.fail_without_changes": {"comment"},
}
#: These make or change something on disk and take user and group.
OWNED = {"managed", "directory", "recurse", "symlink", "touch", "copy", "append", "blockreplace", "serialize", "decode", "cached"}
COMMANDS = {"cmd.run", "cmd.script", "cmd.call", "module.run", "docker.run"}
GUARDS = {"creates", "unless", "onlyif", "onchanges", "onchanges_any", "prereq"}
MODES = {"mode", "file_mode", "dir_mode"}
#: gpg.present compares short key ids and asks a key server. As git.*, which is switched off in dom0 and in a VM is the agents' own business.
FORBIDDEN = {"gpg.present", "gpg.absent"}


def signature_problems(chunk, function):
    """Arguments against the real function."""
    full = f"{chunk['state']}.{chunk['fun']}"
    given = set(chunk) - INTERNAL
    if full.startswith("qvm."):
        yield from qvm_problems(chunk, given)
        return
    parameters = inspect.signature(inspect.unwrap(function)).parameters.values()
    named = {one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
    for key in sorted(given - named - THROUGH_KWARGS.get(full, set())):
        yield f"{full} has no argument {key}"
    for one in parameters:
        needed = one.default is one.empty and one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
        if needed and one.name not in chunk:
            yield f"{full} needs {one.name}"


def requisite_problems(chunk, chunks):
    for word in sorted(REQUISITES & set(chunk)):
        wanted = chunk[word]
        if not isinstance(wanted, list) or not wanted:
            yield f"{word} is not a list of requisites"
            continue
        for one in wanted:
            if not isinstance(one, dict) or len(one) != 1:
                yield f"{word}: {one!r} is not one state and its id"
                continue
            ((state, target),) = one.items()
            if not any(leads_to(state, str(target), other) for other in chunks if other is not chunk):
                yield f"{word}: there is no {state}: {target}"


def leads_to(state, target, other):
    if state == "sls":
        return fnmatch.fnmatch(other["__sls__"], target)
    named = fnmatch.fnmatch(str(other["name"]), target) or fnmatch.fnmatch(str(other["__id__"]), target)
    return named and state in (other["state"], "id")


def source_problems(value, client):
    """Every salt:// anywhere in the arguments, as a file or as a folder."""
    if isinstance(value, dict):
        for one in value.values():
            yield from source_problems(one, client)
    elif isinstance(value, list):
        for one in value:
            yield from source_problems(one, client)
    elif isinstance(value, str) and value.startswith("salt://"):
        path = value[len("salt://"):].split("?")[0].rstrip("/")
        if path not in client.file_list() and path not in client.dir_list():
            yield f"there is no {value}"


def file_problems(chunk):
    for key in sorted(MODES & set(chunk)):
        if not isinstance(chunk[key], str) or not re.fullmatch("[0-7]{4}", chunk[key]):
            yield f"{key} is {chunk[key]!r}, not four digits in quotes"
    if chunk["state"] != "file" or chunk["fun"] not in OWNED:
        return
    for key in ("user", "group"):
        if key not in chunk:
            yield f"file.{chunk['fun']} without {key}"
    if chunk["fun"] == "managed" and "mode" not in chunk:
        yield "file.managed without mode"
    if chunk["fun"] == "directory" and not MODES & set(chunk):
        yield "file.directory without mode"


def command_problems(chunk):
    full = f"{chunk['state']}.{chunk['fun']}"
    if full in COMMANDS and not GUARDS & set(chunk):
        yield f"{full} without creates, unless, onlyif or onchanges"


def twice(chunks):
    """Two states that own one path would undo each other."""
    seen = {}
    for chunk in chunks:
        if chunk["state"] == "file" and chunk["fun"] in {"managed", "symlink", "absent", "recurse"}:
            if chunk["name"] in seen:
                yield chunk, f"{chunk['name']} belongs to {seen[chunk['name']]} already"
            seen[chunk["name"]] = chunk["__id__"]


def problems(chunks, high_state):
    client, functions = high_state.client, high_state.state.states
    found = []
    for chunk in chunks:
        full = f"{chunk['state']}.{chunk['fun']}"
        if full in FORBIDDEN or full.startswith("git."):
            said = [f"{full} is not for this formula"]
        elif full not in functions:
            said = [f"there is no state {full}"]
        else:
            said = list(signature_problems(chunk, functions[full]))
        said += requisite_problems(chunk, chunks)
        said += source_problems({key: value for key, value in chunk.items() if key not in REQUISITES}, client)
        said += file_problems(chunk)
        said += command_problems(chunk)
        found += [f"{chunk['__sls__']}: {chunk['__id__']}: {line}" for line in said]
    found += [f"{chunk['__sls__']}: {chunk['__id__']}: {line}" for chunk, line in twice(chunks)]
    return found
