# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file imports only what stands below it: the rooms of docs/architecture.md, from the syntax tree."""

from __future__ import annotations

import ast
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils import _deps

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
UTILS = PLUGINS / "module_utils"
HOME = "ansible_collections.controlplane.etcd.plugins."

# From the top to the bottom. What stands on one line does not know each other.
ROOMS = [
    ["_module", "_argspec_member"],
    ["_argspec"],
    ["_fetch", "_deliver"],
    ["_drill"],
    ["_restore"],
    ["_snapshot", "_cert_check"],
    ["_kit"],
    ["_archive"],
    ["_retention", "_pki"],
    ["_node", "_etcd", "_kubernetes", "_mvcc"],
    ["_bbolt"],
    ["_files", "_query", "_protobuf", "_mapped"],
    ["_yaml"],
    ["_deps"],
    ["_time", "_text"],
    ["_errors"],
]
RANK = {room: rank for rank, rooms in enumerate(ROOMS) for room in rooms}
ANSIBLE = {
    "_module": {
        "ansible.module_utils.basic.AnsibleModule",
        "ansible.module_utils.common.respawn.has_respawned",
        "ansible.module_utils.common.respawn.respawn_module",
    },
    "_argspec_member": {"ansible.module_utils.basic.env_fallback"},
    "_deps": {"ansible.module_utils.basic.missing_required_lib"},
}
# These take values, not paths, and know no clock: whoever calls brings the bytes and the time.
# Room -> what it may use besides itself; _pki reads certificates with cryptography.
VALUES_ONLY = {"_retention": {"_errors", "_time"}, "_pki": {"_errors", "_time", "_deps", "_yaml"}}
OUTSIDE = {
    *("asyncio", "glob", "io", "os", "pathlib", "random", "select", "shutil", "socket", "ssl"),
    *("subprocess", "sys", "tempfile", "time"),
}
CLOCKS = {"monotonic", "now", "today", "utcnow"}
# Engines are pure of each other; only _mvcc knows the file format below it.
BBOLT_READERS = {"_mvcc", "_snapshot", "_restore"}


