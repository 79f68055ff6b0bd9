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
"""What modules may run on."""

CONTROLLERS = ("tests/unit/plugins/filter/", "tests/unit/plugins/plugin_utils/")
"""Tests of what runs on a controller only, which ansible-test leaves out on other Pythons."""


class Job(t.NamedTuple):
    """Which core runs which tests on which Python; no folder stands for all."""

    core: Core
    version: Version
    folders: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"units {self.core.version} on {'.'.join(map(str, self.version))}"


def jobs(made: t.Sequence[tuple[Core, Version]]) -> list[Job]:
    """Return what judges a collection: the newest core on its Python, the oldest on two.

    The oldest takes modules on the oldest Python that they may run on, and the rest on its own, so
    that each core runs each test once. The Pythons between are the sanity tests', and one is the
    lane `unit`'s.
    """
    floor = min(version for version in pythons() if version >= FLOOR)
    found = [Job(*made[-1])]
    for core, own in made[:-1]:
        found += (
            [Job(core, own)] if floor == own else [Job(core, floor), Job(core, own, CONTROLLERS)]
        )
    return found


def judge(job: Job, scratch: Path) -> t.Iterator[Verdict]:
    """Run the unit tests that a core has for one Python; one verdict a context."""
    core, name = job.core, job.name
    minor = ".".join(map(str, job.version))
    collection = tree.export(scratch)
    label = f"units-{core.version}-python{minor}"
    python = home.environment(label, pythons()[job.version], home.UNITS) / "bin" / "python"
    argv = [core.folder / "bin" / "ansible-test", "units", "--color", "no", "--requirements"]
    argv += ["--target-python", f"{minor}@{python}", "--num-workers", "1", *job.folders]
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
