# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a judge's program and keep what it says."""

from __future__ import annotations

import dataclasses
import subprocess
import typing as t
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Done:
    """How a program ended, and all it said."""

    status: int
    said: str

    def tail(self, lines: int = 60) -> str:
        """Return the last of what it said."""
        return "\n".join(self.said.strip().splitlines()[-lines:])


def run(
    argv: t.Sequence[str | Path], *, cwd: Path, env: t.Mapping[str, str], timeout: float = 3600
) -> Done:
    """Run a program to its end; its two outputs come as one, in the order it wrote them."""
    done = subprocess.run(
        [str(word) for word in argv],
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )
    return Done(done.returncode, done.stdout)
