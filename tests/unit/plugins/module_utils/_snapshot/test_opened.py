# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening whatever somebody calls a snapshot."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import io
import os
import tarfile
import typing as t
from pathlib import Path

import pyrage
import pytest
import zstandard
from unit.fixtures import bolt_writer, snapshots

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import names, store
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.sealing import seal
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ArchiveError,
    DatabaseInvalid,
    SealError,
    SnapshotInvalid,
    SpaceMissing,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot import opened, unwrap

IMAGE = snapshots.image("3.6.16/history")
SHA256 = IMAGE[-32:].hex()


@pytest.fixture
def identity(tmp_path: Path) -> pyrage.x25519.Identity:
    made = pyrage.x25519.Identity.generate()
    (tmp_path / "identity").write_text(f"{made}\n")
    return made


def sealed(data: bytes, recipient: str) -> bytes:
    target = io.BytesIO()
    seal(io.BytesIO(data), target, [recipient])
    return target.getvalue()


def open_it(
    path: Path, *, skip: bool = False, identities: t.Sequence[Path] = (), spool: Path | None = None
) -> contextlib.AbstractContextManager[opened.Opened]:
    keys = opened.Keys(tuple(map(str, identities)), str(spool or path.parent))
    return opened.open_path(str(path), keys, skip_hash_check=skip)


def test_plain_compressed_and_sealed_give_the_same_image(
    tmp_path: Path, identity: pyrage.x25519.Identity
) -> None:
    forms = {
        "plain": IMAGE,
        "zst": zstandard.compress(IMAGE),
        "age": sealed(IMAGE, str(identity.to_public())),
    }
    for name, data in forms.items():
        path = tmp_path / name
        path.write_bytes(data)
        with open_it(path, identities=[tmp_path / "identity"]) as found:
            assert found.sha256 == SHA256
            assert found.trailer == "passed"
            assert found.size_bytes == len(data)
            assert found.clear_size_bytes == len(IMAGE)
            assert (found.sealed, found.compressed) == (name == "age", name != "plain")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["age", "identity", "plain", "zst"]


def test_file_of_etcds_own_is_read_without_a_trailer(tmp_path: Path) -> None:
    path = tmp_path / "db"
    for data in (IMAGE[:-32], IMAGE[:-32] + bytes(1 << 16)):
        path.write_bytes(data)
        with open_it(path) as found:
            assert found.trailer == "absent"
            assert found.sha256 == SHA256


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9999])
def test_wrong_trailer_is_refused_unless_asked_for(tmp_path: Path, place: float) -> None:
    data = bytearray(IMAGE)
    at = int(len(data) * place)
    data[at] ^= 1
    path = tmp_path / "snapshot.db"
    path.write_bytes(data)
    with (
        pytest.raises(SnapshotInvalid, match=f"Snapshot {path} is damaged") as error,
        open_it(path),
    ):
        pass
    assert hashlib.sha256(data[:-32]).hexdigest() in str(error.value)
    with open_it(path, skip=True) as found:
        assert found.trailer == "failed"


def test_trailer_behind_other_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.db"
    path.write_bytes(IMAGE[:-32] + bytes(4096) + IMAGE[-32:])
    with pytest.raises(SnapshotInvalid, match="4128 bytes stand behind"), open_it(path):
        pass


