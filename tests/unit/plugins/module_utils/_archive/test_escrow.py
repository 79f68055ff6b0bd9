# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The escrow check: real age and ssh keys on real entries, whole and damaged, sealed and not."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import subprocess
import typing as t
from pathlib import Path

import pyrage
import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    entries,
    escrow,
    escrow_keys,
    listing,
    names,
    sealing,
)

if t.TYPE_CHECKING:
    from .conftest import Bench

SSH = ("ed25519", "rsa", "rsa_pem")
NOW = dt.datetime(2026, 11, 23, 14, 50, tzinfo=dt.timezone.utc)


@dataclasses.dataclass(frozen=True)
class Held:
    """A key pair of somebody: its file, and its public half as an archive names it."""

    path: Path
    recipient: str


def age_key(path: Path) -> Held:
    identity = pyrage.x25519.Identity.generate()
    path.write_text(f"# created: now\n{identity}\n")
    return Held(path, str(identity.to_public()))


def ssh_key(path: Path, kind: str, *options: str, passphrase: str = "") -> Held:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", str(path), *options], check=True
    )
    [recipient] = sealing.parse_recipients([Path(f"{path}.pub").read_text()])
    return Held(path, recipient)


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Held]:
    folder = tmp_path_factory.mktemp("keys")
    return {
        "age": age_key(folder / "age"),
        "ed25519": ssh_key(folder / "ed25519", "ed25519"),
        "rsa": ssh_key(folder / "rsa", "rsa", "-b", "2048"),
        "rsa_pem": ssh_key(folder / "rsa_pem", "rsa", "-b", "2048", "-m", "PEM"),
        "locked": ssh_key(folder / "locked", "ed25519", passphrase="secret words"),
        "other": age_key(folder / "other"),
    }


@pytest.fixture
def shelf(bench: Bench, held: dict[str, Held]) -> Bench:
    """An archive whose entries are sealed to all of them but `other`."""
    age, *more = (held[name].recipient for name in ("age", *SSH, "locked"))
    return dataclasses.replace(bench, recipient=age, more_recipients=tuple(more))


def checked(
    shelf: Bench, paths: t.Sequence[Path], *, depth: entries.Depth = "signature"
) -> tuple[list[escrow.Checked], list[str]]:
    found = listing.read_entries(
        shelf.place,
        [shelf.prefix],
        before=None,
        latest=False,
        signers=shelf.wish().signers,
        depth=depth,
    )
    return escrow.check(shelf.place, [shelf.prefix], found, [str(path) for path in paths])


def states(rows: t.Iterable[escrow.Checked]) -> dict[tuple[str | None, str | None], str]:
    return {(row.part, row.recipient): row.state.value for row in rows}


def test_each_key_opens_for_itself(shelf: Bench, held: dict[str, Held]) -> None:
    entry = shelf.add().entry.id
    names_of = ("age", *SSH)
    rows, said = checked(shelf, [held[name].path for name in names_of])
    assert said == []
    assert {row.entry for row in rows} == {entry}
    assert states(rows) == {
        **{(part, held[name].recipient): "opens" for part in ("data", "pki") for name in names_of},
        ("data", held["locked"].recipient): "not_checked",
        ("pki", held["locked"].recipient): "not_checked",
    }
    by = {row.recipient: row.by for row in rows if row.part == "data"}
    assert by == {held[n].recipient: str(held[n].path) for n in names_of} | {
        held["locked"].recipient: None
    }
    counts = {(row.part, row.file_count, row.clear_bytes) for row in rows if row.by}
    assert counts == {("data", 2, len(shelf.clear) + 3), ("pki", 3, 9)}


@pytest.mark.parametrize("name", ["age", *SSH])
def test_one_key_alone_opens_its_own_only(shelf: Bench, held: dict[str, Held], name: str) -> None:
    shelf.add()
    rows, said = checked(shelf, [held[name].path])
    assert said == []
    opened = {row.recipient for row in rows if row.state is escrow.State.OPENS}
    assert opened == {held[name].recipient}
    others = [row for row in rows if row.recipient != held[name].recipient]
    assert {row.state for row in others} == {escrow.State.NOT_CHECKED}


def test_stranger_is_told_by_its_file(shelf: Bench, held: dict[str, Held]) -> None:
    shelf.add()
    rows, [said] = checked(shelf, [held["other"].path])
    assert str(held["other"].path) in said
    assert "opens nothing" in said
    assert held["other"].path.read_text().split()[-1] not in said
    assert {row.state for row in rows} == {escrow.State.NOT_CHECKED}


def test_locked_ssh_key_is_its_recipients_but_not_tried(
    shelf: Bench, held: dict[str, Held]
) -> None:
    shelf.add()
    rows, [said] = checked(shelf, [held["locked"].path])
    assert (
        said == f"Escrow check: Identity file {held['locked'].path} is protected by a passphrase."
    )
    for row in rows:
        own = row.recipient == held["locked"].recipient
        assert row.state is escrow.State.NOT_CHECKED
        assert ("protected by a passphrase" in row.detail) == own


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"AGE-PLUGIN-YUBIKEY-1QQPSZQ8QQ9PEJ2KQ2\n", "plugin"),
        (b"age-encryption.org/v1\n-> scrypt x 18\n", "itself encrypted with age"),
        (b"", "holds no identity"),
        (
            b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
            "no id",
        ),
        (None, "cannot be read"),
    ],
    ids=["plugin", "age-encrypted", "empty", "broken-ssh", "gone"],
)
def test_file_that_cannot_be_used_is_said(
    shelf: Bench, held: dict[str, Held], tmp_path: Path, content: bytes | None, says: str
) -> None:
    shelf.add()
    path = tmp_path / "odd"
    if content is not None:
        path.write_bytes(content)
    rows, [said] = checked(shelf, [path, held["age"].path])
    assert str(path) in said
    assert says in said
    assert {row.state.value for row in rows} == {"opens", "not_checked"}


