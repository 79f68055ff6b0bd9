# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stream's way to the spool."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import io
import mmap
import os
import stat
import threading
import typing as t
from pathlib import Path

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    SnapshotInvalid,
    SpaceMissing,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.take import (
    drain,
    open_spool,
)

SOURCE = "https://127.0.0.1:2379"
IMAGE = bytes(range(256)) * 1024
STREAM = IMAGE + hashlib.sha256(IMAGE).digest()


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize(
    "blobs",
    [
        pytest.param([IMAGE, STREAM[-32:]], id="as-etcd-sends-it"),
        pytest.param([STREAM], id="one-blob"),
        pytest.param(cut(STREAM, 7), id="trailer-cut-in-pieces"),
        pytest.param([b"", *cut(IMAGE, 32768), b"", STREAM[-32:], b""], id="empty-blobs-between"),
    ],
)
def test_drain_whole_stream_gives_size_and_sha256_of_the_image(
    tmp_path: Path, blobs: list[bytes]
) -> None:
    with open_spool(str(tmp_path)) as spool:
        spooled = drain(blobs, spool, source=SOURCE, directory=str(tmp_path))
        spool.seek(0)
        assert spool.read() == STREAM
    assert spooled.image_bytes == len(IMAGE)
    assert spooled.sha256 == hashlib.sha256(IMAGE).hexdigest()


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(STREAM[-32:], id="trailer-alone"),
        pytest.param(STREAM[:-1], id="last-byte-lost"),
        pytest.param(IMAGE, id="trailer-lost"),
        pytest.param(STREAM[:4096] + STREAM[8192:], id="a-page-lost"),
        pytest.param(bytes([STREAM[0] ^ 1]) + STREAM[1:], id="a-bit-flipped"),
        pytest.param(STREAM[:-1] + bytes([STREAM[-1] ^ 1]), id="trailer-flipped"),
    ],
)
def test_drain_damaged_stream_names_the_endpoint(
    tmp_path: Path, stream: bytes, reliability: t.Any, request: pytest.FixtureRequest
) -> None:
    with open_spool(str(tmp_path)) as spool, pytest.raises(SnapshotInvalid, match=SOURCE) as failed:
        drain(cut(stream, 4096), spool, source=SOURCE, directory=str(tmp_path))
    assert failed.value.hint
    what = request.node.callspec.id.replace("-", " ")
    reliability(
        f"snapshot stream damaged: {what}",
        "refused by the trailer, the endpoint is named",
        message=str(failed.value),
    )


def test_drain_full_disk_names_folder_and_option() -> None:
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(SpaceMissing) as failed:
        drain([IMAGE], t.cast(t.BinaryIO, full), source=SOURCE, directory="/spool")
    assert "/spool" in str(failed.value)
    assert "spool_dir" in str(failed.value)


def test_drain_disk_that_is_full_on_its_way_names_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that allocates late says so when it is synced, in the other thread."""

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full)
    before = threading.active_count()
    blobs = cut(IMAGE * 1200, 1 << 20)
    with open_spool(str(tmp_path)) as spool, pytest.raises(SpaceMissing) as failed:
        drain(blobs, spool, source=SOURCE, directory=str(tmp_path))
    assert f"into {tmp_path}: no space left" in str(failed.value)
    assert threading.active_count() == before


def test_drain_reader_that_fails_leaves_no_thread(tmp_path: Path) -> None:
    def stream() -> t.Iterator[bytes]:
        yield IMAGE
        raise EOFError("the stream broke off")

    before = threading.active_count()
    with open_spool(str(tmp_path)) as spool, pytest.raises(EOFError):
        drain(stream(), spool, source=SOURCE, directory=str(tmp_path))
    assert threading.active_count() == before


@pytest.mark.parametrize("keep_cached", [True, False], ids=["kept", "dropped"])
def test_drain_leaves_the_page_cache_as_asked(tmp_path: Path, keep_cached: bool) -> None:
    image = IMAGE * 300
    stream = [*cut(image, 1 << 20), hashlib.sha256(image).digest()]
    told: list[int] = []
    # /tmp may be memory, where nothing can be dropped.
    with open_spool("/var/tmp") as spool:
        drain(
            stream,
            spool,
            source=SOURCE,
            directory="/var/tmp",
            reached=told.append,
            keep_cached=keep_cached,
        )
        assert told == [32 << 20, 64 << 20]
        cached = _cached(spool, len(image))
    assert (cached > 0.9) if keep_cached else (cached < 0.1)


def _cached(file: t.BinaryIO, size: int) -> float:
    """Return which part of a file is in the page cache (mincore(2))."""
    pages = (ctypes.c_ubyte * (size // mmap.PAGESIZE))()
    with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) as mapped:
        start = ctypes.c_char.from_buffer(mapped)
        address = ctypes.c_void_p(ctypes.addressof(start))
        assert ctypes.CDLL(None).mincore(address, ctypes.c_size_t(size), pages) == 0
        del start
    return sum(each & 1 for each in pages) / len(pages)


def test_open_spool_is_unnamed_and_private(tmp_path: Path) -> None:
    with open_spool(str(tmp_path)) as spool:
        spool.write(b"secret")
        assert os.listdir(tmp_path) == []
        facts = os.fstat(spool.fileno())
        assert stat.S_IMODE(facts.st_mode) == 0o600
        assert facts.st_nlink == 0


def test_drain_writes_short_writes_to_the_end() -> None:
    class Short(io.FileIO):
        def write(self, data: t.Any) -> int:
            return super().write(memoryview(data)[:1000]) or 0

    with Short(os.memfd_create("spool"), "r+") as spool:
        drain(cut(STREAM, 5000), t.cast(t.BinaryIO, spool), source=SOURCE, directory="/")
        spool.seek(0)
        assert spool.read() == STREAM
