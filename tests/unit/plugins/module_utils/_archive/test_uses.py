# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An entry that was delivered: held until its proof, or until the run that delivered it is over."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import typing as t

import pytest
from unit.fixtures.asked import ask

from ansible_collections.controlplane.etcd.plugins.module_utils import _retention
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    owner,
    prune,
    uses,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import OptionInvalid

if t.TYPE_CHECKING:
    from .conftest import Bench

NOW = dt.datetime(2026, 11, 23, 14, 50, tzinfo=dt.timezone.utc)
DAY = dt.timedelta(days=1)


def rotate(bench: Bench, now: dt.datetime = NOW) -> tuple[str, ...]:
    wish = prune.Wish(
        place=bench.place,
        prefix=bench.prefix,
        signers=bench.wish().signers,
        policy=_retention.Policy(keep_last=1),
        max_removals=100,
    )
    return prune.prune(wish, now=now, really=True).removed


def delivery_of(entry: str, number: int = 0) -> str:
    return f"/var/tmp/controlplane-etcd-delivery-{entry}-3f1c9a02-{number:08x}"


def deliver(bench: Bench, entry: str, user: owner.Owner | None = None, number: int = 0) -> str:
    """Hold an entry as etcd_deliver does, which is done then; return the delivery."""
    me = owner.of_process(os.getpid(), now=NOW)
    with uses.in_use(bench.place, bench.prefix, entry, user=me):
        delivery = delivery_of(entry, number)
        uses.hold(bench.place, bench.prefix, entry, delivery, user=user or me)
    return delivery


@pytest.fixture
def old(bench: Bench) -> str:
    """The older of two entries, which a rotation takes away."""
    old, _new = (bench.add(now=NOW - days * DAY).entry.id for days in (2, 1))
    return old


def recorded(bench: Bench, entry: str, delivery: str, **options: t.Any) -> dict[str, t.Any]:
    """Have etcd_drill keep the proof of a drill that passed."""
    said = json.loads((bench.folder / entry / "manifest.json").read_text())
    sha256 = said["snapshot"]["sha256"]
    compared = [{"name": name, "result": "passed"} for name in ("revision", "canary")]
    drill = {"entry": entry, "sha256": sha256, "verdict": "passed", "rto_seconds": 3}
    return ask(
        "etcd_drill",
        **{
            "state": "recorded",
            "archive": str(bench.root / "archive"),
            "etcd_cluster": bench.cluster,
            "signing_key": bench.signing_key,
            "delivered": {
                "delivery": delivery,
                "entry": {"id": entry, "sha256": sha256},
                "seconds": 1.5,
            },
            "drilled": {"drill": {**drill, "comparisons": compared, "isolation": "systemd"}},
            "node": "scratch1",
            **options,
        },
    )


def test_hold_lasts_from_the_delivery_to_the_proof(
    bench: Bench, old: str, reliability: t.Any
) -> None:
    delivery = deliver(bench, old)
    assert rotate(bench) == ()
    assert recorded(bench, old, delivery, _ansible_check_mode=True)["verdict"] == "passed"
    assert rotate(bench) == ()
    assert recorded(bench, old, delivery)["verdict"] == "passed"
    assert not list((bench.folder / old).glob(".use*"))
    newer = bench.add(now=NOW)
    # The proof has the time of this machine's clock.
    assert old not in rotate(bench, now=dt.datetime.now(dt.timezone.utc)), "the newest proven"
    assert newer.entry.id != old
    reliability(
        "a rotation while an entry is drilled, that its policy would remove",
        "the entry stays, and gets its proof",
        area="rotate",
    )


@pytest.mark.parametrize("wrong", ["an entry nobody signed", "a key that is gone"])
def test_hold_ends_with_a_proof_that_cannot_be_kept(bench: Bench, old: str, wrong: str) -> None:
    delivery = deliver(bench, old)
    signature = bench.folder / old / "manifest.json.sig"
    if wrong == "an entry nobody signed":
        signature.unlink()
        answer = recorded(bench, old, delivery)
    else:
        answer = recorded(bench, old, delivery, signing_key="/nowhere/key")
    assert answer["failed"] and answer["error"]["kind"], answer
    assert not list((bench.folder / old).glob(".use*"))


def test_hold_ends_with_the_run_that_delivered(bench: Bench, old: str, reliability: t.Any) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as run:
        deliver(bench, old, owner.of_process(run.pid, now=NOW))
        assert rotate(bench) == ()
    # What a dead run left does not stay either: whoever reads the entry next takes it away.
    assert len(list((bench.folder / old).glob(".use*"))) == 1
    with uses.in_use(bench.place, bench.prefix, old, user=owner.of_process(os.getpid(), now=NOW)):
        assert len(list((bench.folder / old).glob(".use*"))) == 1
    assert not list((bench.folder / old).glob(".use*"))
    assert rotate(bench) == (old,)
    reliability(
        "a run that delivered an entry ends or is killed before the drill does",
        "the entry is held no longer",
        area="rotate",
    )


def test_hold_of_one_delivery_outlasts_another_of_the_same_entry(bench: Bench, old: str) -> None:
    first, second = deliver(bench, old, number=1), deliver(bench, old, number=2)
    uses.let_go(bench.place, bench.prefix, first)
    assert rotate(bench) == ()
    uses.let_go(bench.place, bench.prefix, second)
    uses.let_go(bench.place, bench.prefix, second)
    assert rotate(bench) == (old,)


@pytest.mark.parametrize(
    "wrong", ["", "/var/tmp/x", "../../etc", delivery_of("20261101T000000Z-00000000")]
)
def test_hold_for_what_is_no_delivery_of_the_entry_is_refused(
    bench: Bench, old: str, wrong: str
) -> None:
    me = owner.of_process(os.getpid(), now=NOW)
    with pytest.raises(OptionInvalid, match=f"a delivery of entry {old}"):
        uses.hold(bench.place, bench.prefix, old, wrong, user=me)
    uses.let_go(bench.place, bench.prefix, wrong)
    assert rotate(bench) == (old,)