def test_several_keys_in_one_file(shelf: Bench, held: dict[str, Held], tmp_path: Path) -> None:
    shelf.add()
    both = tmp_path / "both"
    both.write_text(held["other"].path.read_text() + held["age"].path.read_text())
    rows, said = checked(shelf, [both])
    assert said == []
    assert states(rows)["data", held["age"].recipient] == "opens"


@pytest.mark.parametrize("at", [3, 250, -1, -40_000], ids=["magic", "header", "end", "inside"])
@pytest.mark.parametrize("keys", [["age"], ["rsa", "ed25519"]], ids=["age", "two"])
def test_damaged_file_fails_and_says_so(
    shelf: Bench, held: dict[str, Held], at: int, keys: list[str]
) -> None:
    shelf.clear = os.urandom(100_000)
    entry = shelf.add().entry.id
    path = shelf.folder / entry / "data.db.zst.age"
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    rows, _said = checked(shelf, [held[key].path for key in keys])
    for key in keys:
        [row] = [r for r in rows if (r.part, r.recipient) == ("data", held[key].recipient)]
        assert row.state is escrow.State.FAILED
        assert row.detail.startswith("data.db.zst.age is damaged: its sha256 is ")
        assert states(rows)["pki", held[key].recipient] == "opens"


def test_image_that_is_not_the_manifests_fails(shelf: Bench, held: dict[str, Held]) -> None:
    finished = shelf.add()
    found = finished.entry.manifest
    assert found is not None
    snapshot = dataclasses.replace(found.snapshot, sha256="0" * 64)
    entry = dataclasses.replace(
        finished.entry, manifest=dataclasses.replace(found, snapshot=snapshot)
    )
    rows, _said = escrow.check(shelf.place, [shelf.prefix], [entry], [str(held["age"].path)])
    [row] = [r for r in rows if (r.part, r.recipient) == ("data", held["age"].recipient)]
    assert (row.state, "The image in data.db.zst.age" in row.detail) == (escrow.State.FAILED, True)


def test_recipient_that_a_manifest_only_claims_fails(shelf: Bench, held: dict[str, Held]) -> None:
    finished = shelf.add()
    found = finished.entry.manifest
    assert found is not None
    claimed = tuple(
        dataclasses.replace(
            file,
            encryption=dataclasses.replace(file.encryption, recipients=(held["other"].recipient,)),
        )
        if file.part == "data"
        else file
        for file in found.files
    )
    entry = dataclasses.replace(finished.entry, manifest=dataclasses.replace(found, files=claimed))
    rows, _said = escrow.check(shelf.place, [shelf.prefix], [entry], [str(held["other"].path)])
    [row] = [r for r in rows if r.recipient == held["other"].recipient]
    assert row.state is escrow.State.FAILED
    assert "does not open with it" in row.detail


def test_entry_that_is_not_sealed_is_said(shelf: Bench, held: dict[str, Held]) -> None:
    shelf.add(sealed=False)
    rows, [said] = checked(shelf, [held["age"].path])
    assert [(row.part, row.recipient, row.state.value) for row in rows] == [
        ("data", None, "unsealed"),
        ("pki", None, "unsealed"),
    ]
    assert rows[0].clear_bytes == len(shelf.clear) + 3
    assert "opens nothing" in said


def test_cluster_without_a_usable_entry_is_not_passed_over(
    shelf: Bench, held: dict[str, Held]
) -> None:
    entry = shelf.add().entry.id
    (shelf.folder / entry / "manifest.json.sig").unlink()
    [row], _said = checked(shelf, [held["age"].path])
    assert (row.entry, row.state.value) == (None, "not_checked")
    assert row.detail == "There is no usable entry."


def test_newest_usable_entry_is_the_one(shelf: Bench, held: dict[str, Held]) -> None:
    older = shelf.add().entry.id
    newest = shelf.add(now=NOW + dt.timedelta(hours=1)).entry.id
    rows, _said = checked(shelf, [held["age"].path])
    assert {row.entry for row in rows} == {newest}
    (shelf.folder / newest / "data.db.zst.age").unlink()
    rows, _said = checked(shelf, [held["age"].path])
    assert {row.entry for row in rows} == {older}


def test_nothing_clear_is_written(
    shelf: Bench, held: dict[str, Held], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.add()
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    opened: list[tuple[str, int]] = []
    real = os.open

    def watched(path: t.Any, flags: int, *args: t.Any, **options: t.Any) -> int:
        opened.append((str(path), flags))
        return real(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", watched)
    rows, _said = checked(shelf, [held["age"].path])
    assert states(rows)["data", held["age"].recipient] == "opens"
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before
    assert not [path for path, flags in opened if flags & (os.O_WRONLY | os.O_RDWR)]


@pytest.mark.parametrize("name", ["age", *SSH, "locked"])
def test_public_half_is_the_recipient(held: dict[str, Held], name: str) -> None:
    [key] = escrow_keys.keys_at_hand([str(held[name].path)])
    assert key.recipient == held[name].recipient
    assert bool(key.problem) == (name == "locked")
    assert "identity" not in repr(key).replace(str(held[name].path), "")


def test_prefixes_are_looked_at_each(shelf: Bench, held: dict[str, Held]) -> None:
    shelf.add()
    prefixes = [shelf.prefix, names.Prefix("another")]
    rows, _said = escrow.check(shelf.place, prefixes, [], [str(held["age"].path)])
    assert [(row.etcd_cluster, row.entry) for row in rows] == [("prod", None), ("another", None)]
