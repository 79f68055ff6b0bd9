# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd_snapshot_info on bad files as its user gives them: options in, JSON out, and no traceback."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import typing as t
import zipfile
from collections import Counter
from pathlib import Path

import pyrage
import pytest
import zstandard
from unit.fixtures import damage, rich, snapshots

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import sealing
from ansible_collections.controlplane.etcd.plugins.modules import etcd_snapshot_info

if t.TYPE_CHECKING:
    from conftest import Reliability
    from unit.fixtures.asking import Ask, Keys

IMAGE = snapshots.image("3.6.16/auth")


def _sealed(clear: bytes, *recipients: str) -> bytes:
    target = io.BytesIO()
    sealing.seal(io.BytesIO(clear), target, recipients)
    return target.getvalue()


def _archive(kind: str) -> bytes:
    target = io.BytesIO()
    if kind == "tar":
        with tarfile.open(fileobj=target, mode="w") as tar:
            member = tarfile.TarInfo("snapshot.db")
            member.size = len(IMAGE)
            tar.addfile(member, io.BytesIO(IMAGE))
    else:
        with zipfile.ZipFile(target, "w") as packed:
            packed.writestr("snapshot.db", IMAGE)
    return target.getvalue()


WRONG_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "text": (b"hello\n" * 1000, "not a bbolt database"),
    "zeros": (bytes(100_000), "not a bbolt database"),
    "one byte": (b"\0", "not a bbolt database"),
    "a manifest": (b'{"schema": "controlplane.etcd/manifest/v1"}', "not a bbolt database"),
    "tar": (_archive("tar"), "is a tar file. Unpack it with tar -x"),
    "zip": (_archive("zip"), "is a zip file"),
    "gzip": (gzip.compress(IMAGE), "is a gzip file. Unpack it with gunzip"),
    "zstd of nothing": (zstandard.compress(b""), "is empty"),
    "zstd of text": (zstandard.compress(b"hello\n" * 1000), "not a bbolt database"),
    "zstd of gzip": (zstandard.compress(gzip.compress(IMAGE)), "not a bbolt database"),
    "zstd of zstd": (zstandard.compress(zstandard.compress(IMAGE)), "not a bbolt database"),
    "zstd, twice in a row": (zstandard.compress(IMAGE) * 2, "goes on after its end"),
    "zstd, magic alone": (b"\x28\xb5\x2f\xfd", "cut off"),
    "zstd, a window of gigabytes": (b"\x28\xb5\x2f\xfd\x00\xf8" + bytes(100), "is damaged"),
    "age, magic alone": (b"age-encryption.org/v1\n", "cannot be opened"),
    "age in armor": (b"-----BEGIN AGE ENCRYPTED FILE-----\n", "armor"),
    "a WAL of etcd": (b"\x04\0\0\0\0\0\0\x84\x08\x04\x10\0" + bytes(4096), "not a bbolt database"),
    "an image twice": (IMAGE * 2, "stand behind"),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_wrong_kind_of_file_is_named(tmp_path: Path, keys: Keys, ask: Ask, name: str) -> None:
    data, finding = WRONG_FILES[name]
    path = tmp_path / "snapshot.db"
    path.write_bytes(data)
    said = ask(path, identities=[keys.identity])
    assert said["failed"] and finding in said["msg"], said["msg"]


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, ask: Ask) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    for path, finding in (
        (tmp_path, "it is a folder"),
        (tmp_path / "fifo", "no regular file"),
        (Path("/dev/zero"), "no regular file"),
        (Path("/dev/null"), "no regular file"),
        (tmp_path / "loop", "cannot be opened"),
        (tmp_path / "dangling", "No such file"),
        (tmp_path / "absent" / "db", "No such file"),
    ):
        assert finding in ask(path)["msg"]


def test_sealed_file_without_its_identity_is_refused(tmp_path: Path, keys: Keys, ask: Ask) -> None:
    path = tmp_path / "data.db.zst.age"
    path.write_bytes(_sealed(IMAGE, keys.recipient))
    assert not ask(path, identities=[keys.other, keys.identity]).get("failed")
    assert "no identity is given" in ask(path)["msg"]
    assert "None of the identities given" in ask(path, identities=[keys.other])["msg"]


