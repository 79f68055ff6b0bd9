# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`ansible-test sanity`, all tests, each read from what it says; there are no ignore files."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

from cores import Core

from . import home, process, tree
from .verdict import Verdict

_RUNNING = re.compile(r'Running sanity test "([^"]+)"(?: on Python (\S+))?$')
_NOTHING = "No tests applicable."
_SKIPPED = re.compile(r"WARNING: (Skipping sanity test .*|Required program .* not found.*)")
_ABSENT = re.compile(
    r'Skipping sanity test "([^"]+)" on Python (\S+) because it could not be found'
)
_FAILED = re.compile(r"FATAL: The \d+ sanity test\(s\) listed below")


# pylint takes as long for them as for all that is released: one core judges them.
_UNRELEASED = ("bench", "tests")


def judge(core: Core, scratch: Path, *, released: bool = False) -> t.Iterator[Verdict]:
    """Run all of a core's sanity tests on a copy of the collection; one verdict each.

    :param released: judge only what a release holds.
    """
    name = f"sanity {core.version}"
    collection = tree.export(scratch, without=_UNRELEASED if released else ())
    ignored = sorted(path.name for path in tree.ROOT.glob("tests/sanity/ignore*"))
    yield Verdict(f"{name}: no ignore files", not ignored, ", ".join(ignored))
    argv = [core.folder / "bin" / "ansible-test", "sanity", "-v", "--color", "no"]
    done = process.run(argv, cwd=collection, env=home.ansible_test(core))
    verdicts, notes = read(name, done.said)
    yield from verdicts
    failed = any(not verdict.passed for verdict in verdicts)
    sound = bool(verdicts) and failed is (done.status != 0)
    why = done.tail(25) if not sound else "; ".join(notes)
    yield Verdict(f"{name}: whole run", sound, why)


def read(name: str, said: str) -> tuple[list[Verdict], list[str]]:
    """Return a verdict for each test that had something to judge, and notes on the others."""
    tests: dict[str, list[str]] = {}
    current: list[str] = []
    failed: set[str] = set()
    absent: dict[str, list[str]] = {}
    skipped: list[str] = []
    ending = False
    for line in said.splitlines():
        running = _RUNNING.match(line)
        gone = _ABSENT.search(line)
        if running:
            version = f" --python {running[2]}" if running[2] else ""
            current = tests.setdefault(running[1] + version, [])
        elif gone:
            absent.setdefault(gone[2], []).append(gone[1])
        elif _SKIPPED.match(line):
            skipped.append(line)
        elif _FAILED.match(line):
            ending = True
        elif ending and line.strip():
            failed.add(line.strip())
        elif line.startswith("ERROR:") or line.strip() == _NOTHING:
            current.append(line)
    nothing = [test for test, lines in tests.items() if _NOTHING in lines]
    verdicts = [
        Verdict(f"{name}: {test.replace('--', 'on ')}", test not in failed, "\n".join(lines))
        for test, lines in tests.items()
        if test not in nothing
    ]
    verdicts += [
        Verdict(f"{name}: {line.removeprefix('WARNING: ')}", True, line, skipped=1)
        for line in skipped
    ]
    verdicts += [
        Verdict(f"{name}: {test}", False, "listed as failed; see ansible-test's own output")
        for test in sorted(failed - set(tests))
    ]
    notes = [f"no Python {python} here for {', '.join(tests)}" for python, tests in absent.items()]
    if nothing:
        notes.append(f"nothing to judge for {', '.join(nothing)}")
    return verdicts, notes
