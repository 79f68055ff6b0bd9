# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renames: from every place that things can lie in after a kill, forward and back."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import RestoreRefused
from ansible_collections.controlplane.etcd.plugins.module_utils._restore.pieces import (
    Piece,
    aside,
    check_back,
    inode,
    put,
    take_back,
)


def make(root: Path, *, old: bool, new: bool, done: int) -> Piece:
    """Make a piece, and do as much of its swap as a killed one has done."""
    live, staged, before = root / "live", root / "staged", root / "before"
    if old:
        live.mkdir()
        (live / "old").write_text("")
    if new:
        staged.mkdir()
        (staged / "new").write_text("")
    piece = Piece(str(live), str(staged), str(before), inode(str(live)), inode(str(staged)))
    for step in (aside, put)[:done]:
        step(piece)
    return piece


def lies(root: Path) -> dict[str, str]:
    return {path.name: next(path.iterdir()).name for path in root.iterdir()}


CASES = [
    (old, new, done)
    for old, new, done in itertools.product((True, False), (True, False), range(3))
    if old or new
]


@pytest.mark.parametrize(("old", "new", "done"), CASES)
def test_forward_and_back_from_everywhere(tmp_path: Path, old: bool, new: bool, done: int) -> None:
    piece = make(tmp_path, old=old, new=new, done=done)
    for _turn in range(2):
        aside(piece)
        put(piece)
        wanted = {**({"before": "old"} if old else {}), **({"live": "new"} if new else {})}
        assert lies(tmp_path) == wanted
    assert not aside(piece) and not put(piece)
    for _turn in range(2):
        check_back(piece)
        take_back(piece)
        wanted = {**({"live": "old"} if old else {}), **({"staged": "new"} if new else {})}
        assert lies(tmp_path) == wanted


@pytest.mark.parametrize(("old", "new", "done"), CASES)
def test_back_from_everywhere(tmp_path: Path, old: bool, new: bool, done: int) -> None:
    piece = make(tmp_path, old=old, new=new, done=done)
    take_back(piece)
    assert lies(tmp_path) == {
        **({"live": "old"} if old else {}),
        **({"staged": "new"} if new else {}),
    }


def test_an_empty_folder_in_between_is_taken_away(tmp_path: Path) -> None:
    piece = make(tmp_path, old=True, new=True, done=1)
    (tmp_path / "live").mkdir()
    assert put(piece)
    assert lies(tmp_path) == {"live": "new", "before": "old"}
    take_back(piece)
    (tmp_path / "live").rename(tmp_path / "before")
    (tmp_path / "live").mkdir()
    assert take_back(piece)
    assert lies(tmp_path) == {"live": "old", "staged": "new"}


def test_what_is_not_ours_is_named_and_left(tmp_path: Path) -> None:
    piece = make(tmp_path, old=True, new=True, done=1)
    (tmp_path / "live" / "member").mkdir(parents=True)
    before = lies(tmp_path)
    for step in (aside, put, take_back, check_back):
        with pytest.raises(RestoreRefused, match="somebody else has changed it") as raised:
            step(piece)
        assert str(tmp_path / "live") in raised.value.message and "ls -lid" in raised.value.hint
        assert lies(tmp_path) == before


def test_a_place_that_is_taken_is_not_written_over(tmp_path: Path) -> None:
    piece = make(tmp_path, old=True, new=True, done=0)
    (tmp_path / "before").mkdir()
    (tmp_path / "before" / "other").write_text("")
    with pytest.raises(RestoreRefused, match="before is not what this restore left"):
        aside(piece)
    assert lies(tmp_path) == {"live": "old", "staged": "new", "before": "other"}