def test_age_without_zstd_inside_is_named(tmp_path: Path, keys: Keys, ask: Ask) -> None:
    path = tmp_path / "snapshot.db.age"
    recipient = pyrage.x25519.Recipient.from_str(keys.recipient)
    for clear in (IMAGE, gzip.compress(IMAGE)):
        path.write_bytes(pyrage.encrypt(clear, [recipient]))
        said = ask(path, identities=[keys.identity])
        assert "There is no zstd inside" in said["msg"] and "age -d -i" in said["msg"]


BAD_OPTIONS: dict[str, tuple[dict[str, t.Any], str]] = {
    "spool_dir that is not there": ({"spool_dir": "/nowhere"}, "spooled into /nowhere: No such"),
    "spool_dir that is a file": ({"spool_dir": "/dev/null"}, "spooled into /dev/null: Not a dir"),
    "spool_dir that takes no files": ({"spool_dir": "/proc"}, "spooled into /proc: No such"),
    "query, nested deep": ({"query": "[" * 5000}, "Option query is not a JMESPath"),
    "query, of parentheses": ({"query": "(" * 3000}, "Option query is not a JMESPath"),
    "query, a step of 0": ({"query": "[::0]"}, "slice step cannot be zero"),
    "query, an odd number": ({"query": f"[?size_bytes>`{'9' * 9000}`]"}, "Option query "),
    "query, a deep literal": ({"query": f"`{'[' * 100_000}`"}, "Option query is not a JMESPath"),
    "query, an expression": ({"query": "&name"}, "Option query gives what JSON can't hold"),
    "query, a list of them": ({"query": "[&name]"}, "Option query gives what JSON can't hold"),
    "query, not a number": ({"query": "to_number('NaN')"}, "Option query gives what JSON"),
    "query, infinite": ({"query": "ceil(to_number('1e999'))"}, "Option query does not fit"),
    "query, half a character": ({"query": '`"\\ud800"`'}, "Option query gives what JSON can't"),
    "query, a long pipe": ({"query": "|".join(["[0]"] * 3000)}, "Option query is nested"),
    "query, a long chain": ({"query": "a||" * 3000 + "a"}, "Option query is nested"),
    "query, as deep as can be": ({"query": "abs(" * 190 + "@" + ")" * 190}, "does not fit the obj"),
    "etcd_version, long": ({"etcd_version": "3.5." + "9" * 5000}, "is no version of etcd"),
    "etcd_version, a wide digit": ({"etcd_version": "3.5.\uff112"}, "is no version of etcd"),
    "hash_revision past the end": ({"hash_revision": 1 << 70}, "cannot be had from this image"),
    "hash_revision below 0": ({"hash_revision": -5}, "Option hash_revision is -5"),
    "compact revision below -1": (
        {"hash_compact_revision": -2},
        "Option hash_compact_revision is -2",
    ),
    "compare_to a folder": ({"compare_to": "/proc"}, "Snapshot /proc cannot be read: it is a fold"),
    "compare_to a device": ({"compare_to": "/dev/zero"}, "Snapshot /dev/zero cannot be read"),
    "compare_to of a home": ({"compare_to": "~/x.db"}, "name a file by its absolute path."),
    "compare_to in a folder": ({"compare_to": "x.db"}, "Option compare_to is 'x.db'"),
    "id that is a path": ({"id": "/a.db"}, "name a file by its absolute path in option path."),
    "id that is none": ({"id": "x"}, "Option id is 'x': neither latest nor the ID"),
    "identities that are no file": (
        {"identities": ["/dev/zero"]},
        "Identity file /dev/zero cannot be read on the controller: it is no regular file",
    ),
    "identities with a NUL": ({"identities": ["/a\0b"]}, "on the controller: No such file"),
}


@pytest.mark.filterwarnings("ignore:deprecated string literal")
@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_bad_options_are_named(tmp_path: Path, keys: Keys, ask: Ask, name: str) -> None:
    options, finding = BAD_OPTIONS[name]
    path = tmp_path / "data.db.zst.age"
    path.write_bytes(_sealed(IMAGE, keys.recipient))
    said = ask(path, **{"identities": [keys.identity], "names_path": False, **options})
    assert said["failed"] and finding in said["msg"], said["msg"]


