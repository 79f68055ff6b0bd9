# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell in a few lines what etcd_archive_info found."""

from __future__ import annotations

import textwrap
import typing as t

from demo.children import Failed
from demo.stages import WIDTH

Entry = t.Mapping[str, t.Any]


def show(entries: t.Mapping[str, t.Sequence[Entry]], *, runs: int) -> list[str]:
    """Return lines on each entry, and raise Failed if one is missing or not to be trusted."""
    lines: list[str] = []
    for cluster, found in entries.items():
        if len(found) != runs:
            raise Failed(f"{cluster}: {len(found)} entries are archived after {runs} backups.")
        before: Entry | None = None
        for entry in found:
            lines += ["", *_entry(cluster, entry, before)]
            if not entry["verified"] or entry["completeness"] != "full":
                shown = "\n".join(lines)
                raise Failed(
                    f"{shown}\n\n{cluster}: entry {entry['id']} is {entry['trust']} and "
                    f"{entry['completeness']}: {entry['reason'] or entry['warnings']}"
                )
            before = entry
    return [*lines, ""]


def _entry(cluster: str, entry: Entry, before: Entry | None) -> list[str]:
    said = entry["manifest"]
    kubernetes = said["kubernetes"]
    lines = [
        f"snapshot  revision {entry['revision']:,} of etcd {entry['etcd_version']}, "
        f"{entry['key_count']:,} keys, taken from {entry['source_member']}, "
        f"1 of {entry['member_count']}",
        f"size      {_size(entry['db_size_bytes'])} in etcd; {_size(entry['size_bytes'])} in "
        f"{entry['file_count']} files, sealed for {_recipients(said)}",
        f"objects   {entry['object_count']:,}: {_most(kubernetes['resources'])}",
    ]
    if before is not None:
        change = _change(before["manifest"]["kubernetes"]["resources"], kubernetes["resources"])
        lines.append(f"since     {change}")
    lines += [
        f"secrets   {_secrets(kubernetes['secrets'])}",
        f"kits      of {len(entry['kit_hosts'])} hosts: {_certificates(said)}",
        f"checks    {_checks(entry['checks'])}",
    ]
    lines += [f"WARNING   {warning}" for warning in entry["warnings"]]
    wrapped = [textwrap.wrap(line, WIDTH - 8, subsequent_indent=" " * 10) for line in lines]
    head = f"{cluster}  {entry['id']}  signature and every file's sha256: {entry['trust']}"
    return [head, *(f"  {line}" for lines in wrapped for line in lines)]


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _recipients(said: Entry) -> str:
    sealed = {len(f["encryption"]["recipients"]) for f in said["files"] if f["part"] != "text"}
    if 0 in sealed:
        return "NOBODY: in clear"
    return f"{min(sealed)} recipients"


def _most(resources: t.Mapping[str, int], count: int = 5) -> str:
    ranked = sorted(resources.items(), key=lambda item: (-item[1], item[0]))
    text = ", ".join(f"{number:,} {name.rpartition('/')[2]}" for name, number in ranked[:count])
    return text + (f" and {len(ranked) - count} kinds more" if len(ranked) > count else "")


def _change(old: t.Mapping[str, int], new: t.Mapping[str, int]) -> str:
    deltas = {name: new.get(name, 0) - old.get(name, 0) for name in {*old, *new}}
    changed = sorted((name, delta) for name, delta in deltas.items() if delta)
    if not changed:
        return "the entry before: the same numbers of each kind"
    words = ", ".join(f"{delta:+,} {name.rpartition('/')[2]}" for name, delta in changed)
    return f"the entry before: {words}"


def _secrets(secrets: t.Mapping[str, int]) -> str:
    words = [
        f"{number:,} {'IN CLEAR (identity)' if name == 'identity' else f'by {name}'}"
        for name, number in sorted(secrets.items(), key=lambda item: -item[1])
    ]
    return ", ".join(words)


def _certificates(said: Entry) -> str:
    first = min(said["certificates"], key=lambda each: str(each["not_after"]))
    return (
        f"{len(said['certificates'])} certificates, the first ends {str(first['not_after'])[:10]}"
    )


def _checks(checks: t.Sequence[Entry]) -> str:
    return ", ".join(f"{check['name'].replace('_', ' ')} {check['result']}" for check in checks)
