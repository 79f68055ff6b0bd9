# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Where a restore puts things: everything beside the live data, so that a rename is enough."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import typing as t

__all__ = ["Places", "is_ours", "journal_path"]

_UNPLAIN = re.compile(r"[^A-Za-z0-9.]+")


@dataclasses.dataclass(frozen=True)
class Places:
    """The folders of one restore, all derived from the member's own and the restore's ID.

    :param data_dir: the member's folder, links resolved.
    :param inside: swap `member/` inside of it: it is a mount point, or holds more than that.
    :param wal_dir: a WAL folder of its own; None where it lies in `data_dir` and goes with that.
    :param wal_inside: swap what is in the WAL folder: that is a mount point.
    :param wal_below: where the WAL lies below `data_dir`, if asked for by name.
    """

    id: str
    data_dir: str
    inside: bool
    wal_dir: str | None = None
    wal_inside: bool = False
    wal_below: str | None = None

    @property
    def staging(self) -> str:
        """The data folder that is made: what etcd's tool is told."""
        return _with(self.data_dir, f"restore-{self.id}", inside=self.inside)

    @property
    def wal_staging(self) -> str | None:
        """The WAL folder that is made, None where it is in the data folder's place."""
        if self.wal_below:
            return os.path.join(self.staging, self.wal_below)
        return (
            _with(self.wal_dir, f"restore-{self.id}", inside=self.wal_inside)
            if self.wal_dir
            else None
        )

    @property
    def live(self) -> str:
        """What is renamed: the data folder, or `member/` in it."""
        return os.path.join(self.data_dir, "member") if self.inside else self.data_dir

    @property
    def staged(self) -> str:
        """What takes the place of `live`."""
        return os.path.join(self.staging, "member") if self.inside else self.staging

    def aside(self, word: str) -> str:
        """Return where `live` goes: `before`, or `undone` after a way back."""
        return f"{self.live}.{word}-{self.id}"

    def wal_aside(self, word: str) -> str:
        """Return where the WAL goes that lies apart."""
        return _with(t.cast(str, self.wal_dir), f"{word}-{self.id}", inside=self.wal_inside)

    @property
    def tops(self) -> tuple[str, ...]:
        """The folders of the live member."""
        return (self.data_dir, self.wal_dir) if self.wal_dir else (self.data_dir,)

    @property
    def stagings(self) -> tuple[str, ...]:
        """The folders that are made while staging."""
        apart = self.wal_staging if self.wal_dir else None
        return (self.staging, apart) if apart else (self.staging,)

    def asides(self, word: str) -> tuple[str, ...]:
        """The folders that the old, or undone, data goes to."""
        return (self.aside(word), self.wal_aside(word)) if self.wal_dir else (self.aside(word),)

    def to_json(self) -> dict[str, t.Any]:
        """Return what a journal keeps."""
        return dataclasses.asdict(self)


def _with(path: str, word: str, *, inside: bool) -> str:
    return os.path.join(path, word) if inside else f"{path}.{word}"


def is_ours(name: str) -> bool:
    """Tell whether an entry of a folder is one that a restore makes in it."""
    return bool(re.fullmatch(r"(?:member\.)?(?:restore|before|undone)-[A-Za-z0-9._-]+", name))


def journal_path(journal_dir: str, data_dir: str) -> str:
    """Return the journal of a data folder: one name each, readable."""
    plain = _UNPLAIN.sub("-", data_dir).strip("-")[-80:] or "root"
    told = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:8]
    return os.path.join(journal_dir, f"restore-{plain}-{told}.json")
