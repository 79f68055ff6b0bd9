# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that seals beside the stream: what it makes, what it says, and that it goes."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pyrage
import pytest
import zstandard

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import SealError
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot import sealer as tested
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.sealer import Sealer

IDENTITY = pyrage.x25519.Identity.generate()
RECIPIENTS = (str(IDENTITY.to_public()),)
COLLECTIONS = str(Path(str(tested.__file__)).parents[6])
# Half of it doesn't compress: what is sealed is more than any buffer on the way holds.
DATA = random.Random(1).randbytes(3 << 20) + bytes(3 << 20)


class Files(t.NamedTuple):
    """What is sealed, and into what."""

    source: t.BinaryIO
    target: t.BinaryIO

    def opened(self) -> bytes:
        """Return what the target holds, as age and zstd open it."""
        self.target.seek(0)
        clear = io.BytesIO()
        sealed = pyrage.decrypt(self.target.read(), [IDENTITY])
        zstandard.ZstdDecompressor().copy_stream(io.BytesIO(sealed), clear)
        return clear.getvalue()


@pytest.fixture
def files(tmp_path: Path) -> t.Iterator[Files]:
    with (
        (tmp_path / "source").open("w+b", 0) as source,
        (tmp_path / "target").open("w+b") as target,
    ):
        yield Files(source, target)


def sealing(files: Files, recipients: t.Sequence[str] = RECIPIENTS) -> Sealer:
    return Sealer(files.source.fileno(), files.target.fileno(), recipients)


def child() -> int:
    """Return the one child that this process has."""
    (found,) = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return int(found)


def is_gone(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_file_is_sealed_while_it_grows(files: Files) -> None:
    with sealing(files) as sealer:
        for at in range(0, len(DATA), 1 << 19):
            files.source.write(DATA[at : at + (1 << 19)])
            sealer.reached(files.source.tell())
        sealer.whole(len(DATA))
        sealed = sealer.answer()
    assert files.source.tell() == len(DATA)  # the position is the writer's own
    assert files.opened() == DATA
    assert sealed.clear_size_bytes == len(DATA)
    assert sealed.size_bytes == os.fstat(files.target.fileno()).st_size
    files.target.seek(0)
    assert sealed.sha256 == hashlib.sha256(files.target.read()).hexdigest()


def test_bytes_behind_the_end_are_not_sealed(files: Files) -> None:
    files.source.write(DATA)
    with sealing(files) as sealer:
        sealer.whole(1000)
        assert sealer.answer().clear_size_bytes == 1000
    assert files.opened() == DATA[:1000]


def test_file_is_compressed_only_without_recipients(files: Files) -> None:
    files.source.write(DATA)
    with sealing(files, ()) as sealer:
        sealer.whole(len(DATA))
        sealer.answer()
    files.target.seek(0)
    clear = io.BytesIO()
    zstandard.ZstdDecompressor().copy_stream(files.target, clear)
    assert clear.getvalue() == DATA


def test_full_disk_is_said_as_the_systems_error(files: Files) -> None:
    files.source.write(DATA)
    with open("/dev/full", "wb", buffering=0) as full:
        into_full = Sealer(files.source.fileno(), full.fileno(), RECIPIENTS)
        with pytest.raises(OSError, match="No space left") as failed, into_full as sealer:
            sealer.whole(len(DATA))
            sealer.answer()
    assert failed.value.errno == errno.ENOSPC


def test_full_disk_is_said_before_the_stream_ends(files: Files) -> None:
    files.source.write(DATA)
    with open("/dev/full", "wb", buffering=0) as full:
        into_full = Sealer(files.source.fileno(), full.fileno(), ())
        with pytest.raises(OSError, match="No space left"), into_full as sealer:
            ends = time.monotonic() + 30
            while time.monotonic() < ends:
                sealer.reached(len(DATA))
                time.sleep(0.02)


def test_unusable_recipient_is_a_seal_error(files: Files) -> None:
    wrong = sealing(files, ["age1nobody"])
    with pytest.raises(SealError, match="no.* valid age X25519 public key") as failed, wrong as it:
        it.whole(0)
        it.answer()
    assert failed.value.hint


def test_killed_process_is_a_seal_error(files: Files) -> None:
    files.source.write(DATA)
    with pytest.raises(SealError, match="its process was killed by signal 9"), sealing(files) as it:
        it.reached(len(DATA))
        os.kill(child(), signal.SIGKILL)
        it.whole(len(DATA))
        it.answer()


def test_process_goes_with_its_with_block(files: Files) -> None:
    files.source.write(DATA)
    with pytest.raises(KeyError), sealing(files) as sealer:
        sealer.reached(len(DATA))
        pid = child()
        raise KeyError
    assert is_gone(pid)
    assert not Path(f"/proc/{pid}").exists()


STARTER = f"""
import os, sys, time
from {tested.__name__} import Sealer
with open(sys.argv[1], "w+b", 0) as source, open(sys.argv[2], "w+b") as target:
    source.write(bytes(1 << 20))
    with Sealer(source.fileno(), target.fileno(), ()) as sealer:
        sealer.reached(1 << 20)
        print(open(f"/proc/self/task/{{os.getpid()}}/children").read(), flush=True)
        time.sleep(60)
"""


def test_process_dies_with_its_starter(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, str(tmp_path / "source"), str(tmp_path / "target")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([COLLECTIONS, *sys.path])},
        stdout=subprocess.PIPE,
    ) as starter:
        assert starter.stdout
        pid = int(starter.stdout.readline())
        ends = time.monotonic() + 10
        while "sealer" not in command(pid):  # it has come to life
            assert time.monotonic() < ends
        starter.kill()
    while not is_gone(pid):
        assert time.monotonic() < ends, command(pid)


def command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode()


def test_command_line_holds_no_key(files: Files) -> None:
    with sealing(files):
        words = command(child())
    assert "age1" not in words
    assert COLLECTIONS not in words