@pytest.mark.parametrize("query", ["", " \n"])
def test_blank_query_is_none(tmp_path: Path, ask: Ask, query: str) -> None:
    (tmp_path / "db").write_bytes(IMAGE)
    said = ask(tmp_path / "db", query=query)
    assert not said.get("failed") and "query_result" not in said


def test_path_of_nothing_is_no_file(ask: Ask) -> None:
    said = ask(t.cast("Path", ""), names_path=False)
    assert "cannot be opened: No such file" in said["msg"]


@pytest.mark.parametrize("asked", [0, 68])
def test_compact_revision_before_the_own_is_refused(tmp_path: Path, ask: Ask, asked: int) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(snapshots.image("3.6.16/tombstone"))
    assert ask(path)["snapshot"]["compact_revision"] == 69
    said = ask(path, hash_compact_revision=asked)
    assert f"with compact revision {asked} cannot be had" in said["msg"]
    assert ask(path, hash_compact_revision=69)["snapshot"] == ask(path)["snapshot"]


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    "name",
    ["data.db.zst.age", "older.db", "identity0", "link", "./older.db", "signers", "signing_key"],
)
def test_dest_never_takes_the_place_of_what_is_read(
    tmp_path: Path, keys: Keys, ask: Ask, name: str, check: bool
) -> None:
    path, older = tmp_path / "data.db.zst.age", tmp_path / "older.db"
    for each in ("signers", "signing_key"):
        (tmp_path / each).write_text("ssh-ed25519 AAAA")
    path.write_bytes(_sealed(IMAGE, keys.recipient))
    older.write_bytes(IMAGE)
    (tmp_path / "link").symlink_to(older)
    before = {each: each.read_bytes() for each in tmp_path.iterdir()}
    dest = f"{tmp_path}/{name}"
    options: dict[str, t.Any] = {
        "identities": [keys.identity],
        "compare_to": str(older),
        "dest": dest,
        "allowed_signers": [f"{tmp_path}/signers"],
        "signing_key": f"{tmp_path}/signing_key",
        "_ansible_check_mode": check,
    }
    said = ask(path, names_path=False, **options)
    assert said["error"]["kind"] == "option_invalid" and dest in said["msg"]
    assert {each: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_missing_library_is_named_before_anything_is_read(tmp_path: Path) -> None:
    # As on a host where no environment was made: where there is one, a module starts again in it.
    module = etcd_snapshot_info.__name__
    code = (
        f"import sys; sys.modules['google_crc32c'] = None; import {module} as m;"
        "m._module._RUNTIME_PYTHON = '/nowhere/python'; m.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": {"path": str(tmp_path / "nothing.db")}}),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(done.stdout)["error"]["kind"] == "dependency_missing", done.stderr


def test_terabytes_of_holes_are_read_no_further_than_needed(tmp_path: Path, ask: Ask) -> None:
    """A file of a terabyte that takes no room: all of it, or what stands behind an image."""
    path = tmp_path / "sparse.db"
    for head, failed in ((b"", True), (IMAGE[:-32], False), (b"hello", True)):
        path.write_bytes(head)
        os.truncate(path, 1 << 40)
        said = ask(path)
        assert bool(said.get("failed")) is failed
        if not failed:
            assert said["snapshot"]["db_size_bytes"] == len(IMAGE) - 32
            assert said["file"]["size_bytes"] == 1 << 40
    layout = damage.Layout(rich.image())
    counted = (1 << 40) // layout.page_size + 1
    path.write_bytes(layout.put(layout.meta + 40, "<Q", counted))
    os.truncate(path, 1 << 40)
    assert "is truncated" in ask(path)["msg"]


