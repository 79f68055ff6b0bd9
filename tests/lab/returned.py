# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare what a module answered with what its RETURN documents: every key, every type, all the way."""

from __future__ import annotations

import ast
import functools
import typing as t
from pathlib import Path

import yaml

MODULES = Path(__file__).resolve().parents[2] / "plugins" / "modules"
SHARED = frozenset(
    ("changed", "deprecations", "diff", "exception", "failed", "invocation", "msg", "warnings")
)
"""What Ansible documents for every module."""

OF_PATH = frozenset(("gid", "group", "mode", "owner", "secontext", "size", "state", "uid"))
"""What AnsibleModule adds to a result that has a `path`."""

KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (float, int),
    "list": (list,),
    "dict": (dict,),
}
ALWAYS = ("always", "success")

Documented = t.Mapping[str, t.Any]


@functools.cache
def documented(module: str) -> Documented:
    """Return a module's RETURN, read from its source."""
    for node in ast.parse((MODULES / f"{module}.py").read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "RETURN":
            return t.cast("Documented", yaml.safe_load(ast.literal_eval(node.value)))
    raise AssertionError(f"{module} has no RETURN")


def disagreements(module: str, answer: t.Mapping[str, t.Any]) -> list[str]:
    """List what an answer has that RETURN hasn't, in another type, or lacks of what it promises."""
    told = documented(module)
    if "module_stdout" in answer:  # Ansible's own words on a module that was killed
        return []
    own = {name: value for name, value in answer.items() if name not in SHARED}
    if "path" in own:
        own = {name: value for name, value in own.items() if name in told or name not in OF_PATH}
    found = list(_compare(own, told, module))
    # failed_when: false takes `failed` away, `error` stays.
    if not (answer.get("failed") or answer.get("error")):
        promised = {name for name, body in told.items() if body.get("returned") in ALWAYS}
        found += [f"{module}.{name} is promised, and not there" for name in promised - set(own)]
    return found


def _compare(shown: t.Mapping[str, t.Any], told: Documented, where: str) -> t.Iterator[str]:
    for name, value in shown.items():
        place = f"{where}.{name}"
        if name not in told:
            yield f"{place} is not documented"
        elif value is not None:
            yield from _typed(value, told[name], place)


def _typed(value: t.Any, body: Documented, place: str) -> t.Iterator[str]:
    if body["type"] == "raw":
        return
    if not _is(value, body["type"]):
        yield f"{place} is {value.__class__.__name__}, documented as {body['type']}"
        return
    inner = body.get("contains")
    entries = value if body["type"] == "list" else [value]
    if body["type"] == "list":
        if "elements" not in body:
            yield f"{place} is a list whose elements have no documented type"
            return
        odd = [each for each in entries if not _is(each, body["elements"])]
        if odd:
            yield f"{place} has a {odd[0].__class__.__name__}, documented as {body['elements']}"
            return
    if not inner:
        yield from _as_sample(entries, body, place)
        return
    for each in entries:
        yield from _compare(each, inner, place)
        for name, below in inner.items():
            if name not in each and "returned" not in below:
                yield f"{place}.{name} is documented without a condition, and not there"


def _as_sample(entries: t.Sequence[t.Any], body: Documented, place: str) -> t.Iterator[str]:
    """A list of dictionaries without `contains` looks as its sample does."""
    sample = body.get("sample")
    if isinstance(sample, list) and sample and isinstance(sample[0], dict):
        known = {name for each in sample for name in each}
        for each in entries:
            for name in set(each) - known:
                yield f"{place} has {name}, which its sample lacks"


def _is(value: t.Any, kind: str) -> bool:
    # A bool is an int to Python, and no int to anyone who reads a result.
    return value.__class__ in KINDS[kind]
