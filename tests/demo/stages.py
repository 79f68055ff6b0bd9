# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say each stage of the demo and the seconds that it took."""

from __future__ import annotations

import contextlib
import sys
import time
import typing as t

WIDTH = 78


class Stages:
    """Numbers the stages and prints one line for each as it ends."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._number = 0
        self._started = time.monotonic()

    @contextlib.contextmanager
    def stage(self, title: str) -> t.Iterator[list[str]]:
        """Announce a stage; what is appended to the list is printed below its line."""
        self._number += 1
        head = f"[{self._number}/{self._count}] {title} "
        live = sys.stdout.isatty()
        if live:
            print(head + "...", end="", flush=True)
        began = time.monotonic()
        notes: list[str] = []
        word = "failed after"
        try:
            yield notes
            word = ""
        finally:
            took = f" {word} {time.monotonic() - began:.1f} s".replace("  ", " ")
            line = head + "." * max(3, WIDTH - len(head) - len(took)) + took
            print(("\r" if live else "") + line, flush=True)
            for note in notes:
                print(f"      {note}".rstrip(), flush=True)

    def total(self) -> float:
        """Return the seconds since the beginning."""
        return time.monotonic() - self._started
