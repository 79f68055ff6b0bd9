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
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import store
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ArchiveError,
    OptionInvalid,
)

__all__ = ["Lists", "check_dest", "open_lists"]


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


def check_dest(dest: str, *, spare: t.Iterable[str], archive: str | None) -> None:
    """Refuse a file that lists must not be written to, before anything is read.

    :param spare: files that are read.
    :raises OptionInvalid: it is one of those, or part of an archive, or its path is none to write to.
    :raises ArchiveError: it can't be written.
    """
    if not os.path.isabs(dest) or "\0" in dest:
        raise OptionInvalid(
            f"Option dest is {dest!r}, which is no absolute path.",
            hint="Set dest to a file by its absolute path.",
            path=dest,
        )
    real = os.path.realpath(dest)
    if real in {os.path.realpath(path) for path in spare if "\0" not in path}:
        raise OptionInvalid(
            f"Option dest is {dest}, which is read: it would be overwritten with the lists.",
            hint="Set dest to another file.",
            path=dest,
        )
    folder = os.path.dirname(real)
    root = os.path.realpath(archive) if archive and "\0" not in archive else None
    if (root and os.path.commonpath((root, real)) == root) or os.path.lexists(
        os.path.join(folder, store.MANIFEST)
    ):
        raise OptionInvalid(
            f"Option dest is {dest}, which lies in an archive: what is there is its own.",
            hint="Set dest to a file outside of the archive.",
            path=dest,
        )
    if os.path.lexists(dest) and (os.path.islink(dest) or not os.path.isfile(dest)):
        raise _not_written(dest, "there is something that is no regular file")
    if dest.endswith("/") or not os.path.isdir(folder):
        raise _not_written(dest, "its folder does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _not_written(dest, "Permission denied")


@contextlib.contextmanager
def open_lists(limit: int, dest: str | None) -> t.Iterator[Lists]:
    """Give lists; the file `dest`, mode 0600, is there once the context ends well.

    `dest` went through `check_dest`. Nothing else may raise an OSError in it.

    :raises ArchiveError: `dest` can't be written.
    """
    if dest is None:
        yield Lists(limit, None)
        return
    try:
        with contextlib.ExitStack() as stack:
            yield Lists(limit, stack.enter_context(_files.part_file(dest)))
    except OSError as exc:
        raise _not_written(dest, exc.strerror or str(exc)) from exc


def _not_written(dest: str, why: str) -> ArchiveError:
    return ArchiveError(
        f"The lists cannot be written to {dest}: {why}.",
        hint="Set dest to a file in a folder that exists, with room for it.",
        path=dest,
    )
