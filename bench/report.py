# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The raw figures in benchmarks.json, and the document that is written from them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import platform
import re
import subprocess
import sys
import typing as t
from pathlib import Path

from bench.figures import MB, Bar, Section, Series
from lab import versions

HEAD = """\
# Benchmarks

Written by `make bench` from [benchmarks.json](benchmarks.json), which holds every single figure; not
edited by hand. Every figure stands beside its peer's, measured in the same run, in turn (ours, peer,
ours, peer, …). The databases are filled by a real etcd with objects of a size and a compressibility
like Kubernetes', 5 % of them rewritten and half of that compacted. Memory is anonymous memory
(RssAnon), sampled 20 times a second.

To run it: `make bench` (40 to 100 minutes on two processors, and 10 more once for filling the
databases, which stay in the cache), or one measurement alone: `.venv/bin/python bench/run.py archive`
(load, offline, memory, clusters, drill). `--quick` takes a tenth of the data and writes to `.venv/bench`.
It needs `age`, `zstd` and OpenSSH's server beside what `make test` needs; no root. Nothing of it is
part of `make test`: a timing that fails there would say more about the machine than about the code.
All of ours runs on the Python that made `.venv`; one that was built without optimizations, as pyenv
builds them, takes about a third longer. `make bench PYTHON=/usr/bin/python3` takes the system's.
"""

ORDER = ("archive", "load", "offline", "memory", "clusters", "drill")


def keep(path: Path, sections: t.Sequence[Section]) -> None:
    """Put measured sections into the file of raw figures; the others stay as they are."""
    known = json.loads(path.read_text()) if path.exists() else {}
    about = {"measured_at": dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%dT%H:%MZ")}
    for section in sections:
        known[section.name] = {**dataclasses.asdict(section), **about, "machine": machine()}
    known = {name: known[name] for name in ORDER if name in known}
    path.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")


def machine() -> dict[str, t.Any]:
    """Return what the figures depend on."""
    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "processor": processor[1].strip() if processor else platform.machine(),
        "processors": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)),
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        "ansible_core": _said([str(Path(sys.executable).parent / "ansible"), "--version"]),
        "etcd": versions.ETCD_DEFAULT,
        "zstd": _said(["zstd", "--version"]),
        "age": _said(["age", "--version"]),
        "ssh": _said(["ssh", "-V"]),
    }


def _said(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+[\w.]*", done.stdout + done.stderr)
    return found[0] if found else "unknown"


def render(path: Path) -> str:
    """Return the document."""
    known = json.loads(path.read_text())
    sections = [_section(read) for read in known.values()]
    parts = [HEAD, _verdicts(known, sections)]
    for read, section in zip(known.values(), sections):
        parts.append(_shown(read, section))
    return "\n".join(parts)


def _section(read: dict[str, t.Any]) -> Section:
    series = [Series(**{**each, "values": tuple(each["values"])}) for each in read["series"]]
    bars = [Bar(**each) for each in read["bars"]]
    names = ("name", "title", "text", "rounds", "data")
    return Section(**{name: read[name] for name in names}, series=series, bars=bars)


def _verdicts(known: dict[str, t.Any], sections: list[Section]) -> str:
    lines = ["## The bars", "", "| bar | measured | verdict |", "|---|---|---|"]
    for section in sections:
        for each in section.bars:
            limit, value = _figure(each.limit), _figure(each.value)
            short = f"**short**: {value} {each.unit} of {limit} {each.unit}"
            lines.append(
                f"| {section.title}: {each.text} | {value} {each.unit} | "
                f"{'holds' if each.holds else short} |"
            )
    held = sum(each.holds for section in sections for each in section.bars)
    total = sum(len(section.bars) for section in sections)
    return "\n".join([*lines, "", f"{held} of {total} hold.", ""])


def _shown(read: dict[str, t.Any], section: Section) -> str:
    lines = [f"## {section.title}", "", section.text, ""]
    for data in section.data:
        if "size_bytes" in data:
            lines.append(
                f"- {data['name']}: {data['size_bytes'] / MB:,.0f} MB, {data['key_count']:,} keys, "
                f"zstd -3 makes it {data['zstd_ratio']} times smaller, etcd {data['etcd']}"
            )
        else:
            lines.append(f"- {data['name']}: {data['key_count']:,} keys each")
    lines += ["", "| data | what | median | min | max | of |", "|---|---|--:|--:|--:|--:|"]
    for each in section.series:
        figures = [_figure(value) for value in (each.median, min(each.values), max(each.values))]
        shown = " | ".join(f"{figure} {each.unit}" for figure in figures)
        lines.append(f"| {each.case} | {each.what} | {shown} | {len(each.values)} |")
    on = read["machine"]
    lines += [
        "",
        f"Measured {read['measured_at']} on {on['processors']} processors ({on['processor']}), "
        f"{on['memory_gib']} GiB, Linux {on['kernel']}; Python {on['python']}, ansible-core "
        f"{on['ansible_core']}, etcd {on['etcd']}, zstd {on['zstd']}, age {on['age']}, OpenSSH "
        f"{on['ssh']}.",
        "",
    ]
    return "\n".join(lines)


def _figure(value: float) -> str:
    """Return three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