def imports(path: Path) -> t.Iterator[tuple[int, str]]:
    """Yield line and dotted name of everything that a file imports, relative ones made whole."""
    package = HOME + ".".join(path.relative_to(PLUGINS).with_suffix("").parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package if node.level else ""
            for _up in range(node.level - 1):
                base = base.rpartition(".")[0]
            module = ".".join(part for part in (base, node.module) if part)
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


def room_of(dotted: str) -> str | None:
    """Return the room of module_utils that a dotted name lies in."""
    prefix = HOME + "module_utils."
    return dotted[len(prefix) :].split(".")[0] if dotted.startswith(prefix) else None


CORE = sorted(UTILS.rglob("*.py"))


@pytest.mark.parametrize("path", CORE, ids=[str(p.relative_to(UTILS)) for p in CORE])
def test_core_file_imports_only_from_below(path: Path) -> None:
    own = path.relative_to(UTILS).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    assert own in RANK, f"{own} has no room in ROOMS"
    for line, name in imports(path):
        where = f"{path.relative_to(PLUGINS)}:{line} imports {name}"
        other = room_of(name)
        if name.startswith(HOME):
            assert other is not None, f"{where}: not from module_utils"
            assert other == own or RANK[other] > RANK[own], f"{where}: that stands above or beside"
            if other == "_argspec":
                assert own == "_argspec_member", f"{where}: options are for modules to read"
            if other == "_bbolt" and own != "_bbolt":
                assert own in BBOLT_READERS, f"{where}: only _mvcc reads the file format"
        elif name.split(".")[0] == "ansible":
            assert name in ANSIBLE.get(own, set()), f"{where}: the core is pure"


def values_only() -> list[tuple[str, Path]]:
    """Return each file of a room that takes values, with its room."""
    found = []
    for room in sorted(VALUES_ONLY):
        folder = UTILS / room
        files = sorted(folder.rglob("*.py")) if folder.is_dir() else [UTILS / f"{room}.py"]
        assert files, f"{room} has no files"
        found += [(room, path) for path in files]
    return found


@pytest.mark.parametrize(
    ("room", "path"), values_only(), ids=[str(p.relative_to(UTILS)) for room, p in values_only()]
)
def test_pure_room_touches_nothing_outside(room: str, path: Path) -> None:
    for line, name in imports(path):
        where = f"{path.relative_to(UTILS)}:{line} imports {name}"
        other = room_of(name)
        assert other is None or other in VALUES_ONLY[room] | {room}, f"{where}: it takes values"
        assert name.split(".")[0] not in OUTSIDE, f"{where}: it takes values"
        if other == "_time":
            assert name.rpartition(".")[2] not in CLOCKS, f"{where}: the clock is an argument"
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            where = f"{path.relative_to(UTILS)}:{node.lineno} calls {called}"
            assert called != "open" and called.rpartition(".")[2] not in CLOCKS, where
            if called == "_deps.load":
                # What is loaded by name is a literal, and is held to the same.
                loaded = ast.literal_eval(node.args[0])
                assert loaded.split(".")[0] in ("cryptography", "yaml"), where


PLUGIN_FILES = sorted(p for p in PLUGINS.rglob("*.py") if UTILS not in p.parents)


@pytest.mark.parametrize(
    "path", PLUGIN_FILES, ids=[str(p.relative_to(PLUGINS)) for p in PLUGIN_FILES]
)
def test_only_controller_plugins_know_the_controller(path: Path) -> None:
    folder = path.relative_to(PLUGINS).parts[0]
    for line, name in imports(path):
        where = f"{path.relative_to(PLUGINS)}:{line} imports {name}"
        if folder not in ("action", "filter", "plugin_utils"):
            assert name.split(".")[0] != "ansible", f"{where}: modules speak through _module"
            assert not name.startswith(HOME + "plugin_utils"), f"{where}: that is the controller's"


LIMIT = 400
ALL = sorted(PLUGINS.rglob("*.py"))
# Python 3.9 doesn't tell what it brings along; the lane `unit` runs on later ones.
STDLIB = getattr(sys, "stdlib_module_names", None)
LOADER, CLOCK = UTILS / "_deps.py", UTILS / "_time.py"


def loads(tree: ast.AST) -> t.Iterator[tuple[int, ast.expr]]:
    """Yield line and argument of what is imported by calling _deps.load()."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "_deps.load":
            yield node.lineno, node.args[0]


@pytest.mark.parametrize("path", ALL, ids=[str(p.relative_to(PLUGINS)) for p in ALL])
def test_file_takes_libraries_through_deps_only(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for line, name in imports(path):
        where = f"{path.relative_to(PLUGINS)}:{line} imports {name}"
        root = name.split(".")[0]
        known = STDLIB is None or root in STDLIB or root in ("ansible", "ansible_collections")
        assert known, f"{where}: a library is loaded by _deps"
        assert root not in ("importlib", "imp", "runpy", "pkgutil") or path == LOADER, where
        assert not name.endswith("._deps.load"), f"{where}: call it as _deps.load"
    for line, argument in loads(tree):
        where = f"{path.relative_to(PLUGINS)}:{line} loads {ast.unparse(argument)}"
        if path == UTILS / "_module.py":
            continue  # what a module needs, each of which it loads by name later on
        assert isinstance(argument, ast.Constant), f"{where}: no literal name"
        assert argument.value.split(".")[0] in _deps._PACKAGES, where
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not called & {"__import__", "eval", "exec"}


@pytest.mark.parametrize("path", ALL, ids=[str(p.relative_to(PLUGINS)) for p in ALL])
def test_file_reads_no_clock(path: Path) -> None:
    if path == CLOCK:
        return
    tree = ast.parse(path.read_text())
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {each.asname or each.name for each in node.names if each.name == "time"}
    for line, name in imports(path):
        where = f"{path.relative_to(PLUGINS)}:{line} imports {name}"
        assert not name.startswith("time.") or name == "time.sleep", f"{where}: that is _time's"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            base = ast.unparse(node.value)
            where = f"{path.relative_to(PLUGINS)}:{node.lineno} uses {base}.{node.attr}"
            assert base not in modules or node.attr == "sleep", f"{where}: that is _time's"
            dated = base.rpartition(".")[2] in ("datetime", "date")
            assert not (dated and node.attr in CLOCKS), f"{where}: that is _time's"


@pytest.mark.parametrize("path", ALL, ids=[str(p.relative_to(PLUGINS)) for p in ALL])
def test_file_is_no_longer_than_two(path: Path) -> None:
    text = path.read_text()
    if path.parent.name == "modules":
        text = text.split('RETURN = r"""', 1)[1].split('"""', 1)[1]
        assert len(text.splitlines()) <= 120, f"{path.name} is not thin after its documentation"
    else:
        assert len(text.splitlines()) <= LIMIT, f"{path.name} is two files"
