# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bench's document says what its figures say. Nothing is measured here."""

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench import report
from bench.figures import Section

ROOT = Path(__file__).resolve().parents[2]


def section(name: str, ours: t.Sequence[float], peer: t.Sequence[float]) -> Section:
    made = Section(name, name.title(), "Why and how.", 3)
    made.data.append(
        {"name": "d", "size_bytes": 1, "key_count": 2, "zstd_ratio": 4.2, "etcd": "3.6.16"}
    )
    ours_series = made.seconds("d", "ours", ours)
    made.ratio("time ≤ 1.5 × the peer's", 1.5, ours_series, made.seconds("d", "peer", peer))
    return made


def test_ratio_is_that_of_the_medians_and_holds_up_to_its_limit() -> None:
    assert section("archive", [1, 3, 90], [2, 2, 2]).bars[0].value == 1.5
    assert section("archive", [1, 3, 90], [2, 2, 2]).bars[0].holds
    assert not section("archive", [1, 3.1, 1], [1, 2, 2]).bars[0].value > 1.5
    assert not section("archive", [3.1, 3.1, 1], [1, 2, 2]).bars[0].holds


def test_a_bar_that_does_not_hold_is_called_short_with_both_figures(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.json"
    report.keep(path, [section("archive", [4, 4, 4], [2, 2, 2])])
    assert "**short**: 2.00 × of 1.50 ×" in report.render(path)
    assert "0 of 1 hold." in report.render(path)


def test_one_measurement_alone_keeps_the_figures_of_the_others(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.json"
    report.keep(path, [section("load", [1, 1, 1], [1, 1, 1])])
    report.keep(path, [section("archive", [4, 5, 6], [2, 2, 2])])
    read = json.loads(path.read_text())
    assert list(read) == ["archive", "load"]
    assert read["archive"]["series"][0]["values"] == [4, 5, 6]
    assert read["load"]["bars"][0]["value"] == 1
    assert "1 of 2 hold." in report.render(path)


def test_the_document_is_the_one_that_its_figures_give() -> None:
    shown = (ROOT / "docs" / "benchmarks.md").read_text()
    assert shown == report.render(ROOT / "docs" / "benchmarks.json")
