# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proofs: written beside the entry that was drilled and nowhere else, and the newest that holds."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils import _time
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    entries,
    names,
    proofs,
    proven,
    schemas,
    store,
    trust,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ArchiveError,
    ManifestInvalid,
    OptionInvalid,
    TrustError,
)

from .conftest import NOW, Bench

DAY = dt.timedelta(days=1)
PASSED: dict[str, t.Any] = {
    "verdict": "passed",
    "reason": "",
    "node": "scratch1",
    "node_started_at": "2026-11-24T03:00:00Z",
    "node_finished_at": "2026-11-24T03:00:09Z",
    "rto_seconds": 9,
    "phases": [{"name": "deliver", "seconds": 1.25}, {"name": "open", "seconds": 2}],
    "comparisons": [
        {
            "name": "revision",
            "result": "passed",
            "expected": 18274,
            "found": 18274,
            "detail": "equal",
        }
    ],
    "not_checked": [{"name": "secrets", "why": "KMS"}],
    "versions": {"etcd": "3.6.16", "kube_apiserver": None},
    "isolation": "systemd",
    "db_size_bytes": 20971520,
}
FAILED = {**PASSED, "verdict": "failed", "reason": "HashKV differs", "rto_seconds": None}


def image(bench: Bench) -> str:
    manifest = next(bench.folder.glob("2*/manifest.json"))
    return str(json.loads(manifest.read_text())["snapshot"]["sha256"])


def signing(bench: Bench, key: str = "") -> tuple[trust.Signing, trust.Signers]:
    made = trust.signing_from_key(key or bench.signing_key)
    return made, trust.Signers.parse(None, default=made.public_key)


def keep(
    bench: Bench,
    entry: str,
    found: t.Mapping[str, t.Any] | None = None,
    *,
    now: dt.datetime = NOW + DAY,
) -> proofs.Written:
    key, signers = signing(bench)
    return proofs.write(
        bench.place,
        bench.prefix,
        {"entry": entry, "sha256": image(bench), **(found or PASSED)},
        signing=key,
        signers=signers,
        now=now,
    )


def newest(bench: Bench, entry: str) -> tuple[proofs.Proof | None, list[str]]:
    signers = signing(bench)[1]
    judged = entries.read_entry(
        bench.place, bench.prefix, entry, signers=signers, depth="signature"
    )
    return proofs.newest(bench.place, judged, signers, now=NOW + 10 * DAY)


def newest_passed(
    bench: Bench, *, now: dt.datetime = NOW + 10 * DAY
) -> tuple[proofs.Proof | None, list[str]]:
    return proofs.newest_passed(bench.place, bench.prefix, signing(bench)[1], now=now)


def entry_of(bench: Bench, days: float = 0) -> str:
    return bench.add(now=NOW - days * DAY).entry.id


def test_write_keeps_a_signed_document_that_reads_back(bench: Bench) -> None:
    entry = entry_of(bench)
    kept = keep(bench, entry)
    assert kept.path == str(bench.folder / entry / "drills" / "20261124T145000Z.json")
    said = json.loads(Path(kept.path).read_text())
    assert said == kept.document
    assert {**said, **PASSED} == said
    assert said["finished_at"] == "2026-11-24T14:50:00Z"
    assert (said["etcd_cluster"], said["etcd_instance"]) == ("prod", "main")
    assert sorted(os.listdir(Path(kept.path).parent)) == [
        "20261124T145000Z.json",
        "20261124T145000Z.json.sig",
    ]
    assert {Path(kept.path).stat().st_mode & 0o777} == {0o600}
    proof, refused = newest(bench, entry)
    assert (proof and proof.passed, proof and proof.rto_seconds, refused) == (True, 9, [])
    # Others check it as they check a manifest: by ssh-keygen alone.
    signers = bench.root / "allowed"
    signers.write_text(signing(bench)[1].lines[0] + "\n")
    done = subprocess.run(
        ["ssh-keygen", "-Y", "verify", "-f", str(signers), "-I", "controlplane.etcd"]
        + ["-n", "controlplane.etcd", "-s", f"{kept.path}.sig"],
        input=Path(kept.path).read_bytes(),
        check=False,
    )
    assert done.returncode == 0


