# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all lanes share: import roots, and the record of faults that docs/reliability.md is made of."""

from __future__ import annotations

import json
import os
import re
import sys
import typing as t
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
VENV = ROOT / ".venv"

# As _deps.py does, for tests that import grpc by themselves.
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
for root in (TESTS, VENV / "dev"):
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))


class Reliability:
    """Writes down one fault that a test tried, for docs/reliability.md."""

    def __init__(self, test: str) -> None:
        self._test = test

    def __call__(
        self, fault: str, outcome: str, *, area: str = "backup", message: str = ""
    ) -> None:
        """Record `fault` with the `outcome` seen, after the assertions that prove it."""
        folder = VENV / "reliability"
        folder.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^A-Za-z0-9]+", "-", f"{area}-{fault}").strip("-")[:120]
        record = {
            "area": area,
            "fault": fault,
            "outcome": outcome,
            "message": message,
            "test": self._test,
        }
        (folder / f"{name}.json").write_text(json.dumps(record, indent=1, sort_keys=True))


@pytest.fixture
def reliability(request: pytest.FixtureRequest) -> t.Iterator[Reliability]:
    """A recorder for the faults that this test proves."""
    return Reliability(request.node.nodeid)