def _bomb(head: bytes, size: int) -> bytes:
    """Return a zstd frame of `size` bytes: some, then zeros in blocks of one byte each."""
    frame = b"\x28\xb5\x2f\xfd\xc0\x38" + struct.pack("<Q", size)
    blocks = [struct.pack("<I", len(head) << 3)[:3] + head] if head else []
    rest, block = size - len(head), 128 * 1024
    full = struct.pack("<I", block << 3 | 1 << 1)[:3] + b"\0"
    return frame + b"".join(blocks) + full * (rest // block) + b"\x01\0\0"


def test_zstd_bomb_is_given_up(tmp_path: Path, ask: Ask) -> None:
    """64 GiB in two megabytes: as zeros, and behind a good image."""
    path = tmp_path / "bomb.zst"
    head = IMAGE[:-32]
    for data, finding in ((b"", "not a bbolt database"), (head, "its meta pages say")):
        path.write_bytes(_bomb(data, 64 << 30))
        assert path.stat().st_size < 3 << 20
        assert finding in ask(path)["msg"]


def test_damaged_files_in_every_form(
    tmp_path: Path, keys: Keys, ask: Ask, reliability: Reliability
) -> None:
    """Flips and cuts of the file as it lies on the disk."""
    forms = {
        "plain, with its trailer": IMAGE,
        "compressed": _sealed(IMAGE),
        "sealed": _sealed(IMAGE, keys.recipient),
    }
    count, tried = Counter[str](), Counter[str]()
    path = tmp_path / "snapshot"
    for form, data in forms.items():
        path.write_bytes(data)
        told = ask(path, identities=[keys.identity])["snapshot"]["sha256"]
        for seed in range(60):
            what, bad = damage.flip(data, seed)
            path.write_bytes(bad)
            said = ask(path, identities=[keys.identity])
            # A bit of zstd's frame header may mean nothing; other content is never told.
            same = form == "compressed" and said.get("snapshot", {}).get("sha256") == told
            assert said.get("failed") or same, f"{form}: {what}"
            count[form] += bool(said.get("failed"))
            tried[form] += 1
        for size in range(0, len(data), max(1024, len(data) // 25)):
            path.write_bytes(data[:size])
            said = ask(path, identities=[keys.identity])
            assert said.get("failed"), f"{form}: cut at {size}"
            count[form] += 1
            tried[form] += 1
    reliability(
        "etcd_snapshot_info on a snapshot with one byte flipped, or cut: plain with its trailer, "
        "compressed, sealed",
        "; ".join(f"{form}: {count[form]} of {tried[form]} are refused" for form in forms)
        + "; the message names the file and what to do, and nothing else is told",
        area="content",
    )


def test_damaged_images_without_their_checksums(tmp_path: Path, ask: Ask) -> None:
    """What somebody reads all the same, with skip_hash_check or as a bare db file."""
    path = tmp_path / "snapshot.db"
    layout = damage.Layout(rich.image())
    lies = list(damage.everything(layout))[::40]
    lies += [damage.flip(layout.image, seed, layout.used) for seed in range(60)]
    ends = Counter[bool]()
    for _what, bad in lies:
        path.write_bytes(bad + bytes(32))
        said = ask(path, skip_hash_check=True, query="[*]", limit=3)
        ends[bool(said.get("failed"))] += 1
        if not said.get("failed"):
            assert said["checks"][0]["result"] == "failed"
    assert ends[True] > 30 and ends[False] > 5


@pytest.mark.parametrize("name", [name for name in snapshots.SCENARIOS if "auth" in name])
def test_snapshot_of_every_etcd_is_told(tmp_path: Path, ask: Ask, name: str) -> None:
    """From 3.2 on: what that etcd's own `snapshot status` says."""
    path = tmp_path / "snapshot.db"
    path.write_bytes(snapshots.image(name))
    told, status = ask(path), snapshots.facts(name)["status"]
    assert told["snapshot"]["status_hash"] == f"{status['hash']:08x}"
    assert told["snapshot"]["status_revision"] == status["revision"]
    assert told["snapshot"]["db_size_bytes"] == status["totalSize"]
    assert status["totalKey"] in (told["snapshot"]["entry_count"], told["snapshot"]["key_count"])
    assert told["checks"][0]["result"] == "passed"
    assert told["etcd"]["cluster_version"] == ".".join(name.split(".")[:2]) + ".0"
    assert told["members"][0]["name"] == "recorder"
    assert told["snapshot"]["auth_enabled"] and told["snapshot"]["lease_count"] == 1
