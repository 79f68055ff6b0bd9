# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module of the installed collection as Ansible does: a process, its options on stdin.

Whatever it answers must be what its RETURN documents.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

from lab import returned

VENV = Path(__file__).resolve().parents[2] / ".venv"
COLLECTIONS = os.environ.get("ANSIBLE_COLLECTIONS_PATH", str(VENV / "collections"))
_MODULES = "ansible_collections.controlplane.etcd.plugins.modules"


def run_module(
    module: str, params: t.Mapping[str, t.Any], *, prefix: t.Sequence[str] = (), timeout: int = 300
) -> dict[str, t.Any]:
    """Return what the module answers, failed or not; `prefix` is put before the command."""
    done = subprocess.run(
        [*prefix, sys.executable, "-m", f"{_MODULES}.{module}"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": dict(params)}),
        env={**os.environ, "PYTHONPATH": COLLECTIONS},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.stdout.strip(), done.stderr
    answer = t.cast("dict[str, t.Any]", json.loads(done.stdout))
    assert not (wrong := returned.disagreements(module, answer)), wrong
    return answer
