# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the measurements share: a controller, sites that stay up while they are needed, rounds."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from bench import data
from bench.controller import Controller
from bench.data import Data
from bench.hosts import Site
from lab import objects


class Bench:
    """One run of the bench."""

    def __init__(self, folder: Path, *, quick: bool, rounds: int) -> None:
        self.folder = folder
        self.quick = quick
        self.rounds = rounds
        self._sites: dict[str, Site] = {}
        self.controller = Controller(folder / "controller", self._sites)
        self._wishes = data.QUICK if quick else data.FULL
        self._warm = False
        self._started = time.monotonic()

    def data(self, name: str) -> Data:
        return data.get(self._wishes[name])

    def say(self, text: str) -> None:
        """Tell a person what goes on."""
        print(f"{time.monotonic() - self._started:7.1f} s  {text}", file=sys.stderr, flush=True)

    def site(self, name: str, *, size: int, held: Data | None = None) -> Site:
        """Return a site, started first if it isn't up; it stays until close()."""
        if name not in self._sites:
            self._sites[name] = Site(
                name,
                size=size,
                data=held,
                root=self.folder,
                public_key=self.controller.public_key,
            )
        return self._sites[name]

    def drop(self, *names: str) -> None:
        """Stop sites."""
        for name in names:
            if name in self._sites:
                self._sites.pop(name).close()

    def warm(self) -> None:
        """Back up a small cluster once, so that no measured run makes what the first one makes:
        the hosts' Python environment, and etcd's tools in the archive."""
        if not self._warm:
            self.say("a first backup: the environment on the hosts, the tools in the archive")
            site = self.site("warm", size=1)
            objects.fill(site.cluster)
            self.controller.backup(site)
            self.drop("warm")
            self._warm = True

    def close(self) -> None:
        self.drop(*list(self._sites))
