# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What etcd_restore tells: JSON of a report, and the difference that it made."""

from __future__ import annotations

import dataclasses
import os
import typing as t

from .states import State

if t.TYPE_CHECKING:
    from .places import Places
    from .plan import StagePlan
    from .run import Report

__all__ = ["difference", "to_result"]

_GONE = "absent"


def to_result(report: Report) -> dict[str, t.Any]:
    """Return the module's answer."""
    entry, places = report.entry, report.places
    told = entry.body.get("restored") if entry else None
    result: dict[str, t.Any] = {
        "id": places.id if places else None,
        "state": report.after.value,
        "previous_state": report.before.value,
        "folders": _folders(places, report.after) if places else [],
        "restored": told or report.restored,
        "kept": list(entry.body.get("kept", ())) if entry else [],
        "journal": {
            "path": report.journal,
            "generation": entry.generation if entry else 0,
            "owner": entry.owner if entry else None,
            "started_at": entry.started_at if entry else None,
            "written_at": entry.written_at if entry else None,
        },
    }
    if report.plan:
        result["plan"] = _plan(report.plan)
    return result


def difference(report: Report) -> dict[str, t.Any] | None:
    """Return what lies where, before and after."""
    if report.places is None:
        return None
    return {
        "before": {"restore": report.before.value, **_shape(report.places, report.before)},
        "after": {"restore": report.after.value, **_shape(report.places, report.after)},
    }


def _plan(plan: StagePlan) -> dict[str, t.Any]:
    return {
        "steps": list(_steps(plan)),
        "space": [dataclasses.asdict(each) for each in plan.space],
        "seconds": plan.seconds,
        "basis": plan.basis,
    }


def _steps(plan: StagePlan) -> t.Iterator[str]:
    places = plan.places
    raised = f", raised by {plan.bump_revision}" if plan.bump_revision else ""
    yield f"staged: restore into {places.staging} at revision {plan.revision}{raised}"
    if places.wal_staging:
        yield f"staged: its WAL into {places.wal_staging}"
    yield f"swapped: rename {places.live} to {places.aside('before')}"
    yield f"swapped: rename {places.staged} to {places.live}"
    if places.wal_dir and places.wal_inside:
        yield f"swapped: the same with what is in {places.wal_dir}"
    elif places.wal_dir:
        yield f"swapped: the same with {places.wal_dir}"
    yield f"committed: remove {', '.join(places.asides('before'))}"


def _folders(places: Places, state: State) -> list[dict[str, t.Any]]:
    shape = _shape(places, state)
    return [
        {"path": path, "holds": holds, "exists": os.path.lexists(path)}
        for path, holds in shape.items()
    ]


def _shape(places: Places, state: State) -> dict[str, str]:
    """Tell what a finished state has where."""
    live, staged, before = "what was there", _GONE, _GONE
    if state is State.STAGED:
        staged = "the restored data"
    elif state is State.SWAPPED:
        live, before = "the restored data", "what was there"
    elif state is State.COMMITTED:
        live = "the restored data"
    elif state in (State.STAGING, State.SWAPPING, State.ROLLING_BACK, State.COMMITTING):
        live = staged = before = f"broken off in {state.value}"
    pairs = [(places.live, places.staged, places.aside("before"))]
    if places.wal_dir and places.wal_staging:
        pairs.append((places.wal_dir, places.wal_staging, places.wal_aside("before")))
    shape: dict[str, str] = {}
    for each in pairs:
        shape.update(zip(each, (live, staged, before)))
    return shape
