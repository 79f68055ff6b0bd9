# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What is to be done for a wished state, seen from how far a restore has got. Pure."""

from __future__ import annotations

import typing as t
from enum import Enum

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import RestoreRefused

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._node.journal import Entry

__all__ = ["Action", "State", "Wished", "decide"]


class Wished(str, Enum):
    """What a caller may ask for."""

    STAGED = "staged"
    SWAPPED = "swapped"
    ROLLED_BACK = "rolled_back"
    COMMITTED = "committed"


class State(str, Enum):
    """How far a restore has got; the -ing ones were begun, and perhaps broken off."""

    NONE = "none"
    STAGING = "staging"
    STAGED = "staged"
    SWAPPING = "swapping"
    SWAPPED = "swapped"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    COMMITTING = "committing"
    COMMITTED = "committed"


class Action(str, Enum):
    """What to do."""

    NOTHING = "nothing"
    STAGE = "stage"
    COMPARE = "compare"
    """Staged or further already: nothing, if what was asked for is what was staged."""
    SWAP = "swap"
    UNSTAGE = "unstage"
    ROLL_BACK = "roll_back"
    COMMIT = "commit"


_OVER = (State.NONE, State.COMMITTED, State.ROLLED_BACK)
_FIRST = "Run state staged with this id first."
_BACK = "Finish that with state rolled_back."
_GONE = "The old data is not there any more: going back is a new restore."

# wished -> state -> what to do, or why not.
_TABLE: dict[Wished, dict[State, Action | tuple[str, str]]] = {
    Wished.STAGED: {
        State.NONE: Action.STAGE,
        State.STAGING: Action.STAGE,
        State.STAGED: Action.COMPARE,
        State.SWAPPING: Action.COMPARE,
        State.SWAPPED: Action.COMPARE,
        State.ROLLING_BACK: ("it is being rolled back", _BACK),
        State.ROLLED_BACK: Action.STAGE,
        State.COMMITTING: Action.COMPARE,
        State.COMMITTED: Action.COMPARE,
    },
    Wished.SWAPPED: {
        State.NONE: ("nothing is staged", _FIRST),
        State.STAGING: ("its staging was broken off", "Run state staged again: it begins anew."),
        State.STAGED: Action.SWAP,
        State.SWAPPING: Action.SWAP,
        State.SWAPPED: Action.NOTHING,
        State.ROLLING_BACK: ("it is being rolled back", _BACK),
        State.ROLLED_BACK: ("it was rolled back", _FIRST),
        State.COMMITTING: Action.NOTHING,
        State.COMMITTED: Action.NOTHING,
    },
    Wished.ROLLED_BACK: {
        State.NONE: Action.NOTHING,
        State.STAGING: Action.UNSTAGE,
        State.STAGED: Action.UNSTAGE,
        State.SWAPPING: Action.ROLL_BACK,
        State.SWAPPED: Action.ROLL_BACK,
        State.ROLLING_BACK: Action.ROLL_BACK,
        State.ROLLED_BACK: Action.NOTHING,
        State.COMMITTING: ("it is being committed", _GONE),
        State.COMMITTED: ("it was committed", _GONE),
    },
    Wished.COMMITTED: {
        State.NONE: ("nothing is staged", _FIRST),
        State.STAGING: ("it is not swapped, its staging was broken off", _FIRST),
        State.STAGED: ("it is staged, not swapped", "Run state swapped first, or rolled_back."),
        State.SWAPPING: ("its swap was broken off", "Run state swapped again, or rolled_back."),
        State.SWAPPED: Action.COMMIT,
        State.ROLLING_BACK: ("it is being rolled back", _BACK),
        State.ROLLED_BACK: ("it was rolled back", _FIRST),
        State.COMMITTING: Action.COMMIT,
        State.COMMITTED: Action.NOTHING,
    },
}


def decide(
    wished: Wished, entry: Entry | None, *, run: str | None, data_dir: str
) -> tuple[Action, State]:
    """Return what to do, and the state that it starts from.

    `run` names a restore. Without it the one under way is meant, or else, for a new staging, a new
    one; where none is under way, the last one.

    :raises RestoreRefused: another restore is under way, or the state can't be had from here.
    """
    state = _state(entry)
    if entry and run is not None and run != entry.run:
        if state not in _OVER:
            raise RestoreRefused(
                f"Restore {entry.run} of {data_dir} is under way ({state.value} since "
                f"{entry.written_at}, begun by {entry.owner}), so restore {run} can't be "
                f"{wished.value}.",
                hint=f"End it with id {entry.run}: state rolled_back"
                + (
                    ", or swapped and then committed."
                    if state in (State.STAGED, State.SWAPPING, State.SWAPPED)
                    else (" does." if state is not State.COMMITTING else " is too late: committed.")
                ),
                path=data_dir,
            )
        state = State.NONE
    if run is None and wished is Wished.STAGED and state in _OVER:
        state = State.NONE
    found = _TABLE[wished][state]
    if isinstance(found, Action):
        return found, state
    raise RestoreRefused(
        f"Restore {run or (entry.run if entry else '')} of {data_dir} can't be {wished.value}: "
        f"{found[0]}.".replace("  ", " "),
        hint=found[1],
        path=data_dir,
    )


def _state(entry: Entry | None) -> State:
    if entry is None:
        return State.NONE
    try:
        return State(entry.state)
    except ValueError as exc:
        raise RestoreRefused(
            f"The journal of restore {entry.run} says {entry.state!r}, which is no state known here.",
            hint="Another version of this collection wrote it: go on with that one.",
        ) from exc
