# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The entry to go back to, chosen among real, signed ones."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils import _time
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    choose,
    names,
    proofs,
    schemas,
    trust,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ArchiveError,
    OptionInvalid,
    TrustError,
)

if t.TYPE_CHECKING:
    from .conftest import Bench

DAY = dt.timedelta(days=1)
NOW = dt.datetime(2026, 11, 23, 14, 50, tzinfo=dt.timezone.utc)


def signers_of(bench: Bench) -> trust.Signers:
    return trust.Signers.parse(None, default=trust.signing_from_key(bench.signing_key).public_key)


def chosen(bench: Bench, entry: str = "latest", before: dt.datetime | None = None) -> choose.Choice:
    return choose.choose(
        bench.place,
        bench.prefix,
        signers_of(bench),
        choose.Wanted(entry, before),
        now=NOW + 30 * DAY,
    )


def add(bench: Bench, days: float) -> str:
    return bench.add(now=NOW - days * DAY).entry.id


def prove(bench: Bench, entry: str, *, after: float) -> Path:
    said = json.loads((bench.folder / entry / "manifest.json").read_text())
    time = NOW + after * DAY
    document = {
        "schema": schemas.PROOF,
        "entry": entry,
        "sha256": said["snapshot"]["sha256"],
        "verdict": "passed",
        "finished_at": _time.rfc3339(time),
    }
    path = bench.folder / entry / proofs.FOLDER / f"{time:%Y%m%dT%H%M%SZ}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document))
    signing = trust.signing_from_key(bench.signing_key)
    path.with_name(f"{path.name}.sig").write_bytes(signing.sign(path.read_bytes()))
    return path


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def test_latest_is_the_newest_usable_one_and_says_what_it_passed_over(bench: Bench) -> None:
    usable, damaged, unsigned = add(bench, 2), add(bench, 1), add(bench, 0)
    cut(bench.folder / damaged / "data.db.zst.age")
    (bench.folder / unsigned / "manifest.json.sig").unlink()
    found = chosen(bench)
    assert found.entry.id == usable
    assert [why.split(":")[0] for why in found.passed_over] == [
        f"{unsigned} (unsigned",
        f"{damaged} (damaged",
    ]
    assert found.entry.manifest is not None


def test_latest_of_nothing_but_damaged_ones_is_the_newest_of_them(bench: Bench) -> None:
    older, newer = add(bench, 1), add(bench, 0)
    for entry in (older, newer):
        cut(bench.folder / entry / "data.db.zst.age")
    found = chosen(bench)
    assert (found.entry.id, found.entry.trust.value) == (newer, "damaged")
    with pytest.raises(TrustError, match=f"{newer} of prod in .* is damaged: data.db.zst.age"):
        choose.trusted(bench.place, found.entry, signers_of(bench), only=["data.db.zst.age"])


def test_before_leaves_out_what_was_started_at_that_time_or_later(bench: Bench) -> None:
    older, newer = add(bench, 1), add(bench, 0)
    assert chosen(bench, before=NOW).entry.id == older
    assert chosen(bench, before=NOW + DAY).entry.id == newer
    with pytest.raises(ArchiveError, match="no usable entry of prod from before"):
        chosen(bench, before=NOW - DAY)
    with pytest.raises(OptionInvalid, match="before cannot be combined with id unproven"):
        chosen(bench, "unproven", NOW)


def test_unproven_is_the_oldest_without_a_proof_then_the_least_recently_proven(
    bench: Bench,
) -> None:
    entries = [add(bench, days) for days in (3, 2, 1)]
    assert chosen(bench, "unproven").entry.id == entries[0]
    prove(bench, entries[0], after=5)
    assert chosen(bench, "unproven").entry.id == entries[1]
    prove(bench, entries[1], after=4)
    proof = prove(bench, entries[2], after=6)
    assert chosen(bench, "unproven").entry.id == entries[1]
    # A proof that nobody can trust is none.
    proof.write_bytes(proof.read_bytes() + b" ")
    assert chosen(bench, "unproven").entry.id == entries[2]


def test_entry_by_its_id_must_be_there(bench: Bench) -> None:
    entry = add(bench, 0)
    assert chosen(bench, entry).entry.id == entry
    with pytest.raises(ArchiveError, match="no entry 20200101T000000Z-00000000 of prod"):
        chosen(bench, "20200101T000000Z-00000000")
    with pytest.raises(OptionInvalid, match="not the ID of an archive's entry"):
        chosen(bench, "newest")
    with pytest.raises(ArchiveError, match="is not a directory"):
        choose.choose(
            type(bench.place)(str(bench.root / "nowhere")),
            names.Prefix("prod"),
            signers_of(bench),
            choose.Wanted(),
            now=NOW,
        )


def _replay(bench: Bench, entry: str) -> None:
    other = add(bench, 5)
    shutil.rmtree(bench.folder / entry)
    shutil.copytree(bench.folder / other, bench.folder / entry)


def _unsign(bench: Bench, entry: str) -> None:
    (bench.folder / entry / "manifest.json.sig").unlink()


def _edit(bench: Bench, entry: str) -> None:
    path = bench.folder / entry / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"revision": 18274', b'"revision": 18275'))


def _lose(bench: Bench, entry: str) -> None:
    (bench.folder / entry / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("harm", "state"),
    [(_replay, "foreign"), (_unsign, "unsigned"), (_edit, "forged"), (_lose, "incomplete")],
    ids=["replayed", "unsigned", "edited", "without its manifest"],
)
def test_entry_by_its_id_whose_manifest_does_not_hold_is_refused(
    bench: Bench, harm: t.Callable[[Bench, str], None], state: str
) -> None:
    entry = add(bench, 0)
    harm(bench, entry)
    with pytest.raises(TrustError, match=f"Entry {entry} of prod in .* is {state}: "):
        chosen(bench, entry)


def test_trusted_reads_the_files_that_are_asked_for_and_returns_the_signed_bytes(
    bench: Bench,
) -> None:
    entry = chosen(bench, add(bench, 0)).entry
    kit = bench.folder / entry.id / "pki" / "cp1.tar.zst.age"
    kit.write_bytes(bytes(reversed(kit.read_bytes())))
    data = choose.trusted(bench.place, entry, signers_of(bench), only=["data.db.zst.age"])
    assert data == (bench.folder / entry.id / "manifest.json").read_bytes()
    with pytest.raises(TrustError, match="damaged: pki/cp1.tar.zst.age has sha256"):
        choose.trusted(bench.place, entry, signers_of(bench), only=["pki/cp1.tar.zst.age"])


def test_trusted_refuses_a_genuine_manifest_that_took_the_place_of_the_chosen_one(
    bench: Bench,
) -> None:
    entry = chosen(bench, add(bench, 0)).entry
    path = bench.folder / entry.id / "manifest.json"
    other = json.loads(path.read_bytes())
    other["snapshot"]["revision"] += 1
    path.write_text(json.dumps(other))
    signing = trust.signing_from_key(bench.signing_key)
    path.with_name("manifest.json.sig").write_bytes(signing.sign(path.read_bytes()))
    with pytest.raises(TrustError, match="was changed while it was read"):
        choose.trusted(bench.place, entry, signers_of(bench), only=())
