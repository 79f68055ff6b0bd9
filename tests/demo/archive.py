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
        lines += ["", *(_line(entry) for entry in found), *_details(found)]
        for entry in found:
            if not entry["verified"] or entry["completeness"] != "complete":
                shown = "\n".join(lines)
                raise Failed(
                    f"{shown}\n\n{cluster}: entry {entry['id']} is {entry['trust']} and "
                    f"{entry['completeness']}: {entry['reason'] or entry['lacks'] or entry['warnings']}"
                )
    return [*lines, ""]


def show_inside(told: Entry) -> list[str]:
    """Return lines on what etcd_snapshot_info found in a snapshot."""
    difference, growth, snapshot = told["difference"], told["growth"], told["snapshot"]
    changed = ", ".join(
        f"{difference[f'{kind}_count']:,} {kind}" for kind in ("added", "changed", "removed")
    )
    busiest, history = growth["most_rewritten"][0], growth["most_history"][0]
    rows = [
        (
            "hash",
            f"{snapshot['status_hash']} as etcdutl snapshot status; {snapshot['hash_kv']} HashKV",
        ),
        ("since before", f"{changed} of {snapshot['key_count']:,} keys"),
        (
            "largest",
            f"{_named(growth['largest'][0])}, {growth['largest'][0]['size_bytes']:,} bytes",
        ),
        ("busiest", f"{_named(busiest)}, written {busiest['version']:,} times"),
        (
            "history",
            f"{growth['history_count']:,} past revisions, {_size(growth['history_bytes'])}; most of "
            f"{_named(history)}",
        ),
        ("query", f"{told['query_result']:,} Secrets are larger than 1,000 bytes"),
    ]
    return _table(rows)


def _named(item: Entry) -> str:
    resource, namespace, name = item["resource"], item["namespace"], item["name"]
    return f"{resource} {namespace}/{name}" if namespace else f"{resource} {name}"


def _line(entry: Entry) -> str:
    """Return one entry in one line."""
    word = f"{len(entry['checks'])} checks passed" if entry["verified"] else "NOT VERIFIED"
    return (
        f"{entry['etcd_cluster']}  {entry['id']}  {entry['trust']}, {word}, "
        f"revision {entry['revision']:,}"
    )


def _details(found: t.Sequence[Entry]) -> list[str]:
    """Return what there is to know of the newest entry."""
    *_rest, before, entry = found
    said = entry["manifest"]
    kubernetes = said["kubernetes"]
    change = _change(before["manifest"]["kubernetes"]["resources"], kubernetes["resources"])
    rows = [
        (
            "snapshot",
            f"{entry['key_count']:,} keys of etcd {entry['etcd_version']}, taken from "
            f"{entry['source_member']}, one of {entry['member_count']}",
        ),
        (
            "size",
            f"{_size(entry['db_size_bytes'])} in etcd; {_size(entry['size_bytes'])} in "
            f"{entry['file_count']} files, sealed for {_recipients(said)}",
        ),
        ("objects", f"{entry['object_count']:,}: {_most(kubernetes['resources'])}"),
        ("change", f"since the entry before: {change}"),
        ("Secrets", _secrets(kubernetes["secrets"])),
        ("kits", f"of all {len(entry['kit_hosts'])} host(s), {_certificates(said)}"),
        *(("WARNING", warning) for warning in entry["warnings"]),
        ("signature", "good, and each file's sha256 is the one that was signed"),
        *((check["name"].replace("_", " "), _check(check)) for check in entry["checks"]),
    ]
    return _table(rows)


def _table(rows: t.Sequence[tuple[str, str]]) -> list[str]:
    lines = []
    for name, text in rows:
        wrapped = textwrap.wrap(text, WIDTH - 19, break_on_hyphens=False)
        lines += [f"  {name:15}{wrapped[0]}", *(" " * 17 + more for more in wrapped[1:])]
    return lines


def _check(check: Entry) -> str:
    return f"{check['result']}: {check['detail']}" if check["detail"] else str(check["result"])


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
        return "as many of each kind"
    return ", ".join(f"{delta:+,} {name.rpartition('/')[2]}" for name, delta in changed)


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