def test_write_two_in_one_second_writes_over_nothing(bench: Bench) -> None:
    entry = entry_of(bench)
    first = Path(keep(bench, entry).path).read_bytes()
    second = keep(bench, entry, FAILED)
    assert Path(second.path).name == "20261124T145001Z.json"
    assert Path(second.path).with_name("20261124T145000Z.json").read_bytes() == first
    proof, _refused = newest(bench, entry)
    assert proof and (proof.verdict, proof.reason) == ("failed", "HashKV differs")


def test_write_that_died_between_signature_and_document_is_no_proof(bench: Bench) -> None:
    entry = entry_of(bench)
    Path(keep(bench, entry).path).unlink()
    assert newest(bench, entry) == (None, [])
    assert Path(keep(bench, entry).path).name == "20261124T145001Z.json"


@pytest.mark.parametrize(
    "change, said",
    [
        ({"sha256": "0" * 64}, "what was drilled has image sha256 0000"),
        ({"entry": "20261123T145000Z-00000000"}, "not in the archive"),
        ({"entry": "latest"}, "'latest' is not the ID"),
        ({"verdict": "maybe"}, "verdict"),
        ({"phases": [{"name": "open"}]}, "seconds"),
        ({"comparisons": [{"name": "revision", "result": "good"}]}, "result"),
    ],
    ids=["image", "entry", "no entry", "verdict", "phase", "comparison"],
)
def test_write_of_something_else_is_refused_and_keeps_nothing(
    bench: Bench, change: dict[str, t.Any], said: str
) -> None:
    entry = entry_of(bench)
    with pytest.raises(
        (TrustError, ArchiveError, ManifestInvalid, OptionInvalid), match=said
    ) as caught:
        keep(bench, entry, {**PASSED, "entry": entry, **change})
    assert caught.value.message
    assert not list(bench.folder.rglob("drills"))
    assert not list(bench.folder.rglob(".use*"))


def test_write_beside_a_damaged_entry_only_that_it_failed(bench: Bench) -> None:
    entry = entry_of(bench)
    data = bench.folder / entry / "data.db.zst.age"
    data.write_bytes(data.read_bytes() + b"x")
    with pytest.raises(TrustError, match="it is damaged"):
        keep(bench, entry)
    keep(bench, entry, FAILED)
    data.unlink()
    keep(bench, entry, FAILED)
    manifest = bench.folder / entry / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    with pytest.raises(TrustError, match="it is forged"):
        keep(bench, entry, FAILED)


def test_write_by_a_key_that_is_not_allowed_is_refused(bench: Bench, tmp_path: Path) -> None:
    entry = entry_of(bench)
    key = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    with pytest.raises(TrustError, match="would not count.*etcd_allowed_signers"):
        proofs.write(
            bench.place,
            bench.prefix,
            {"entry": entry, "sha256": image(bench), **PASSED},
            signing=signing(bench, str(key))[0],
            signers=signing(bench)[1],
            now=NOW,
        )
    assert not list(bench.folder.rglob("drills"))


def test_newest_put_under_another_time_does_not_count(bench: Bench) -> None:
    entry = entry_of(bench)
    kept = Path(keep(bench, entry).path)
    for end in ("", ".sig"):
        shutil.copyfile(f"{kept}{end}", kept.with_name(f"20990101T000000Z.json{end}"))
    keep(bench, entry, FAILED, now=NOW + 2 * DAY)
    proof, refused = newest(bench, entry)
    assert proof and proof.verdict == "failed"
    assert "put under another time" in refused[0]


def test_newest_passed_is_taken_away_by_a_later_failure_and_by_damage(bench: Bench) -> None:
    oldest, older, newer = (entry_of(bench, days) for days in (3, 2, 1))
    for number, entry in enumerate((newer, oldest, older)):
        keep(bench, entry, now=NOW + number * DAY)
    found = newest_passed(bench)[0]
    assert found and (found.entry, found.finished_at) == (older, "2026-11-25T14:50:00Z")
    keep(bench, older, FAILED, now=NOW + 4 * DAY)
    found = newest_passed(bench)[0]
    assert found and found.entry == oldest
    (bench.folder / oldest / "RESTORE.txt").unlink()
    found, refused = newest_passed(bench)
    assert found and found.entry == newer
    assert any(f"Entry {oldest} was proven, and is incomplete" in text for text in refused)