def test_truncated_and_empty_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.db"
    for data, words in (
        (b"", "is empty"),
        (IMAGE[: len(IMAGE) // 2], "truncated"),
        (b"hello " * 1000, "not a bbolt database"),
        (gzip.compress(IMAGE), "gzip file.*gunzip"),
        (b"-----BEGIN AGE ENCRYPTED FILE-----\n", "armor"),
    ):
        path.write_bytes(data)
        error = (SnapshotInvalid, DatabaseInvalid, SealError)
        with pytest.raises(error, match=words) as caught, open_it(path):
            pass
        assert caught.value.hint


def test_tar_is_named(tmp_path: Path) -> None:
    path = tmp_path / "kit.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(__file__, "test.py")
    with pytest.raises(SnapshotInvalid, match="tar file"), open_it(path):
        pass


def test_what_is_no_regular_file_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, words in (
        (tmp_path, "a folder"),
        (pipe, "no regular file"),
        (Path("/dev/zero"), "no regular file"),
        (tmp_path / "nothing", "No such file"),
    ):
        with pytest.raises(SnapshotInvalid, match=words) as error, open_it(path):
            pass
        assert str(path) in str(error.value)


def test_database_that_etcd_writes_to_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "db"
    path.write_bytes(IMAGE[:-32])
    with path.open("rb") as etcd:
        fcntl.flock(etcd, fcntl.LOCK_EX)
        with pytest.raises(SnapshotInvalid, match="etcd is writing to"), open_it(path):
            pass
    with open_it(path) as found:
        assert found.trailer == "absent"


def test_sealed_file_needs_its_identity(tmp_path: Path, identity: pyrage.x25519.Identity) -> None:
    path = tmp_path / "data.db.zst.age"
    data = sealed(IMAGE, str(identity.to_public()))
    path.write_bytes(data)
    with pytest.raises(SealError, match="no identity is given"), open_it(path):
        pass
    other = tmp_path / "other"
    other.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    with pytest.raises(SealError, match=f"{path}.*None of the identities"):  # noqa: SIM117
        with open_it(path, identities=[other]):
            pass
    for damaged in (
        data[:-1],
        data[: len(data) // 2],
        data[:-20] + bytes([data[-20] ^ 1]) + data[-19:],
    ):
        path.write_bytes(damaged)
        with pytest.raises(SealError, match="damaged or cut off") as error:  # noqa: SIM117
            with open_it(path, identities=[tmp_path / "identity"]):
                pass
        assert str(path) in str(error.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.db.zst.age", "identity", "other"]


def test_spool_that_would_fill_up_is_said_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "snapshot.db.zst"
    path.write_bytes(zstandard.compress(IMAGE))
    monkeypatch.setattr(unwrap, "_RESERVE_BYTES", 1 << 60)  # more than any file system has free
    with pytest.raises(SpaceMissing, match="does not fit") as error, open_it(path):
        pass
    assert str(tmp_path) in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["snapshot.db.zst"]


def _touch(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(5000)
        file.write(b"other")


@pytest.mark.parametrize("how", ["bytes", "longer", "shorter"])
def test_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, how: str) -> None:
    path = tmp_path / "snapshot.db"
    path.write_bytes(IMAGE)
    os.utime(path, (0, 0))  # clocks of file systems tick slowly
    with open_it(path) as found:
        found.check_unchanged()
        if how == "bytes":
            _touch(path)
        else:
            os.truncate(path, len(IMAGE) + (1 if how == "longer" else -1))
        with pytest.raises(SnapshotInvalid, match=f"{path} was changed while .*the copy") as error:
            found.check_unchanged()
    assert error.value.path == str(path)


def test_fault_in_a_file_that_changed_is_told_as_the_change(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.db"
    path.write_bytes(IMAGE)
    os.utime(path, (0, 0))
    with pytest.raises(SnapshotInvalid, match="was changed while it was read"), open_it(path):
        _touch(path)
        raise DatabaseInvalid("page 1 is broken")


def test_copy_in_the_spool_is_read_whatever_becomes_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.db.zst"
    path.write_bytes(zstandard.compress(IMAGE))
    with open_it(path) as found:
        path.unlink()
        found.check_unchanged()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/proc/self/mem", "Input/output error"),
        pytest.param(
            "/sys/kernel/notes",
            "No such device",
            marks=pytest.mark.skipif(not os.path.isfile("/sys/kernel/notes"), reason="not here"),
        ),
    ],
)
def test_file_that_the_kernel_does_not_read_or_map_is_refused(
    tmp_path: Path, path: str, words: str
) -> None:
    with (
        pytest.raises(SnapshotInvalid, match=f"Snapshot {path} cannot be read: {words}") as error,
        open_it(Path(path), spool=tmp_path),
    ):
        pass
    assert error.value.path == path


def test_path_with_a_nul_cannot_exist(tmp_path: Path) -> None:
    with pytest.raises(SnapshotInvalid, match="cannot be opened"), open_it(tmp_path / "a\0b"):
        pass


def test_zstd_bomb_ends_by_its_first_page(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zst"
    path.write_bytes(zstandard.compress(bytes(64 << 20)))
    with pytest.raises((DatabaseInvalid, SnapshotInvalid), match="not a bbolt database"):  # noqa: SIM117
        with open_it(path):
            pass


def test_hand_made_image_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "db"
    path.write_bytes(bolt_writer.build({b"key": [], b"meta": []}))
    with open_it(path) as found:
        assert found.database.page_count


def test_entry_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "prod").mkdir()
    entry = "20261123T145000Z-7c9e1a2b"
    shelf = opened.Shelf(store.open_store(str(tmp_path)), names.Prefix("prod"), None)
    keys = opened.Keys((), str(tmp_path))
    with pytest.raises(ArchiveError) as caught, opened.open_entry(entry, shelf, keys):
        pass
    assert f"{tmp_path} has no entry {entry} of prod" in str(caught.value)
