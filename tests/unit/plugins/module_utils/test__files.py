# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that somebody named, which may be anything."""

from __future__ import annotations

import os
import stat
import tempfile
import typing as t
from pathlib import Path

import pytest
from unit.fixtures import reading

from ansible_collections.controlplane.etcd.plugins.module_utils import _files
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    escrow_keys,
    names,
    sealing,
    store,
    trust,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import EtcdToolError
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd import certificates
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts import files

if t.TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Reliability


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "prod" / "pipe"
    path.parent.mkdir()
    os.mkfifo(path)
    return path


def test_read_small_regular_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello")
    (tmp_path / "link").symlink_to("file")
    assert _files.read_small(str(tmp_path / "link")) == b"hello"
    assert _files.read_small(str(tmp_path / "file"), most=2) == b"he"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("pipe", "it is no regular file"),
        ("/dev/zero", "it is no regular file"),
        (".", "Is a directory"),
        ("nothing", "No such file or directory"),
        ("a\0b", "No such file or directory"),
    ],
)
def test_open_regular_anything_else_is_refused_at_once(pipe: Path, name: str, why: str) -> None:
    before = os.listdir("/proc/self/fd")
    with reading.deadline(), pytest.raises(OSError) as error:
        _files.open_regular(os.path.join(pipe.parent, name))
    assert error.value.strerror == why
    assert os.listdir("/proc/self/fd") == before


READERS: dict[str, Callable[[str], object]] = {
    "an identity": lambda path: sealing.load_identities([path]),
    "a signing key": trust.signing_from_key,
    "allowed signers": lambda path: trust.Signers.parse([path]),
    "a record of an archive": lambda path: _place(path).read(names.Prefix("prod"), "pipe"),
    "a file of an archive": lambda path: _place(path).open(names.Prefix("prod"), "pipe"),
    "a configuration": files.read_text,
}


def _place(path: str) -> store.DirectoryStore:
    return store.DirectoryStore(str(Path(path).parents[1]))


def test_pipe_in_a_files_place_hangs_no_reader(pipe: Path, reliability: Reliability) -> None:
    for read in READERS.values():
        with reading.deadline(), pytest.raises(EtcdToolError, match="no regular file") as error:
            read(str(pipe))
        assert str(pipe) in str(error.value)
    with reading.deadline():
        assert certificates.Certificate.from_file(str(pipe)) is None
        (key,) = escrow_keys.keys_at_hand([str(pipe)])
        assert key.recipient is None and "no regular file" in key.problem
    reliability(
        f"a named pipe or a device in the place of {', '.join(READERS)}",
        "refused at once; the message names it",
        area="content",
    )


@pytest.mark.parametrize("by", ["folder", "link"])
def test_unnamed_never_has_a_name(tmp_path: Path, by: str) -> None:
    try:
        os.close(os.open(tmp_path, os.O_RDWR | os.O_TMPFILE))
    except OSError as exc:
        pytest.skip(f"no O_TMPFILE here: {exc}")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    before = (tmp_path / "folder").stat().st_mtime_ns
    with _files.unnamed(str(tmp_path / by)) as made:
        made.write(b"held")
        made.flush()
        facts = os.fstat(made.fileno())
        assert (facts.st_nlink, stat.S_IMODE(facts.st_mode), facts.st_size) == (0, 0o600, 4)
        assert not os.get_inheritable(made.fileno())
    # A name that was made and removed again would have changed the folder.
    assert (tmp_path / "folder").stat().st_mtime_ns == before


def test_unnamed_is_unlinked_where_the_file_system_must_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "_O_TMPFILE_WORKS", False)
    with _files.unnamed(str(tmp_path), buffering=0) as made:
        made.write(b"held")
        assert os.fstat(made.fileno()).st_nlink == 0
        assert list(tmp_path.iterdir()) == []
