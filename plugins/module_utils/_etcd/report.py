# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A survey as etcd_info returns it: plain values with etcd's JSON names."""

from __future__ import annotations

import typing as t

from .survey import HashAnswer, MemberReport, Survey

__all__ = ["hashes_as_dicts", "survey_as_dict", "survey_warnings"]


def survey_as_dict(seen: Survey, *, local_quota_bytes: int | None) -> dict[str, t.Any]:
    """Return the cluster's part of etcd_info's result.

    `local_quota_bytes` is the local member's configured quota, which etcd tells from 3.6 on only.
    """
    local = next(each for each in seen.members if each.member.id == seen.local_id)
    names = {each.member.id: each.member.name for each in seen.members}
    return {
        "cluster_id": seen.cluster_id,
        "revision": seen.revision,
        "local_member": {
            "id": seen.local_id,
            "name": local.member.name,
            "endpoint": seen.local_endpoint,
            "is_learner": local.member.is_learner,
        },
        "quorum": {
            "voters": len(seen.voters),
            "healthy": sum(each.healthy for each in seen.members),
            "required": seen.required,
            "has_quorum": seen.has_quorum,
            "reason": seen.no_quorum_reason,
        },
        "alarms": [
            {
                "member_id": alarm.member_id,
                "member_name": names.get(alarm.member_id, ""),
                "alarm": alarm.alarm,
            }
            for alarm in seen.alarms
        ],
        "members": [
            _member(each, seen, local_quota_bytes if each is local else None)
            for each in seen.members
        ],
    }


def _member(report: MemberReport, seen: Survey, quota_bytes: int | None) -> dict[str, t.Any]:
    member, status = report.member, report.status
    shown: dict[str, t.Any] = {
        "id": member.id,
        "name": member.name,
        "peer_urls": list(member.peer_urls),
        "client_urls": list(member.client_urls),
        "is_learner": member.is_learner,
        "is_leader": member.id == seen.leader,
        "reachable": status is not None,
        "endpoint": report.endpoint,
        "round_trip_ms": report.round_trip_ms,
        "error": None,
        "alarms": sorted({a.alarm for a in seen.alarms if a.member_id == member.id}),
    }
    if report.error:
        shown["error"] = {"kind": report.error.kind, "msg": str(report.error)}
    fields = (
        "version storage_version db_size_bytes db_size_in_use_bytes quota_bytes revision "
        "raft_term raft_index raft_applied_index leader"
    )
    for name in fields.split():
        shown[name] = getattr(status, name) if status else None
    shown["errors"] = list(status.errors) if status else []
    if shown["quota_bytes"] is None:
        shown["quota_bytes"] = quota_bytes
    return shown


def hashes_as_dicts(answers: t.Iterable[HashAnswer]) -> list[dict[str, t.Any]]:
    """Return the HashKV answers, one entry a member that was to be asked."""
    return [
        {
            "member_id": each.member.id,
            "name": each.member.name,
            "endpoint": each.endpoint,
            "hash": each.answer.hash_hex if each.answer else None,
            "revision": each.answer.hash_revision if each.answer else None,
            "compact_revision": each.answer.compact_revision if each.answer else None,
            "error": {"kind": each.error.kind, "msg": str(each.error)} if each.error else None,
        }
        for each in answers
    ]


def survey_warnings(seen: Survey) -> tuple[str, ...]:
    """Return what a person should look at, though the survey itself succeeded."""
    found = list(seen.warnings)
    names = {each.member.id: each.member.name or each.member.id for each in seen.members}
    for alarm in seen.alarms:
        who = names.get(alarm.member_id, alarm.member_id)
        found.append(f"etcd cluster {seen.cluster_id}: member {who} raised alarm {alarm.alarm}.")
    for report in seen.members:
        if report.error:
            found.append(
                f"etcd member {report.member.name or report.member.id} did not answer: "
                f"{report.error}"
            )
    if not seen.has_quorum:
        healthy = sum(each.healthy for each in seen.members)
        found.append(
            f"etcd cluster {seen.cluster_id} has no quorum: {seen.no_quorum_reason or 'no leader'} "
            f"({healthy} of {len(seen.voters)} voters are healthy, {seen.required} are needed)."
        )
    return tuple(found)
