# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`ansible-test units`: tests/unit under ansible-test's own loader, on the Pythons of modules."""

from __future__ import annotations

import typing as t
from pathlib import Path
from xml.etree import ElementTree

from cores import Core, Version, pythons

from . import home, process, tree
from .verdict import Verdict

FLOOR = (3, 9)


def jobs(made: t.Sequence[tuple[Core, Version]]) -> list[tuple[Core, Version]]:
    """Return which core runs on which Python: each on its controller's, the newest on the floor.

    What lies between is compiled and imported by the sanity tests, and tested by the lane `unit`.
    """
    floor = min(version for version in pythons() if version >= FLOOR)
    newest, own = made[-1]
    lowest = [(newest, floor)] if floor != own else []
    return [*lowest, *reversed(made)]


def judge(core: Core, version: Version, scratch: Path) -> t.Iterator[Verdict]:
    """Run the unit tests that a core has for one Python; one verdict a context."""
    minor = ".".join(map(str, version))
    name = f"units {core.version} on {minor}"
    collection = tree.export(scratch)
    label = f"units-{core.version}-python{minor}"
    python = home.environment(label, pythons()[version], home.UNITS) / "bin" / "python"
    argv = [core.folder / "bin" / "ansible-test", "units", "--color", "no", "--requirements"]
    argv += ["--target-python", f"{minor}@{python}", "--num-workers", "1"]
    done = process.run(argv, cwd=collection, env=home.ansible_test(core))
    reports = sorted((collection / "tests" / "output" / "junit").glob("*-units.xml"))
    failed = False
    for report in reports:
        verdict = read(name, report)
        failed = failed or not verdict.passed
        yield verdict
    if not reports or failed is (done.status == 0):
        yield Verdict(f"{name}: whole run", False, done.tail(40))


def read(name: str, report: Path) -> Verdict:
    """Read one of ansible-test's JUnit reports."""
    context = report.stem.partition("-")[2].replace("-units", "")
    count = skipped = 0
    found: list[str] = []
    failed = False
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        count += 1
        where = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        for child in case:
            if child.tag == "skipped":
                skipped += 1
                found.append(f"skipped {where}: {child.get('message')}")
            elif child.tag in ("failure", "error"):
                failed = True
                text = (child.text or "").strip().splitlines()[-30:]
                found += [f"{where}: {child.get('message')}", *text]
    passed = bool(count) and not failed
    shown = "\n".join(found) or f"{count} tests"
    return Verdict(f"{name}: {context}", passed, shown, skipped)
