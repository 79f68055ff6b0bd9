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


class Stage:
    """What a stage has to say: `notes` below its line, and meanwhile what it is at."""

    def __init__(self, head: str) -> None:
        self.notes: list[str] = []
        self.live = sys.stdout.isatty()
        self._head = head
        self.progress("")

    def progress(self, text: str) -> None:
        """Show on a terminal what goes on; elsewhere nothing."""
        if self.live:
            line = f"{self._head}... {text}"[:WIDTH]
            print(f"\r{line:{WIDTH}}", end="", flush=True)


class Stages:
    """Numbers the stages and prints one line for each as it ends."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._number = 0
        self._started = time.monotonic()

    @contextlib.contextmanager
    def stage(self, title: str) -> t.Iterator[Stage]:
        """Announce a stage, and say at its end what it took and its notes."""
        self._number += 1
        head = f"[{self._number}/{self._count}] {title} "
        began = time.monotonic()
        stage = Stage(head)
        word = "failed after "
        try:
            yield stage
            word = ""
        finally:
            took = f" {word}{time.monotonic() - began:.1f} s"
            line = head + "." * max(3, WIDTH - len(head) - len(took)) + took
            print(("\r" if stage.live else "") + line, flush=True)
            for note in stage.notes:
                print(f"      {note}".rstrip(), flush=True)

    def total(self) -> float:
        """Return the seconds since the beginning."""
        return time.monotonic() - self._started
