# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done for each wished state, from each state that a restore can be in."""

from __future__ import annotations

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import RestoreRefused
from ansible_collections.controlplane.etcd.plugins.module_utils._node.journal import Entry
from ansible_collections.controlplane.etcd.plugins.module_utils._restore.states import (
    Action,
    State,
    Wished,
    decide,
)

# wished: none staging staged swapping swapped rolling_back rolled_back committing committed
# + do it, = compare, . nothing, ! refused
TABLE = {
    Wished.STAGED: (Action.STAGE, "++===!+=="),
    Wished.SWAPPED: (Action.SWAP, "!!++.!!.."),
    Wished.ROLLED_BACK: (Action.ROLL_BACK, ".+++++.!!"),
    Wished.COMMITTED: (Action.COMMIT, "!!!!+!!+."),
}
CASES = [
    (wished, state, action, sign)
    for wished, (action, row) in TABLE.items()
    for state, sign in zip(State, row)
]


def entry(state: State, run: str = "r1") -> Entry:
    return Entry(run, "root on cp1, pid 7", 3, state.value, "T0", "T1", {})


@pytest.mark.parametrize(
    ("wished", "state", "action", "sign"),
    CASES,
    ids=[f"{wished.value} from {state.value}" for wished, state, _action, _sign in CASES],
)
def test_decide_from_every_state(wished: Wished, state: State, action: Action, sign: str) -> None:
    there = None if state is State.NONE else entry(state)
    if sign == "!":
        with pytest.raises(RestoreRefused) as refused:
            decide(wished, there, run="r1", data_dir="/var/lib/etcd")
        assert refused.value.path == "/var/lib/etcd" and refused.value.hint
        assert f"/var/lib/etcd can't be {wished.value}" in refused.value.message
        return
    found, before = decide(wished, there, run="r1", data_dir="/var/lib/etcd")
    assert before is state
    expected = {"+": action, "=": Action.COMPARE, ".": Action.NOTHING}[sign]
    if (wished, state) in ((Wished.ROLLED_BACK, State.STAGING), (Wished.ROLLED_BACK, State.STAGED)):
        expected = Action.UNSTAGE
    assert found is expected


OVER = (State.COMMITTED, State.ROLLED_BACK)


@pytest.mark.parametrize("wished", Wished)
@pytest.mark.parametrize("state", [state for state in State if state is not State.NONE])
def test_decide_keeps_restores_apart(wished: Wished, state: State) -> None:
    """One that is over is as none; one under way is not touched by another's ID."""
    if state not in OVER:
        with pytest.raises(
            RestoreRefused, match=r"Restore r1 .* is under way .*, begun by root"
        ) as no:
            decide(wished, entry(state), run="r2", data_dir="/d")
        assert "id r1" in no.value.hint
        return
    if wished in (Wished.SWAPPED, Wished.COMMITTED):
        with pytest.raises(RestoreRefused, match="nothing is staged"):
            decide(wished, entry(state), run="r2", data_dir="/d")
        return
    found, before = decide(wished, entry(state), run="r2", data_dir="/d")
    assert before is State.NONE
    assert found is (Action.STAGE if wished is Wished.STAGED else Action.NOTHING)


@pytest.mark.parametrize("state", State)
def test_decide_without_an_id_means_the_one_there_is(state: State) -> None:
    there = None if state is State.NONE else entry(state)
    if state in OVER or state is State.NONE:
        assert decide(Wished.STAGED, there, run=None, data_dir="/d") == (Action.STAGE, State.NONE)
    elif state in (State.STAGED, State.SWAPPED):
        assert decide(Wished.STAGED, there, run=None, data_dir="/d") == (Action.COMPARE, state)
