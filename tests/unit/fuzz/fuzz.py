# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzz the reading of images, guided by coverage; run by hand, see README.md beside this file.

fuzz.py TARGET [libFuzzer's options and folders]; without a folder nothing is kept but what fails.
fuzz.py TARGET --keep FOLDER: put what FOLDER holds into seeds/TARGET.zip, for `make test`.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / ".venv" / "dev")]
sys.path += [str(path) for path in (ROOT / ".venv" / "lib").glob("python3.*/site-packages")]


def keep(target: str, folder: Path) -> None:
    """Add the inputs in `folder` to the target's seeds, each once."""
    seeds = HERE / "seeds" / f"{target}.zip"
    found = {path.read_bytes() for path in folder.iterdir()}
    if seeds.exists():
        with zipfile.ZipFile(seeds) as packed:
            found |= {packed.read(name) for name in packed.namelist()}
    seeds.parent.mkdir(exist_ok=True)
    named = {hashlib.sha256(data).hexdigest()[:16]: data for data in found}
    with zipfile.ZipFile(seeds, "w") as packed:
        for name, data in sorted(named.items()):
            # Dated as ZipInfo does: the file depends on its seeds alone.
            packed.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED, compresslevel=9)
    print(f"{len(named)} seeds in {seeds}")


def main() -> None:
    """Run libFuzzer, or keep seeds."""
    target, arguments = sys.argv[1], sys.argv[2:]
    if arguments[:1] == ["--keep"]:
        keep(target, Path(arguments[1]))
        return
    import atheris

    with atheris.instrument_imports(include=["ansible_collections.controlplane"]):
        from unit.fuzz import targets

    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(targets.starts(target)):
            Path(folder, str(number)).write_bytes(data)
        atheris.Setup([sys.argv[0], *arguments, folder], targets.TARGETS[target])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
