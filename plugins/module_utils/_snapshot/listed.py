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

__all__ = ["Lists", "check_dest", "highest", "open_lists"]


# AWX cuts an event at 700,000 bytes. All lists together, and each of what always is in the result.
_MOST_LISTS_BYTES = 400_000
_Item = t.TypeVar("_Item")
_Figure = t.TypeVar("_Figure")


def _itself(figure: t.Any) -> int:
    return t.cast(int, figure)


class Lists:
    """Named lists of which only the first `limit` items are kept; `target` gets a line for each.

    A line is a JSON object with the list's name as `list`. What is kept is bounded in bytes, too:
    far above what a cluster's own names and numbers take.
    """

    def __init__(self, limit: int, target: t.BinaryIO | None) -> None:
        self.counts: Counter[str] = Counter()
        self.limit = limit
        self._first: dict[str, list[t.Any]] = {}
        self._kept_bytes: Counter[str] = Counter()
        self._cut: dict[str, tuple[int, int]] = {}
        self._target = target

    def add(self, name: str, item: t.Any, *, told: t.Any = None) -> None:
        """Add an item to a list; `told` is what the result has instead, if that is shorter."""
        keeps = self.keeps(name)
        self._write(name, item)
        if keeps:
            kept = item if told is None else told
            self._first.setdefault(name, []).append(kept)
            self._kept_bytes[name] += _size(kept)

    def passes(self, name: str) -> bool:
        """Count the next item of a list if nobody wants to have it; tell whether that is so."""
        passed = self._target is None and not self.keeps(name)
        self.counts[name] += passed
        return passed

    def keeps(self, name: str) -> bool:
        """Tell whether the next item of a list will be kept."""
        return self.counts[name] < self.limit and self._kept_bytes[name] <= _MOST_LISTS_BYTES

    def first(self, name: str) -> list[t.Any]:
        """Return what was kept of a list."""
        return self._first.get(name, [])

    def fit(self) -> None:
        """Cut what is kept of all lists to what a result holds: short ones stay, long ones share.

        To be called once all items are there.
        """
        left, count = _MOST_LISTS_BYTES, len(self._first)
        for turn, name in enumerate(sorted(self._first, key=self._kept_bytes.__getitem__)):
            items, wanted = self._first[name], min(self.counts[name], self.limit)
            del items[len(_fitting(items, left // (count - turn))) :]
            if len(items) < wanted:
                self._cut[name] = len(items), wanted
            left -= sum(map(_size, items))

    def most(self, name: str, items: t.Sequence[_Item], most_bytes: int) -> list[_Item]:
        """Return the first of `items` that fit; where that isn't all, all are listed, too."""
        kept = _fitting(items, most_bytes)
        self._note(name, len(kept), items)
        return kept

    def highest(
        self,
        name: str,
        figures: t.Mapping[str, _Figure],
        most_bytes: int,
        *,
        always: t.Container[str] = (),
        rank: t.Callable[[_Figure], int] = _itself,
    ) -> dict[str, _Figure]:
        """Do as `most` does with the highest of named figures; those in `always` come first."""
        kept = highest(figures, most_bytes, always=always, rank=rank)
        self._note(name, len(kept), list(figures.items()))
        return kept

    def _note(self, name: str, kept: int, items: t.Sequence[t.Any]) -> None:
        if kept < len(items):
            self._cut[name] = kept, len(items)
            for item in items:
                self._write(name, item)

    def warnings(self, where: str) -> list[str]:
        """Return what to say of what was cut beyond `limit`."""
        cut = [f"{name} with {kept} of {count}" for name, (kept, count) in self._cut.items()]
        if not cut:
            return []
        return [
            f"{where}: all would be too long for a result; it has {', '.join(cut)}. Option dest "
            "takes the rest."
        ]

    @property
    def line_count(self) -> int:
        """How many items all lists have."""
        return sum(self.counts.values())

    def _write(self, name: str, item: t.Any) -> None:
        self.counts[name] += 1
        if self._target is not None:
            line = {"list": name, "item": item}
            self._target.write(json.dumps(line).encode("utf-8") + b"\n")


def highest(
    figures: t.Mapping[str, _Figure],
    most_bytes: int,
    *,
    always: t.Container[str] = (),
    rank: t.Callable[[_Figure], int] = _itself,
) -> dict[str, _Figure]:
    """Return the highest figures that fit, in the order that they had."""
    ranked = sorted(
        figures.items(), key=lambda pair: (pair[0] in always, rank(pair[1])), reverse=True
    )
    kept = dict(_fitting(ranked, most_bytes))
    return {name: figure for name, figure in figures.items() if name in kept}


def _size(item: t.Any) -> int:
    return len(json.dumps(item)) + len(", ")


def _fitting(items: t.Sequence[_Item], most_bytes: int) -> list[_Item]:
    kept = []
    for item in items:
        most_bytes -= _size(item)
        if most_bytes < 0:
            break
        kept.append(item)
    return kept


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
