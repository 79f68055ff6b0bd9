# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Long lists: counts and the first few in the result, all of them in a file."""

from __future__ import annotations

import contextlib
import json
import os
import typing as t
from collections import Counter

from ansible_collections.controlplane.etcd.plugins.module_utils import _files
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ArchiveError,
    OptionInvalid,
)

__all__ = ["Lists", "open_lists"]


class Lists:
    """Named lists of which only the first `limit` items are kept; `target` gets a line for each.

    A line is a JSON object with the list's name as `list`.
    """

    def __init__(self, limit: int, target: t.BinaryIO | None) -> None:
        self.counts: Counter[str] = Counter()
        self.limit = limit
        self._first: dict[str, list[t.Any]] = {}
        self._target = target

    def add(self, name: str, item: t.Any) -> None:
        """Add an item to a list."""
        self.counts[name] += 1
        if self.counts[name] <= self.limit:
            self._first.setdefault(name, []).append(item)
        if self._target is not None:
            line = {"list": name, "item": item}
            self._target.write(json.dumps(line).encode("utf-8") + b"\n")

    def first(self, name: str) -> list[t.Any]:
        """Return what was kept of a list."""
        return self._first.get(name, [])

    @property
    def line_count(self) -> int:
        """How many items all lists have."""
        return sum(self.counts.values())


@contextlib.contextmanager
def open_lists(limit: int, dest: str | None, *, spare: t.Iterable[str] = ()) -> t.Iterator[Lists]:
    """Give lists; the file `dest`, mode 0600, is there once the context ends well.

    Nothing else may raise an OSError in it.

    :raises OptionInvalid: `dest` is one of the files in `spare`.
    :raises ArchiveError: `dest` can't be written.
    """
    if dest is None:
        yield Lists(limit, None)
        return
    if os.path.realpath(dest) in {os.path.realpath(path) for path in spare}:
        raise OptionInvalid(
            f"Option dest is {dest}, which is read: it would be overwritten with the lists.",
            hint="Set dest to another file.",
            path=dest,
        )
    if os.path.lexists(dest) and not os.path.isfile(dest):
        raise ArchiveError(
            f"The lists cannot be written to {dest}: there is something that is no file.",
            hint="Set dest to a file in a folder that exists.",
            path=dest,
        )
    try:
        with contextlib.ExitStack() as stack:
            yield Lists(limit, stack.enter_context(_files.part_file(dest)))
    except OSError as exc:
        raise ArchiveError(
            f"The lists cannot be written to {dest}: {exc.strerror or exc}.",
            hint="Set dest to a file in a folder that exists, with room for it.",
            path=dest,
        ) from exc
