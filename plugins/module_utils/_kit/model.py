# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What was found on a host: files, links, and what is missing."""

from __future__ import annotations

import dataclasses

from .notes import Note
from .references import Parsed
from .tree import Content, Meta

__all__ = ["Collection", "Link", "Taken"]


@dataclasses.dataclass(frozen=True)
class Taken:
    """A file of the kit."""

    path: str
    content: Content
    names: tuple[str, ...]
    """Its standard names, the first one by which it is known best; none: somebody made it up."""
    why: tuple[str, ...]
    part: str
    parsed: Parsed
    links: tuple[str, ...] = ()
    """The links that lead to it."""


@dataclasses.dataclass(frozen=True)
class Link:
    """A symbolic link of the kit."""

    path: str
    target: str
    meta: Meta


@dataclasses.dataclass(frozen=True)
class Collection:
    """All that was found on a host."""

    files: tuple[Taken, ...]
    links: tuple[Link, ...]
    missing: tuple[str, ...]
    """Standard names that are referenced, or usual, and not here."""
    excluded: tuple[str, ...]
    """Standard names that were left out as asked."""
    notes: tuple[Note, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to warn of, each thing once."""
        return tuple(dict.fromkeys(note.text for note in self.notes))

    @property
    def present(self) -> tuple[str, ...]:
        """The standard names of the files."""
        return tuple(sorted({name for file in self.files for name in file.names}))
