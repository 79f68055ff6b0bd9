# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people read against what there is: links, names of modules, roles, playbooks, variables and files."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "roles").glob("*/README.md")]
)
MODULES = {path.stem for path in (ROOT / "plugins" / "modules").glob("etcd_*.py")}
ROLES = {path.name for path in (ROOT / "roles").iterdir() if path.is_dir()}
PLAYBOOKS = {path.stem for path in (ROOT / "playbooks").glob("*.yml")}
FILTERS = {path.stem for path in (ROOT / "plugins" / "filter").glob("*.py")}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# Written by test and bench runs, from words of messages and of figures.
WRITTEN = {"reliability.md", "benchmarks.md"}
# Files of the project that a text names in backquotes.
FILE = re.compile(r"`((?:tests|plugins|roles|playbooks|bench|docs|meta)/[\w./-]+)`")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def options_of_roles() -> dict[str, set[str]]:
    """Return each role's variables, by its argument_specs."""
    found = {}
    for role in ROLES:
        specs = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text())
        found[role] = {
            option
            for spec in specs["argument_specs"].values()
            for option in spec.get("options") or {}
        }
    return found


def inventory_variables() -> set[str]:
    """Return the variables that roles read as set once for all of them: etcd_X for etcd_ROLE_X."""
    # Of playbooks: which hosts they are for; and the group of scratch nodes.
    found = {"etcd_hosts", "etcd_scratch_hosts", "etcd_scratch"}
    for role in ROLES:
        text = (ROOT / "roles" / role / "defaults" / "main.yml").read_text()
        found |= set(re.findall(r"\{\{ (etcd_[a-z_]+) \| default\(", text))
    return found


def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    found = set()
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            text = re.sub(r"[`*]|\]\([^)]*\)|\[", "", line.lstrip("#").strip().lower())
            found.add(re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", text)))
    return found


def facts_of_roles() -> set[str]:
    """Return what roles hand on under names of their own: set_fact and set_stats."""
    found: set[str] = set()
    for path in (ROOT / "roles").glob("*/tasks/*.yml"):
        text = path.read_text()
        found |= set(re.findall(r"^\s+(etcd_\w+):", text, re.MULTILINE))
    return found


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if target.startswith(("https://", "http://")):
            continue
        name, _mark, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{target} of {named(page)} is not there"
        if anchor:
            assert anchor in anchors(path), f"{target} of {named(page)}: no such heading"


@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in WRITTEN], ids=named)
def test_every_name_exists(page: Path) -> None:
    """A word etcd_* is a module, a role, a variable of a role, or what a role hands on."""
    options = options_of_roles()
    known = {*MODULES, *ROLES, *inventory_variables(), *facts_of_roles()}
    known |= {option for found in options.values() for option in found}
    text = page.read_text()
    # `etcd_X` and `etcd_backup_X` stand for many; in the formats, fields of a manifest do.
    words = set(re.findall(r"(?<![\w.<-])etcd_[a-z0-9_]+(?![\w*])", text))
    unknown = sorted(word for word in words if word.rstrip("_") == word and word not in known)
    fields = {"etcd_prefix", "etcd_key", "etcd_version"}
    assert set(unknown) <= fields, f"{named(page)} names {unknown}"


@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in WRITTEN], ids=named)
def test_every_playbook_and_file_exists(page: Path) -> None:
    text = page.read_text()
    called = set(re.findall(r"ansible-playbook\b[^\n`]*?controlplane\.etcd\.(\w+)", text))
    called |= set(re.findall(r"[Pp]laybooks? `(?:controlplane\.etcd\.)?(\w+)`", text))
    assert called <= PLAYBOOKS, f"{named(page)} runs {sorted(called - PLAYBOOKS)}"
    asked = set(re.findall(r"-m controlplane\.etcd\.(\w+)", text))
    assert asked <= MODULES, f"{named(page)} asks {sorted(asked - MODULES)}"
    for name in FILE.findall(text):
        assert (ROOT / name.partition("::")[0]).exists(), f"{named(page)} names {name}"


def test_the_readme_has_all_that_is_public() -> None:
    """Each module, role, playbook and filter stands in README's table, and nothing else does."""
    table = (ROOT / "README.md").read_text().partition("## What is in it")[2].partition("\n## ")[0]
    rows = "\n".join(row.split("|")[1] for row in table.splitlines() if row.startswith("| "))
    assert set(re.findall(r"modules? `(\w+)`", rows)) == MODULES
    assert set(re.findall(r"roles? \[(\w+)\]", rows)) == ROLES
    assert set(re.findall(r"playbooks? `(\w+)`", rows)) == PLAYBOOKS
    assert set(re.findall(r"filters? `(\w+)`", rows)) == FILTERS


@pytest.mark.parametrize("role", sorted(ROLES))
def test_a_role_readme_tells_every_variable(role: str) -> None:
    """Each variable of argument_specs is in the table, by its own or its inventory-wide name."""
    text = (ROOT / "roles" / role / "README.md").read_text()
    told = set(re.findall(r"`(etcd_\w+)`", text))
    missing = sorted(
        option
        for option in options_of_roles()[role]
        if not {option, option.replace(f"{role}_", "etcd_", 1)} & told
    )
    assert not missing, f"roles/{role}/README.md does not tell of {missing}"


@pytest.mark.parametrize("role", sorted(ROLES))
def test_a_role_readme_has_the_defaults(role: str) -> None:
    """What stands in column `default` is what defaults/main.yml says, where that is plain."""
    defaults = yaml.safe_load((ROOT / "roles" / role / "defaults" / "main.yml").read_text())
    rows = re.findall(
        r"^\| `(\w+)` \| `([^`|]*)` \|", (ROOT / "roles" / role / "README.md").read_text(), re.M
    )
    compared = 0
    for name, told in rows:
        value: t.Any = defaults.get(name)
        if value is None or (isinstance(value, str) and "{{" in value):
            continue
        assert yaml.safe_load(told) == value, f"roles/{role}/README.md: {name} is {value!r}"
        compared += 1
    assert compared, f"roles/{role}/README.md has no table of defaults"
