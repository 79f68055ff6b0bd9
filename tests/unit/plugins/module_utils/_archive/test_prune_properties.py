# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotation for any history, said in the words of manifests and proofs: what a user would go back to."""

from __future__ import annotations

import dataclasses
import datetime as dt
import typing as t
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.controlplane.etcd.plugins.module_utils import _retention, _time
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    completeness,
    entries,
    lacks,
    manifest,
    names,
    proofs,
    prune,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.trust import TrustState

UTC = dt.timezone.utc
DAY = dt.timedelta(days=1)
MODEL = manifest.from_json(
    (Path(__file__).parent / "fixtures" / "manifest-v1.json").read_bytes(), "the model"
)
PREFIX = names.Prefix(MODEL.cluster.name)
RESULTS = ("passed", "first", "not_comparable", "not_asked", "failed", "different", "FAILED", "")
FULL = (
    *("ca.crt", "ca.key", "sa.key", "sa.pub", "front-proxy-ca.crt", "front-proxy-ca.key"),
    *("etcd/ca.crt", "etcd/ca.key", "admin.conf", "super-admin.conf", "controller-manager.conf"),
    *("scheduler.conf", "kubelet.conf", "kubelet/config.yaml", "kubelet/client-current.pem"),
    *("kubelet/kubeadm-flags.env", "manifests/etcd.yaml", "manifests/kube-apiserver.yaml"),
    *("manifests/kube-controller-manager.yaml", "manifests/kube-scheduler.yaml"),
    *(
        f"{name}.{end}"
        for name in (
            *("apiserver", "apiserver-kubelet-client", "apiserver-etcd-client"),
            *("front-proxy-client", "etcd/server", "etcd/peer", "etcd/healthcheck-client"),
        )
        for end in ("crt", "key")
    ),
)


def kits(*present: tuple[str, ...]) -> tuple[manifest.Kit, ...]:
    """Kits of the first members, as many as are given."""
    return tuple(
        dataclasses.replace(
            MODEL.kit[0], host=member.host, member_id=member.id, present=names_, excluded=()
        )
        for member, names_ in zip(MODEL.cluster.members, present)
    )


KITS = {
    "whole": kits(FULL, FULL, FULL),
    "of two": kits(FULL, FULL),
    "one without its kubelet": kits(FULL, FULL, ("ca.crt",)),
    "without sa.key": kits(*[tuple(name for name in FULL if name != "sa.key")] * 3),
    "one without sa.key": kits(tuple(name for name in FULL if name != "sa.key")),
    "empty": kits((), (), ()),
    "none": (),
}
PKI = next(file for file in MODEL.files if file.part == "pki")
MODEL = dataclasses.replace(
    MODEL,
    files=tuple(
        dataclasses.replace(PKI, name=f"pki/{member.host}.tar.zst.age", host=member.host)
        for member in MODEL.cluster.members
    ),
    kubernetes=dataclasses.replace(MODEL.kubernetes, secrets={}, encrypted={}),
)


class Made(t.NamedTuple):
    entry: entries.Entry
    proof: proofs.Proof | None

    @property
    def manifest(self) -> manifest.Manifest:
        assert self.entry.manifest
        return self.entry.manifest

    @property
    def good(self) -> bool:
        """What may be gone back to, said anew."""
        results = {check.result for check in self.manifest.checks}
        return (
            self.entry.trust is TrustState.TRUSTED
            and self.manifest.mode == "regular"
            and bool(results)
            and results <= {"passed", "first", "not_comparable", "not_asked"}
        )


