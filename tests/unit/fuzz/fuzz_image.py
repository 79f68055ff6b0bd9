#!/usr/bin/env python3
# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzz the reading of an image, guided by coverage; run by hand, see README.md beside this file.

What it finds goes into seeds/ and stays there: test_seeds.py reads all of them in `make test`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / ".venv" / "dev")]
sys.path += [str(path) for path in (ROOT / ".venv" / "lib").glob("python3.*/site-packages")]

with atheris.instrument_imports(include=["ansible_collections.controlplane"]):
    from unit.fixtures import reading, rich


def one_input(data: bytes) -> None:
    """Read one image; anything but a value or an error of ours is a find."""
    reading.read_all(rich.repaired(data))


def main() -> None:
    """Run libFuzzer with its own options; without a folder, from the images of the fixtures."""
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
