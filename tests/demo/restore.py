# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open an entry of the archive as its RESTORE.txt says: its own lines, in one bash."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from demo.children import Failed, run
from demo.keys import Keys

SECTIONS = ("variables", "check", "open")
NEEDED = ("age", "zstd", "tar", "ssh-keygen", "sha256sum")
SECTION = re.compile(r"^==== \[([^\]]+)\]")


def commands(text: str, sections: tuple[str, ...] = SECTIONS) -> list[str]:
    """Return the lines of RESTORE.txt that are to be run, of these sections, as they stand."""
    lines: list[str] = []
    within = ""
    for line in text.splitlines():
        found = SECTION.match(line)
        if found:
            within = found[1]
        elif within in sections and line.startswith("$ "):
            lines.append(line[2:])
    return lines


def follow(entry: Path, *, scratch: Path, keys: Keys) -> list[str]:
    """Run the lines that check and open the entry; return what is worth saying of it.

    Where age or zstd is not installed, nothing is run and that is what is said.
    """
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        names = " and ".join(missing)
        return [f"NOT opened: {names} not installed here (on Debian: apt-get install age zstd)"]
    lines = commands((entry / "RESTORE.txt").read_text())
    if not lines:
        raise Failed(f"{entry}/RESTORE.txt has no line to run in its sections {SECTIONS}.")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(scratch),
        "OUT": str(scratch),
        "IDENTITY": str(keys.identities["ops"]),
        "SIGNER": f"{keys.signing_key}.pub",
    }
    said = run(["bash", "-c", "\n".join(lines)], env=environment, cwd=entry)
    opened = [path for path in scratch.rglob("*") if path.is_file()]
    sums = len(re.findall(r": OK$", said, re.MULTILINE))
    signature = "signature good" if 'Good "controlplane.etcd" signature' in said else ""
    if not signature or not sums or not (scratch / "snapshot.db").exists():
        raise Failed(f"{said}\n\n{entry}/RESTORE.txt ran through and opened nothing.")
    return [
        f"{len(lines)} of its lines run as they stand, with nothing of this collection: {signature},",
        f"{sums} sha256 sums right, {len(opened)} files opened; etcd's own word on the snapshot:",
        *(line for line in said.splitlines() if line.startswith(("+-", "|"))),
    ]