def test_newest_passed_of_the_future_does_not_count(bench: Bench) -> None:
    entry = entry_of(bench)
    keep(bench, entry, now=NOW + 5 * DAY)
    found, refused = newest_passed(bench, now=NOW + DAY)
    assert found is None
    assert "in the future" in refused[0]
    assert newest_passed(bench, now=NOW + 5 * DAY)[0]


def test_newest_of_the_future_takes_no_other_proof_s_place(bench: Bench) -> None:
    """Neither the pass that it hides nor the later failure by a right clock."""
    entry = entry_of(bench)
    keep(bench, entry, now=NOW - DAY)
    keep(bench, entry, now=NOW + 300 * DAY)
    proof, refused = newest(bench, entry)
    assert proof and proof.finished_at == "2026-11-22T14:50:00Z"
    assert "in the future" in refused[0]
    keep(bench, entry, FAILED, now=NOW)
    proof, _refused = newest(bench, entry)
    assert proof and not proof.passed


def test_newest_passed_reads_no_more_entries_than_it_must(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [entry_of(bench, days) for days in range(6)]
    for number, entry in enumerate(made):
        keep(bench, entry, now=NOW + number * DAY)
    for entry in made[:-1]:  # what would be said of them if they were looked at
        (bench.folder / entry / "manifest.json").unlink()
    found, refused = newest_passed(bench)
    assert found and (found.entry, refused) == (made[-1], [])


def test_proven_tells_every_prefix_and_nothing_without_signers(bench: Bench) -> None:
    entry = entry_of(bench)
    keep(bench, entry)
    other = names.Prefix("edge")
    told = proven.Proven(bench.place, signing(bench)[1], now=NOW + DAY)
    found = told.newest([bench.prefix, other])
    assert [each["entry"] for each in found] == [entry, None]
    assert [each["etcd_cluster"] for each in found] == ["prod", "edge"]
    judged = entries.read_entry(bench.place, bench.prefix, entry, signers=None, depth="none")
    blind = proven.Proven(bench.place, None, now=NOW)
    assert (blind.told(judged), blind.newest([bench.prefix])) == (None, [])


def test_of_hundreds_of_proofs_the_newest_alone_is_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = entry_of(bench)
    kept = Path(keep(bench, entry).path)
    for number in range(300):
        older = NOW - number * DAY
        copy = kept.with_name(f"{older:%Y%m%dT%H%M%SZ}.json")
        shutil.copyfile(kept, copy)
        shutil.copyfile(f"{kept}.sig", f"{copy}.sig")
    seen: list[str] = []
    read = store.DirectoryStore.read

    def watched(place: store.DirectoryStore, prefix: names.Prefix, path: str) -> bytes | None:
        seen.append(path)
        return read(place, prefix, path)

    monkeypatch.setattr(store.DirectoryStore, "read", watched)
    assert newest(bench, entry)[0]
    proofs_read = [path for path in seen if f"/{proofs.FOLDER}/" in path]
    newest_name = max(path.name for path in kept.parent.glob("*.json"))
    assert [Path(path).name for path in proofs_read] == [newest_name, f"{newest_name}.sig"]


def test_the_schema_in_docs_takes_proofs_of_before(bench: Bench) -> None:
    """What a reader needs is all that an older or a newer writer has to give."""
    document = {
        "schema": schemas.PROOF,
        "entry": "20261123T145000Z-7c9e1a2b",
        "sha256": "0" * 64,
        "verdict": "passed",
        "finished_at": _time.rfc3339(NOW),
    }
    schemas.check(document, schemas.PROOF_V1, "old")
    schemas.check({**document, "moon": "full", "versions": {"runc": "1"}}, schemas.PROOF_V1, "new")
