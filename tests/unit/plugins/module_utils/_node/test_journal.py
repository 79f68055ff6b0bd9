# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A journal: whole or not there, one writer, and what is no journal is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import RestoreRefused
from ansible_collections.controlplane.etcd.plugins.module_utils._node.journal import Journal


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(str(tmp_path / "journal" / "restore-x.json"))


def test_a_run_from_its_beginning_to_its_end(journal: Journal) -> None:
    assert journal.read() is None
    first = journal.begin("r1", "root on cp1, pid 7", "staging", {"a": 1})
    assert (first.generation, first.state) == (1, "staging")
    assert os.stat(journal.path).st_mode & 0o777 == 0o600
    assert os.stat(os.path.dirname(journal.path)).st_mode & 0o777 == 0o700
    second = journal.advance(first, "staged", b=[2])
    assert journal.read() == second
    assert (second.generation, second.body) == (2, {"a": 1, "b": [2]})
    assert second.started_at == first.started_at
    third = journal.begin("r2", "root on cp1, pid 9", "staging", {})
    assert (third.run, third.generation, third.body) == ("r2", 3, {})
    assert os.listdir(os.path.dirname(journal.path)) == ["restore-x.json"]


def test_a_run_that_left_nothing_is_forgotten(journal: Journal) -> None:
    entry = journal.begin("r1", "me", "staging", {})
    later = journal.advance(entry, "staged")
    journal.remove(entry)  # not its own any more
    assert journal.read() == later
    journal.remove(later)
    assert journal.read() is None


def test_two_writers_are_told_apart(journal: Journal) -> None:
    entry = journal.begin("r1", "me", "staging", {})
    journal.advance(entry, "staged")
    with pytest.raises(
        RestoreRefused, match="written by somebody else.*generation 2.*generation 1"
    ):
        journal.advance(entry, "staged")
    os.unlink(journal.path)
    with pytest.raises(RestoreRefused, match="it is at nothing"):
        journal.advance(entry, "staged")


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b"\xff", b'{"schema": "x"}', b"[" * 100_000]
    + [json.dumps({"schema": "controlplane.etcd/journal/v1", "run": "r1"}).encode()],
)
def test_what_is_no_journal_is_named(journal: Journal, data: bytes) -> None:
    os.mkdir(os.path.dirname(journal.path), 0o700)
    Path(journal.path).write_bytes(data)
    with pytest.raises(RestoreRefused, match="can't be used") as raised:
        journal.read()
    assert raised.value.path == journal.path and raised.value.hint


def test_a_link_is_not_followed(journal: Journal, tmp_path: Path) -> None:
    os.mkdir(os.path.dirname(journal.path), 0o700)
    (tmp_path / "target").write_text("{}")
    os.symlink(tmp_path / "target", journal.path)
    with pytest.raises(RestoreRefused, match="can't be used"):
        journal.read()


def test_a_folder_that_others_write_to_is_refused(journal: Journal) -> None:
    folder = os.path.dirname(journal.path)
    os.mkdir(folder)
    os.chmod(folder, 0o770)
    with pytest.raises(RestoreRefused, match="others than this user may write"):
        journal.begin("r1", "me", "staging", {})
    os.rmdir(folder)
    Path(folder).write_text("")
    with pytest.raises(RestoreRefused):
        journal.begin("r1", "me", "staging", {})
