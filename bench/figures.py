# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures as they were measured, and bars that they are held against."""

from __future__ import annotations

import dataclasses
import statistics
import typing as t

MB = 1_000_000


@dataclasses.dataclass(frozen=True)
class Series:
    """What one thing took, each time it was measured."""

    case: str
    what: str
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclasses.dataclass(frozen=True)
class Bar:
    """A limit, and what was measured against it; both in `unit`."""

    text: str
    limit: float
    value: float
    unit: str

    @property
    def holds(self) -> bool:
        return self.value <= self.limit


@dataclasses.dataclass
class Section:
    """One measurement: its data, its figures, its bars."""

    name: str
    title: str
    text: str
    rounds: int
    data: list[dict[str, t.Any]] = dataclasses.field(default_factory=list)
    series: list[Series] = dataclasses.field(default_factory=list)
    bars: list[Bar] = dataclasses.field(default_factory=list)

    def add(self, case: str, what: str, unit: str, values: t.Iterable[float]) -> Series:
        """Keep figures; return them."""
        series = Series(case, what, unit, tuple(round(value, 3) for value in values))
        self.series.append(series)
        return series

    def seconds(self, case: str, what: str, values: t.Iterable[float]) -> Series:
        return self.add(case, what, "s", values)

    def megabytes(self, case: str, what: str, sizes: t.Iterable[float]) -> Series:
        return self.add(case, what, "MB", (size / MB for size in sizes))

    def ratio(self, text: str, limit: float, ours: Series, peer: Series) -> None:
        """Hold the medians' ratio against a limit."""
        self.bars.append(Bar(text, limit, round(ours.median / peer.median, 3), "×"))

    def at_most(self, text: str, limit: float, value: float, unit: str) -> None:
        self.bars.append(Bar(text, round(limit, 3), round(value, 3), unit))
