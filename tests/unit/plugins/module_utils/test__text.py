# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names as others wrote them, as they are shown."""

from __future__ import annotations

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils import _text


@pytest.mark.parametrize(
    ("name", "want"),
    [
        (b"/registry/pods/a/b", "/registry/pods/a/b"),
        ("a name: ü", "a name: ü"),
        (b"\xff\x00\x1b[2J\n", r"\xff\x00\x1b[2J\x0a"),
        ("\u2028\ud800", r"\u2028\ud800"),
        (b"a" * _text.MOST_BYTES, "a" * _text.MOST_BYTES),
        (b"a" * 5000, "a" * _text.MOST_BYTES + "… (5000 bytes)"),
        ("ü" * 1000, "ü" * 512 + "… (2000 bytes)"),
    ],
)
def test_shown(name: str | bytes, want: str) -> None:
    assert _text.shown(name) == want


def test_shown_whatever_it_is_given_is_short_and_printable() -> None:
    for name in ("\U0010ffff" * 1024, b"\xff" * 1025, "\ud800" * 1025, b"\0" * (1 << 20)):
        found = _text.shown(name)
        assert found.isprintable() and len(found) < 4 * _text.MOST_BYTES + 40
