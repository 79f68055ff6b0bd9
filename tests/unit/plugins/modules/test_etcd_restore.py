# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd_restore as Ansible runs it, where no etcd is needed for the answer."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from unit.fixtures import asked


def ask(tmp_path: Path, **params: t.Any) -> dict[str, t.Any]:
    options = {"data_dir": str(tmp_path / "etcd"), "journal_dir": str(tmp_path / "journal")}
    return asked.ask("etcd_restore", **{**options, **params})


def test_main_has_nothing_to_roll_back(tmp_path: Path) -> None:
    found = ask(tmp_path, state="rolled_back", id="r1")
    assert found["changed"] is False and found["state"] == "none"
    assert found["restored"] is None and found["folders"] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"state": "swapped"}, "restore_refused", "nothing is staged"),
        ({"state": "committed"}, "restore_refused", "nothing is staged"),
        ({}, "option_invalid", "needs name and initial_cluster"),
        ({"bump_revision": "x"}, "option_invalid", "'x' is neither auto nor a number"),
        ({"id": "a/b"}, "option_invalid", "Option id: 'a/b'"),
        ({"sha256": "abc"}, "option_invalid", "64 hex digits"),
        ({"etcd_version": "six"}, "option_invalid", "a version such as 3.6"),
        ({"timeout": "soon"}, "option_invalid", "Option timeout"),
        ({"taken_at": "now", "bump_revision": "auto"}, "option_invalid", "Option taken_at"),
    ],
)
def test_main_fails_by_name(tmp_path: Path, options: dict[str, str], kind: str, words: str) -> None:
    found = ask(tmp_path, **options)
    assert found["failed"] is True and found["error"]["kind"] == kind
    assert words in found["msg"] and found["error"]["hint"]
    assert list(tmp_path.iterdir()) == []
