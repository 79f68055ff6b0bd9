# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a recorded stream to sealed files: what is checked, and what is left when a check fails."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import typing as t
from dataclasses import replace
from pathlib import Path

import pyrage
import pytest
import zstandard
from unit.fixtures import snapshots

from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.database import Database
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    DatabaseInvalid,
    EtcdToolError,
    SnapshotInvalid,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.hashing import Batch
from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.image import read_image
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot import make as making
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.make import (
    Made,
    Wish,
    make_snapshot,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.verify import (
    Expected,
    Result,
    counts_compacted_tombstones,
)

SOURCE = "https://10.0.0.1:2379"
WITH_HASHES = [name for name in snapshots.SCENARIOS if snapshots.facts(name).get("hash_kv")]


@pytest.fixture(autouse=True)
def stood_back(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """How often it stood back: it would be the tests' own process."""
    times: list[bool] = []
    monkeypatch.setattr(making, "stand_back", lambda: times.append(True))
    return times


def trailed(image: bytes) -> bytes:
    return image + hashlib.sha256(image).digest()


def expected(name: str, number: int = 0) -> Expected:
    facts = snapshots.facts(name)
    found = facts["hash_kv"][number]
    return Expected(
        source=SOURCE,
        server_version=facts["version"],
        revision=facts["status"]["revision"],
        hash_revision=found["revision"],
        hash_compact_revision=found["compact_revision"],
        hash_kv=found["hash"],
    )


def make(tmp_path: Path, stream: bytes, hope: Expected, *recipients: str) -> Made:
    spool, dest = tmp_path / "spool", tmp_path / "dest"
    for folder in (spool, dest):
        folder.mkdir(exist_ok=True)
    wish = Wish(
        expected=hope,
        spool_dir=str(spool),
        dest_dir=str(dest),
        recipients=recipients,
        etcd_prefix="/registry",
    )
    blobs = [stream[at : at + 32768] for at in range(0, len(stream), 32768)]
    return make_snapshot(blobs, wish)


@pytest.mark.parametrize("name", WITH_HASHES)
def test_make_snapshot_passes_every_check_and_opens_again(
    tmp_path: Path, name: str, stood_back: list[bool]
) -> None:
    stream = snapshots.image(name)
    identity = pyrage.x25519.Identity.generate()
    made = make(tmp_path, stream, expected(name), str(identity.to_public()))
    results = {check.name: check.result for check in made.checks}
    assert results == dict.fromkeys(
        ("trailer", "structure", "revision", "hash_kv", "catalogue"), Result.PASSED
    )
    assert sorted(os.listdir(tmp_path / "dest")) == ["catalog.json.zst.age", "data.db.zst.age"]
    assert os.listdir(tmp_path / "spool") == []
    assert stood_back == [True]
    for file in made.files:
        data = Path(file.path).read_bytes()
        assert hashlib.sha256(data).hexdigest() == file.sha256
        assert Path(file.path).stat().st_mode & 0o777 == 0o600
        clear = io.BytesIO()
        opened = pyrage.decrypt(data, [identity])
        zstandard.ZstdDecompressor().copy_stream(io.BytesIO(opened), clear)
        if file.name.startswith("data.db"):
            assert clear.getvalue() == stream
        else:
            catalog = json.loads(clear.getvalue())
            assert catalog["revision"] == made.verified.summary.revision
            assert len(catalog["objects"]) == made.verified.summary.key_count


@pytest.mark.parametrize("name", snapshots.SCENARIOS)
def test_mod_revisions_are_those_inside_the_values(name: str) -> None:
    seen: list[int] = []

    def compare(batch: Batch) -> None:
        revisions = batch.mod_revisions()
        # The row that --bump-revision writes holds an empty message.
        assert revisions == [
            entry.mod_revision or revision for entry, revision in zip(batch.entries(), revisions)
        ]
        seen.extend(revisions)

    summary = read_image(Database(snapshots.image(name)), visit_batch=compare)
    assert len(seen) == summary.key_count


@pytest.mark.parametrize("name", WITH_HASHES)
def test_other_hash_is_refused_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    hope = expected(name)
    wrong = replace(hope, hash_kv=(hope.hash_kv or 0) ^ 1)
    with pytest.raises(SnapshotInvalid, match=f"{SOURCE} does not hold what the members hold"):
        make(tmp_path, snapshots.image(name), wrong)
    assert os.listdir(tmp_path / "dest") == os.listdir(tmp_path / "spool") == []


def test_lagging_member_is_refused(tmp_path: Path) -> None:
    hope = replace(expected("3.6.16/history"), revision=10_000)
    with pytest.raises(SnapshotInvalid, match="had confirmed 10000.*this member lags"):
        make(tmp_path, snapshots.image("3.6.16/history"), hope)


def test_compacted_in_between_is_said_and_no_failure(tmp_path: Path) -> None:
    name = "3.6.16/tombstone"
    compacted = read_image(Database(snapshots.image(name))).compact_revision
    assert compacted > 0
    hope = replace(expected(name), hash_compact_revision=-1)
    checks = {check.name: check for check in make(tmp_path, snapshots.image(name), hope).checks}
    assert checks["hash_kv"].result is Result.NOT_COMPARABLE
    assert f"compacted to {compacted} in between" in checks["hash_kv"].detail


def test_emergency_and_unknown_hashes_are_not_asked(tmp_path: Path) -> None:
    hope = Expected(source=SOURCE, server_version="3.6.16", revision=None)
    made = make(tmp_path, snapshots.image("3.6.16/history"), hope)
    results = {check.name: check.result for check in made.checks}
    assert results["revision"] is results["hash_kv"] is Result.NOT_ASKED


@pytest.mark.parametrize("seed", range(60))
def test_flip_behind_a_right_trailer_is_caught_or_changes_no_key(
    tmp_path: Path, seed: int, reliability: t.Any
) -> None:
    """The outer layer is switched off: the trailer is made to fit the damaged image."""
    name = "3.6.16/history"
    chance = random.Random(seed)
    image = bytearray(snapshots.image(name)[:-32])
    at = chance.randrange(len(image))
    image[at] ^= 1 << chance.randrange(8)
    try:
        made = make(tmp_path, trailed(bytes(image)), expected(name))
    except EtcdToolError as caught:
        assert isinstance(caught, (SnapshotInvalid, DatabaseInvalid))
        assert os.listdir(tmp_path / "dest") == []
        return
    # What no check noticed lies outside the keys: HashKV covers each of their bytes.
    assert made.verified.summary.hash_kv == expected(name).hash_kv
    reliability(
        "a bit of the snapshot flipped, with a trailer that fits",
        "refused by structure or HashKV, or no byte of a key or value is hit",
    )


def test_shorter_image_behind_a_right_trailer_is_caught(tmp_path: Path, reliability: t.Any) -> None:
    image = snapshots.image("3.6.16/history")[:-32]
    for size in range(4096, len(image), 4096):
        with pytest.raises(DatabaseInvalid):
            make(tmp_path, trailed(image[:size]), expected("3.6.16/history"))
    reliability(
        "snapshot truncated at each page, with a trailer that fits", "refused by its structure"
    )


@pytest.mark.parametrize(
    ("version", "counts"),
    [
        ("3.4.23", True),
        ("3.4.34", False),
        ("3.5.15", True),
        ("3.5.16", False),
        ("3.6.0-rc.1", False),
        ("3.7.3", False),
        ("unknown", False),
    ],
)
def test_counts_compacted_tombstones_by_version(version: str, counts: bool) -> None:
    assert counts_compacted_tombstones(version) is counts
