# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The transfer to the controller."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import shlex
from pathlib import Path

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import TransferError
from ansible_collections.controlplane.etcd.plugins.plugin_utils import _transfer

DATA = os.urandom(100_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


def wish(dest: Path, sha256: str | None = SHA256) -> _transfer.Wish:
    return _transfer.Wish(host="cp1", src="/var/tmp/data.db.zst.age", dest=str(dest), sha256=sha256)


def test_receive_whole_file_gets_its_name_and_mode(tmp_path: Path) -> None:
    dest = tmp_path / "data"
    _transfer.receive(
        wish(dest),
        lambda part: Path(part).write_bytes(DATA) and None,
        size_bytes=len(DATA),
        sha256=SHA256,
    )
    assert dest.read_bytes() == DATA
    assert dest.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["data"]


@pytest.mark.parametrize(
    "came", [DATA[:-1], b"", DATA[:-1] + bytes([DATA[-1] ^ 1])], ids=["cut", "empty", "flipped"]
)
def test_receive_other_bytes_leaves_nothing(tmp_path: Path, came: bytes) -> None:
    with pytest.raises(TransferError, match="from cp1 did not arrive whole"):
        _transfer.receive(
            wish(tmp_path / "data"),
            lambda part: Path(part).write_bytes(came) and None,
            size_bytes=len(DATA),
            sha256=SHA256,
        )
    assert os.listdir(tmp_path) == []


def test_receive_failing_carry_leaves_nothing(tmp_path: Path) -> None:
    def carry(part: str) -> None:
        Path(part).write_bytes(DATA[:5])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _transfer.receive(wish(tmp_path / "data"), carry, size_bytes=len(DATA), sha256=SHA256)
    assert os.listdir(tmp_path) == []


def test_check_offer_other_sha256_names_host_and_both(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match=f"cp1.*{'0' * 64}.*expected {SHA256}"):
        _transfer.check_offer(wish(tmp_path / "data"), size_bytes=1, sha256="0" * 64)


def test_check_offer_no_folder_names_it(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match=f"no folder {tmp_path}/none"):
        _transfer.check_offer(wish(tmp_path / "none" / "data"), size_bytes=1, sha256=SHA256)


def test_check_offer_more_than_the_disk_holds_gives_figures(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match=f"{1 << 60} bytes.*free"):
        _transfer.check_offer(wish(tmp_path / "data"), size_bytes=1 << 60, sha256=SHA256)


def test_already_there_only_with_the_right_sha256(tmp_path: Path) -> None:
    dest = tmp_path / "data"
    assert _transfer.already_there(wish(dest)) is None
    dest.write_bytes(DATA[1:])
    assert _transfer.already_there(wish(dest)) is None
    dest.write_bytes(DATA)
    assert _transfer.already_there(wish(dest)) == {"size_bytes": len(DATA), "sha256": SHA256}
    assert _transfer.already_there(wish(dest, None)) is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("-C -o ControlMaster=auto -o ControlPersist=60s", []),
        ("", []),
        ("-oControlPath=/x -o 'Compression yes' -F /etc/x", ["-F", "/etc/x"]),
        (
            "-o ProxyCommand='ssh -C -W %h:%p jump' -4",
            ["-o", "ProxyCommand=ssh -C -W %h:%p jump", "-4"],
        ),
    ],
    ids=["ansibles-default", "none", "other-spellings", "proxy-kept"],
)
def test_own_ssh_args_drops_sharing_and_compression(given: str, kept: list[str]) -> None:
    words = shlex.split(_transfer.own_ssh_args(given))
    assert words[:6] == ["-o", "Compression=no", "-o", "ControlMaster=no", "-o", "ControlPath=none"]
    assert words[10:] == kept


def test_in_slices_puts_them_together() -> None:
    target = io.BytesIO()
    data = os.urandom(9_000_001)
    _transfer.in_slices(
        lambda offset, length: base64.b64encode(data[offset : offset + length]).decode(),
        len(data),
        target,
    )
    assert target.getvalue() == data


@pytest.mark.parametrize(
    ("said", "offered"),
    [
        # OpenSSH 9.2: exit status 255 in both cases
        ("subsystem request failed on channel 0\nConnection closed", False),
        ("client_loop: send disconnect: Broken pipe\nConnection closed", True),
    ],
    ids=["no-sftp", "cut-off"],
)
def test_not_offered_is_no_lost_connection(said: str, offered: bool) -> None:
    error = Exception(f"Failed to connect to the host via sftp: {said}")
    assert _transfer.not_offered(error) != offered
