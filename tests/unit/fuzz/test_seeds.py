# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that fuzzing kept, read again; no fuzzer is needed for it."""

from __future__ import annotations

import typing as t
import zipfile
from pathlib import Path

import pytest
from unit.fixtures import reading
from unit.fuzz import targets

if t.TYPE_CHECKING:
    from conftest import Reliability

SEEDS = Path(__file__).with_name("seeds")


@pytest.mark.parametrize("target", targets.TARGETS)
def test_seeds_end_well(target: str, reliability: Reliability) -> None:
    with zipfile.ZipFile(SEEDS / f"{target}.zip") as packed:
        seeds = {name: packed.read(name) for name in packed.namelist()}
    assert len(seeds) > 50
    for name, data in seeds.items():
        try:
            with reading.deadline():
                targets.TARGETS[target](data)
        except (Exception, reading.Late) as exc:
            raise AssertionError(f"seed {name}: {type(exc).__name__}: {exc}") from exc
    what = {"image": "damaged images", "rows": "well-formed images with odd content"}[target]
    reliability(
        f"{what.capitalize()} that a fuzzer guided by coverage kept, each for a path of its own",
        f"{len(seeds)} of {len(seeds)} end in a value or in an error of ours, in time",
        area="content",
    )


@pytest.mark.parametrize("target", targets.TARGETS)
def test_starts_are_read_whole(target: str) -> None:
    """Fuzzing begins with what is right, so that it gets everywhere."""
    for data in targets.starts(target):
        image = targets.built(data) if target == "rows" else data
        assert not reading.refused(reading.read_all(image))
