# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""From what delivering and drilling returned to a proof, or to why there is none.

What comes from a scratch node is taken by known fields and cut to size: a proof is signed, and lies
in clear in the archive.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _time
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import proofs, proven

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.names import Prefix
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.store import (
        DirectoryStore,
    )
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.trust import (
        Signers,
        Signing,
    )

__all__ = ["Judgement", "Recorded", "Wish", "judge", "record"]

NOT_DRILLED = "not_drilled"
# What is wrong with the archive, and not with a node, an option, an identity or the way there.
_WRONG_ARCHIVE = ("trust", "seal_damaged", "snapshot_invalid", "database_invalid")
# A passed drill that did not compare these has proven nothing.
_NEEDED = ("revision", "canary")
_TEXT, _LIST = 1000, 200

_Result = t.Mapping[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What a drill comes to: `passed`, `failed` or `not_drilled`; `found` is what is to be signed."""

    verdict: str
    reason: str
    found: t.Mapping[str, t.Any] | None = None


@dataclasses.dataclass(frozen=True)
class Wish:
    """Which cluster's archive the proof goes to, and who signs it."""

    place: DirectoryStore
    prefix: Prefix
    signing: Signing
    signers: Signers
    max_age_seconds: float | None = None


@dataclasses.dataclass(frozen=True)
class Recorded:
    """What was judged and kept, and how old the newest proof is that holds."""

    judgement: Judgement
    proof: t.Mapping[str, t.Any] | None
    path: str | None
    newest_passed: proofs.Proof | None
    overdue: bool
    warnings: tuple[str, ...]

    def told(self) -> dict[str, t.Any]:
        """Return it as JSON."""
        return {
            "verdict": self.judgement.verdict,
            "reason": self.judgement.reason,
            "proof": self.proof,
            "path": self.path,
            "newest_passed": proven.told_newest(self.newest_passed),
            "overdue": self.overdue,
        }


def record(
    wish: Wish, delivered: _Result, drilled: _Result, *, node: str, now: dt.datetime, really: bool
) -> Recorded:
    """Judge a drill, keep its proof, and look how old the newest one is that passed.

    :raises EtcdToolError: the proof could not be signed or kept; see proofs.write().
    """
    judgement = judge(delivered, drilled, node=node)
    written = None
    if judgement.found is not None and really:
        written = proofs.write(
            wish.place,
            wish.prefix,
            judgement.found,
            signing=wish.signing,
            signers=wish.signers,
            now=now,
        )
    newest, refused = proofs.newest_passed(wish.place, wish.prefix, wish.signers, now=now)
    return Recorded(
        judgement=judgement,
        proof=written.document if written else judgement.found,
        path=written.path if written else None,
        newest_passed=newest,
        overdue=_overdue(newest, wish.max_age_seconds, now),
        warnings=tuple(f"Proof not counted: {text}" for text in dict.fromkeys(refused)),
    )


def judge(delivered: _Result, drilled: _Result, *, node: str) -> Judgement:
    """Tell what the registered results of etcd_deliver and etcd_drill come to.

    They may be of tasks that failed, were skipped, or lost their host.
    """
    entry = _mapping(delivered.get("entry"))
    if not delivered.get("delivery"):
        return _failed(delivered, entry, node=node, step="delivered to")
    drill = drilled.get("drill")
    if not isinstance(drill, t.Mapping):
        return _failed(drilled, entry, node=node, step="drilled on")
    of = (drill.get("entry"), drill.get("sha256"))
    if of != (entry.get("id"), entry.get("sha256")):
        return Judgement(
            NOT_DRILLED,
            f"{node} answers for entry {of[0]} with image {of[1]}; entry {entry.get('id')} with "
            f"image {entry.get('sha256')} was delivered. Look at that node before it is used again.",
        )
    found = _found(drill, delivered, node)
    verdict, reason = found["verdict"], found["reason"]
    doubt = _doubt(found) if verdict == "passed" else ""
    if verdict not in ("passed", "failed") or doubt:
        return Judgement(NOT_DRILLED, f"{node} contradicts itself: {doubt or verdict!r}.")
    return Judgement(verdict, reason, found)


def _failed(result: _Result, entry: _Result, *, node: str, step: str) -> Judgement:
    """Judge a step that gave no result: the archive's fault is a failed drill, all else is none."""
    said = _text(result.get("msg"))
    if result.get("unreachable"):
        return Judgement(NOT_DRILLED, f"Scratch node {node} was lost: {said or 'no answer'}")
    if result.get("skipped") or not result:
        return Judgement(NOT_DRILLED, f"Nothing was {step} {node}.")
    kind = _mapping(result.get("error")).get("kind")
    if kind not in _WRONG_ARCHIVE or not entry.get("id") or not entry.get("sha256"):
        return Judgement(NOT_DRILLED, said or f"Nothing was {step} {node}, and nothing was said.")
    found = {
        "entry": entry["id"],
        "sha256": entry["sha256"],
        "verdict": "failed",
        "reason": said,
        "node": node,
        "rto_seconds": None,
        "phases": [],
        "comparisons": [],
        "not_checked": [],
    }
    return Judgement("failed", said, found)


def _found(drill: _Result, delivered: _Result, node: str) -> dict[str, t.Any]:
    deliver = _number(delivered.get("seconds")) or 0.0
    rto = _number(drill.get("rto_seconds"))
    passed = drill.get("verdict") == "passed"
    versions = _mapping(drill.get("versions"))
    phases = [{"name": "deliver", "seconds": deliver}]
    phases += [
        {"name": _text(each.get("name")), "seconds": _number(each.get("seconds")) or 0.0}
        for each in _mappings(drill.get("phases"))
    ]
    return {
        "entry": drill["entry"],
        "sha256": drill["sha256"],
        "verdict": _text(drill.get("verdict")),
        "reason": _text(drill.get("reason")),
        "node": node,
        "node_started_at": drill.get("started_at"),
        "node_finished_at": drill.get("finished_at"),
        # What broke off before its end says nothing of how long a restore would take.
        "rto_seconds": math.ceil(rto + deliver) if passed and rto is not None else None,
        "phases": phases,
        "comparisons": [
            {
                "name": _text(each.get("name")),
                "result": _text(each.get("result")),
                "expected": _figure(each.get("expected")),
                "found": _figure(each.get("found")),
                "detail": _text(each.get("detail")),
            }
            for each in _mappings(drill.get("comparisons"))
        ],
        "not_checked": [
            {"name": _text(each.get("name")), "why": _text(each.get("why"))}
            for each in _mappings(drill.get("not_checked"))
        ],
        "versions": {_text(name): _figure(value) for name, value in versions.items()},
        "isolation": drill.get("isolation"),
        "db_size_bytes": drill.get("db_size_bytes"),
    }


def _doubt(found: _Result) -> str:
    """Say why a drill that calls itself passed is not believed; empty if nothing speaks against it."""
    results = {each["name"]: each["result"] for each in found["comparisons"]}
    wrong = sorted(name for name, result in results.items() if result == "failed")
    if wrong:
        return f"it says passed, and that {', '.join(wrong)} differed"
    lacking = [name for name in _NEEDED if results.get(name) != "passed"]
    if lacking:
        return f"it says passed, and did not find {', '.join(lacking)} as it should be"
    return ""


def _overdue(newest: proofs.Proof | None, max_age: float | None, now: dt.datetime) -> bool:
    if max_age is None:
        return False
    if newest is None:
        return True
    age = now - _time.parse_rfc3339(newest.finished_at)
    return age.total_seconds() > max_age


def _mapping(value: t.Any) -> _Result:
    return value if isinstance(value, t.Mapping) else {}


def _mappings(value: t.Any) -> list[_Result]:
    return [each for each in value if isinstance(each, t.Mapping)][:_LIST] if value else []


def _number(value: t.Any) -> float | None:
    fits = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if fits and 0 <= value < 1e9 else None


def _figure(value: t.Any) -> t.Any:
    return value if value is None or isinstance(value, (bool, int, float)) else _text(value)


def _text(value: t.Any) -> str:
    plain = "".join(letter if letter.isprintable() else " " for letter in str(value or ""))
    return " ".join(plain.split())[:_TEXT]
