# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lend the lab's hosts to tests: one lab a session, under a name of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import typing as t

import pytest

from lab import binaries
from lab.backup_run import Bastion, Run, bastion
from lab.hosts.lab import Lab
from lab.hosts.machine import obstacle


@contextlib.contextmanager
def _free_prefix() -> t.Iterator[str]:
    """Hold a name that no other session uses; a dead session's name, and its lab, is taken over."""
    folder = binaries.cache_dir() / "locks"
    folder.mkdir(exist_ok=True)
    for number in range(10):
        with (folder / f"lab-session-test{number}.lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield f"test{number}"
            return
    raise RuntimeError("ten lab sessions run already.")


@pytest.fixture(scope="session")
def lab() -> t.Iterator[Lab]:
    """A whole lab (see tests/lab/hosts/plan.py), gone after the session.

    CONTROLPLANE_ETCD_LAB=lab uses the one of `make lab-up` and leaves it up.
    """
    reason = obstacle()
    if reason:
        pytest.skip(reason)
    kept = os.environ.get("CONTROLPLANE_ETCD_LAB")
    if kept:
        lab = Lab(kept)
        lab.up()
        yield lab
        return
    with contextlib.ExitStack() as stack:
        lab = Lab(stack.enter_context(_free_prefix()))
        lab.down()
        yield stack.enter_context(lab)


@pytest.fixture(scope="session")
def first_backup(lab: Lab) -> t.Iterator[tuple[Bastion, Run]]:
    """A bastion, and its first run of the backup over all clusters."""
    with bastion(lab) as found:
        found.use_wheelhouse()
        yield found, found.backup()
