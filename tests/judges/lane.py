# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lane `judges`: everything the field judges a collection by, on the oldest and newest core.

python tests/run.py judges            # all
CONTROLPLANE_ETCD_JUDGES=sanity python tests/run.py judges      # those that begin so
"""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
import time
import typing as t
from concurrent import futures
from pathlib import Path

import cores

from . import home, release, sanity, units
from .verdict import Verdict

Job = t.Callable[[Path], t.Iterator[Verdict]]


def judge_all() -> list[Verdict]:
    """Run all judges, as many at once as there are processors; say each verdict as it comes."""
    only = os.environ.get("CONTROLPLANE_ETCD_JUDGES", "")
    jobs = [(name, job) for name, job in _jobs() if name.startswith(only)]
    for line in cores.missing():
        print(line)
    verdicts: list[Verdict] = []
    with (
        tempfile.TemporaryDirectory(prefix="judges-") as scratch,
        futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool,
    ):
        running = [
            pool.submit(_judge, name, job, Path(scratch) / str(number))
            for number, (name, job) in enumerate(jobs)
        ]
        for done in futures.as_completed(running):
            for verdict in done.result():
                print(verdict, flush=True)
                verdicts.append(verdict)
    return verdicts


def _jobs() -> t.Iterator[tuple[str, Job]]:
    made = {core.version: (core, own) for core, own in _cores()}
    # The longest first.
    for job in units.jobs(list(made.values())):
        yield job.name, functools.partial(units.judge, job)
    newest = list(made)[-1]
    for version, (core, _own) in made.items():
        judge = functools.partial(sanity.judge, core, released=version != newest)
        yield f"sanity {version}", judge
    yield "release", release.judge


def _cores() -> t.Iterator[tuple[cores.Core, cores.Version]]:
    for wish in cores.wanted():
        yield cores.make(wish), wish.python_version


def _judge(name: str, job: Job, scratch: Path) -> list[Verdict]:
    scratch.mkdir()
    start = time.monotonic()
    verdicts: list[Verdict] = []
    try:
        verdicts += job(scratch)
    except (home.HomeError, subprocess.SubprocessError, OSError) as exc:
        verdicts.append(Verdict(name, False, str(exc)))
    print(f"--- {name}: {time.monotonic() - start:.0f} s", flush=True)
    return verdicts
