# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What there is to say of a host's files: each thing once, as values that others can turn into theirs."""

from __future__ import annotations

import dataclasses
import enum

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import KitError

from .tree import shown

__all__ = ["Note", "NoteKind", "Notes"]


class NoteKind(str, enum.Enum):
    """What a note is about."""

    TAKEN_ANYWAY = "taken_anyway"
    NOT_PARSED = "not_parsed"
    LEADS_OUT = "leads_out"
    UNREADABLE = "unreadable"
    MISSING = "missing"
    LEFT_OUT = "left_out"
    USUAL = "usual"


@dataclasses.dataclass(frozen=True)
class Note:
    """Something to warn of."""

    kind: NoteKind
    text: str
    path: str | None = None
    """The host's path that it is about."""
    reason: str = ""
    """Why, without the path and without what is said of kits."""
    name: str | None = None
    """Its standard name, of a file that was not taken."""


class Notes:
    """Notes in the order they were taken; what could not be taken is gathered until the end."""

    def __init__(self) -> None:
        self._notes: dict[Note, None] = {}
        self._untaken: dict[tuple[str, str], list[str]] = {}
        self._names: dict[str, str] = {}
        self._there: set[str] = set()

    def add(self, kind: NoteKind, text: str, path: str | None = None, reason: str = "") -> None:
        """Take a note, unless it is there."""
        note = Note(kind, text, path, reason, self._names.get(path or ""))
        self._notes.setdefault(note)

    def refused(self, exc: KitError) -> None:
        """Note what can't be read."""
        self.add(NoteKind.UNREADABLE, str(exc), exc.path, str(exc).rstrip("."))

    def untaken(
        self, path: str, reason: str, *, why: str | None, name: str | None, there: bool
    ) -> None:
        """Note a file that can't be taken although it is `there`, or is not; and its referrer."""
        if there:
            self._there.add(path)
        if name:
            self._names.setdefault(path, name)
        whys = self._untaken.setdefault((path, reason.rstrip(".")), [])
        if why is not None and why not in whys:
            whys.append(why)

    def all(self) -> tuple[Note, ...]:
        """Return every note."""
        for (path, reason), whys in self._untaken.items():
            if not whys:
                self.add(NoteKind.UNREADABLE, f"{reason}.", path, reason)
                continue
            more = f" (and {len(whys) - 1} more)" if len(whys) > 1 else ""
            there = path in self._there
            self.add(
                NoteKind.UNREADABLE if there else NoteKind.MISSING,
                f"{whys[0]}{more} references {shown(path)}, which is not in the kit: {reason}.",
                path,
                reason if there else f"{whys[0]}{more} references it: {reason}",
            )
        return tuple(self._notes)