@st.composite
def histories(draw: st.DrawFn) -> list[Made]:
    time = dt.datetime(2026, 1, 1, tzinfo=UTC)
    made = []
    rarely = st.integers(0, 9).map(lambda n: n == 0)
    for number in range(draw(st.integers(1, 16))):
        time += dt.timedelta(seconds=draw(st.integers(1, 3 * 86400)))
        name = f"{time:%Y%m%dT%H%M%SZ}-{number:08x}"
        objects = draw(st.sampled_from([0, 50, 66, 67, 100, 100]))
        events = draw(st.sampled_from([0, 40]))
        result = draw(st.sampled_from(RESULTS)) if draw(rarely) else "passed"
        found = dataclasses.replace(
            MODEL,
            id=name,
            created_at=_time.rfc3339(time),
            mode="emergency" if draw(rarely) else "regular",
            kit=KITS[draw(st.sampled_from(sorted(KITS)))],
            kubernetes=dataclasses.replace(
                MODEL.kubernetes,
                object_count=objects + events,
                resources={"pods": objects, "events": events},
            ),
            snapshot=dataclasses.replace(
                MODEL.snapshot,
                key_count=objects + events + draw(st.sampled_from([0, 30, 1500])),
            ),
            checks=(manifest.Check("trailer", result),) if result else (),
        )
        trust = TrustState.FORGED if draw(rarely) else TrustState.TRUSTED
        proof = None
        if draw(st.integers(0, 3)) == 0:
            finished = _time.rfc3339(time + draw(st.integers(0, 30)) * DAY)
            verdict = draw(st.sampled_from(["passed", "passed", "failed"]))
            proof = proofs.Proof(name, found.snapshot.sha256, verdict, finished)
        made.append(Made(entries.Entry(name, PREFIX, trust, "so it is", found), proof))
    return made


def kept(made: t.Sequence[Made], policy: _retention.Policy) -> set[str]:
    verdicts = _retention.apply(
        policy,
        [prune.snapshot_of(each.entry, each.proof) for each in made],
        now=names.entry_time(made[-1].entry.id),
        max_removals=1000,
    )
    return {each.snapshot.id for each in verdicts if each.keep}


POLICIES = st.builds(_retention.Policy, keep_last=st.integers(1, 3), keep_daily=st.integers(0, 3))
thorough = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def objects_of(each: Made) -> int:
    counted = each.manifest.kubernetes
    return counted.object_count - counted.resources["events"]


@thorough
@given(histories(), POLICIES)
def test_what_a_user_would_go_back_to_stays(made: list[Made], policy: _retention.Policy) -> None:
    stay = kept(made, policy)
    assert {each.entry.id for each in made if not each.good} <= stay
    good = [each for each in made if each.good]
    if not good:
        return
    assert good[-1].entry.id in stay
    order = list(lacks.Completeness)
    whole = [order.index(completeness.judge(each.manifest).completeness) for each in good]
    assert any(each.entry.id in stay and rank == min(whole) for each, rank in zip(good, whole))
    passed = [each for each in good if each.proof and each.proof.passed]
    if passed:
        assert passed[-1].entry.id in stay
        last = max(each.proof.finished_at for each in passed if each.proof)
        assert any(
            each.entry.id in stay
            for each in passed
            if each.proof and each.proof.finished_at == last
        )
    for before, after in zip(good, good[1:]):
        if 3 * objects_of(after) < 2 * objects_of(before):
            assert {before.entry.id, after.entry.id} <= stay
    # However many nights it took, the largest of a time is there.
    most = max(map(objects_of, good))
    assert any(each.entry.id in stay and objects_of(each) == most for each in good)


@thorough
@given(histories(), POLICIES, st.data())
def test_rotating_often_loses_nothing_that_rotating_once_keeps(
    made: list[Made], policy: _retention.Policy, data: st.DataObject
) -> None:
    state: list[Made] = []
    for each in made:
        state.append(each)
        if data.draw(st.booleans()):
            stay = kept(state, policy)
            state = [one for one in state if one.entry.id in stay]
    assert kept(made, policy) <= {one.entry.id for one in state}


def test_restores_has_a_word_for_each_completeness() -> None:
    """In the same order, the most first: what judge() says decides, kits only among equals."""
    ranks: dict[lacks.Completeness, set[int]] = {each: set() for each in lacks.Completeness}
    for kits in KITS.values():
        found = dataclasses.replace(MODEL, kit=kits)
        entry = entries.Entry(MODEL.id, PREFIX, TrustState.TRUSTED, "", found)
        restores = prune.snapshot_of(entry, None).restores
        rank = list(_retention.Restores).index(restores)
        ranks[completeness.judge(found).completeness].add(rank)
    seen = [sorted(ranks[each]) for each in lacks.Completeness if ranks[each]]
    assert [len(each) for each in seen] == [1, 2, 2]
    assert all(one[-1] < other[0] for one, other in zip(seen, seen[1:]))
