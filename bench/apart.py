# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give the leader and the load processors of their own, as a host of its own would."""

from __future__ import annotations

import contextlib
import os
import typing as t


@contextlib.contextmanager
def apart(leader: t.Iterable[int], others: t.Iterable[int]) -> t.Iterator[None]:
    """Keep the processes `leader` on one half of the processors, and on the other half `others`,
    this process, and whatever it starts. With one processor only, nothing is kept apart."""
    every = os.sched_getaffinity(0)
    half = sorted(every)[: len(every) // 2]
    if not half:
        yield
        return
    rest = every - set(half)
    _keep(leader, set(half))
    _keep([*others, os.getpid()], rest)
    try:
        yield
    finally:
        _keep([*leader, *others, os.getpid()], every)


def _keep(processes: t.Iterable[int], processors: set[int]) -> None:
    for process in processes:
        for thread in os.listdir(f"/proc/{process}/task"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), processors)
