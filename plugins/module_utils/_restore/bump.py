# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""How far the revision is raised, so that no client takes the restored history for the one it knew."""

from __future__ import annotations

import dataclasses
import datetime as dt

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import OptionInvalid

__all__ = ["LEAST", "BumpWish", "parse_bump", "raised_by"]

LEAST = 10**9
_SAFETY = 10
# Revisions are int64 in etcd; what is left serves it for as long as anyone counts.
_MOST_REVISION = 1 << 60


@dataclasses.dataclass(frozen=True)
class BumpWish:
    """What was asked, and what `auto` is computed from.

    :param fixed: a number; None for `auto`.
    :param known_revision: the newest revision that any member, or anybody else, is known to have had.
    :param revision_rate: revisions a second, as the cluster wrote them.
    :param taken_at: when the snapshot was taken.
    """

    fixed: int | None
    known_revision: int | None = None
    revision_rate: float = 0.0
    taken_at: dt.datetime | None = None


def parse_bump(text: str | None, mark_compacted: bool | None) -> bool | int | None:
    """Read `bump_revision`: None for none, True for `auto`, else the number.

    etcdutl wants both or neither: to raise the revision and to mark what was before as compacted.

    :raises OptionInvalid: it is no number above 0, or only one of both is asked for.
    """
    wanted: bool | int | None = None
    if text is not None and text != "auto":
        if not text.isascii() or not text.isdigit() or not int(text):
            raise OptionInvalid(
                f"Option bump_revision: {text!r} is neither auto nor a number above 0.",
                hint="Leave it out for a revision that is not raised.",
            )
        wanted = int(text)
    elif text == "auto":
        wanted = True
    if mark_compacted is not None and mark_compacted is not bool(wanted):
        raise OptionInvalid(
            f"Option mark_compacted is {str(mark_compacted).lower()}, and bump_revision is "
            f"{text or 'not set'}: etcd takes both or neither.",
            hint="Leave mark_compacted out: it goes with bump_revision.",
        )
    return wanted


def raised_by(wish: BumpWish, revision: int, *, now: dt.datetime) -> int:
    """Return how far a snapshot at `revision` is raised.

    `auto` is the larger of 10^9 and what has been missed: the revisions up to the newest known one,
    and ten times those that the rate gives for the time since.

    :raises OptionInvalid: the new revision would be too large for etcd.
    """
    if wish.fixed is not None:
        bump = wish.fixed
    else:
        seconds = max((now - wish.taken_at).total_seconds(), 0.0) if wish.taken_at else 0.0
        missed = max((wish.known_revision or 0) - revision, 0)
        bump = max(LEAST, missed + int(wish.revision_rate * seconds * _SAFETY))
    if revision + bump > _MOST_REVISION:
        raise OptionInvalid(
            f"Option bump_revision: {revision} + {bump} is beyond {_MOST_REVISION}, where etcd's "
            "revisions would come near their end.",
            hint="Give a smaller number, or look at known_revision and revision_rate.",
        )
    return bump
