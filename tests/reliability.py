# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write docs/reliability.md from what the tests of a run recorded of faults.

Nothing stands there that no test recorded after its assertions had held. What differs from run to
run (temporary folders, ports, IDs, hashes) is shown by a word in its place.
"""

from __future__ import annotations

import datetime as dt
import json
import platform
import re
import sys
import typing as t
from importlib import metadata
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / ".venv" / "reliability"
DOCUMENT = ROOT / "docs" / "reliability.md"
TITLES = {
    "playbook": "Whole backup runs",
    "ssh": "Whole backup runs over ssh",
    "backup": "The modules and the archive",
    "rotate": "Rotating an archive",
    "drill": "Drills on a scratch node",
    "restore": "Restoring a member's data folder",
    "deliver": "Delivering an archive to a host",
    "elect": "Election and the members' agreement",
    "info": "Looking at a cluster",
    "content": "What proves a snapshot's content",
    "runtime": "The environment that modules run in",
}
# In this order: a folder may hold an ID, an ID looks like a hash.
WORDS = (
    (r"\bcontrolplane-etcd-drill([.-])[a-z0-9_]{8}\b", r"controlplane-etcd-drill\1…"),
    (re.escape(str(Path.home())), "~"),
    (
        r"/(?:var/)?tmp/[A-Za-z0-9_.-]*(?:lab|pytest|bastion|etcd)[A-Za-z0-9_.-]*(?:/pytest-\d+)?",
        "…",
    ),
    (r"\b\d{8}T\d{6}Z-[0-9a-f]{8}\b", "ID"),
    (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z", "TIME"),
    (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UID"),
    (r"\b[0-9a-f]{64}\b", "SHA256"),
    (r"\b[0-9a-f]{15,16}\b", "MEMBER"),
    (r"\b(?=[0-9a-f]*[0-9])[0-9a-f]{8}\b", "HASH"),
    (r"(127\.0\.0\.1:|\bport )\d{5}\b", r"\1PORT"),
    (r"\bpid \d+", "pid PID"),
    (r"\b\d{5,} (bytes|free)", r"N \1"),
    (r"\bhas \d{4,} free", "has N free"),
)


def write(outcome: str) -> Path:
    """Write the document for a run that ended with `outcome`, and return where it lies."""
    sys.path.insert(0, str(ROOT / "tests"))
    from lab import versions

    records = [json.loads(path.read_text()) for path in sorted(RECORDS.glob("*.json"))]
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    lines = [
        "# Faults that were tried, and what came of them",
        "",
        "Written by `make test` from what its tests recorded after their assertions had held; not by",
        "hand. A fault that is not here was not tried, or its test failed. Folders, ports, IDs, times",
        "and hashes differ from run to run: a word stands in their place.",
        "",
        f"- Run on {dt.datetime.now(dt.timezone.utc):%Y-%m-%d}: {outcome}.",
        f"- controlplane.etcd {version}, ansible-core {metadata.version('ansible-core')}, "
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}.",
        f"- etcd {', '.join(versions.ETCD_ALL)}.",
        f"- {len(records)} faults.",
    ]
    areas = sorted({record["area"] for record in records}, key=_place)
    for area in areas:
        lines += ["", f"## {TITLES.get(area, area.capitalize())}", ""]
        for record in sorted(_of(records, area), key=lambda each: each["fault"].lower()):
            lines += [*_shown(record)]
    DOCUMENT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return DOCUMENT


def _place(area: str) -> tuple[int, str]:
    return (list(TITLES).index(area) if area in TITLES else len(TITLES), area)


def _of(records: list[dict[str, t.Any]], area: str) -> list[dict[str, t.Any]]:
    return [record for record in records if record["area"] == area]


def _shown(record: dict[str, t.Any]) -> t.Iterator[str]:
    path, _mark, name = re.sub(r"\[\d+\]$", "", record["test"]).partition("::")
    yield f"- **{plain(record['fault'])}**: {plain(record['outcome']).rstrip('.')}."
    if record["message"]:
        yield f"  > {plain(record['message'])}"
        yield ""
    yield f"  `{path}::{name}`"


def plain(text: str) -> str:
    """Return one line of text without what differs from run to run."""
    text = " ".join(text.split())
    for pattern, word in WORDS:
        text = re.sub(pattern, word, text)
    return text.replace("<", "&lt;").replace("*", r"\*").replace("_", r"\_")


if __name__ == "__main__":
    print(write("not a whole run"))
