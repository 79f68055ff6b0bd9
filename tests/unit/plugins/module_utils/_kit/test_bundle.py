# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A kit's file: the same bytes for the same tree, and the same tree from its bytes."""

from __future__ import annotations

import hashlib
import io
import os
import resource
import stat
import subprocess
import tarfile
import typing as t
from pathlib import Path

import pyrage
import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import sealing
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    KitError,
    OptionInvalid,
    SealError,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._kit import bundle, take

UNSEALED: dict[str, tuple[str, ...]] = {"encryption": (), "pki": ()}


def plan_of(root: Path, **options: t.Any) -> take.Plan:
    return take.plan(take.Options(host="cp1", root=str(root), **options))


def tars(plan: take.Plan) -> dict[str, bytes]:
    return {each.kit.part: each.open().read() for each in plan.bundles}


def facts_of(root: Path) -> dict[str, tuple[t.Any, ...]]:
    """Return mode, owner, time (whole seconds) and content of all that lies in a tree."""
    found: dict[str, tuple[t.Any, ...]] = {}
    for path in root.rglob("*"):
        facts = path.lstat()
        content: str | bytes = ""
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        mode = 0 if path.is_symlink() else stat.S_IMODE(facts.st_mode)
        name = os.fsencode(path.relative_to(root)).hex()
        found[name] = (mode, facts.st_uid, facts.st_gid, int(facts.st_mtime), content)
    return found


def test_kit_put_back_by_tar_equals_the_original(kubeadm_host: Path, tmp_path: Path) -> None:
    pki = kubeadm_host / "etc/kubernetes/pki"
    Path(os.fsdecode(os.fsencode(pki) + b"/caf\xe9.crt")).write_text("odd name")
    long = pki / ("long-" * 24) / ("name-" * 24)
    long.parent.mkdir(mode=0o710)
    long.write_text("a path longer than a tar header's 100 bytes")
    os.utime(pki / "ca.crt", (1000000000, 1000000000))
    (pki / "sa.key").chmod(0o640)
    if os.geteuid() == 0:  # only root may give files away
        os.chown(pki / "sa.key", 4711, 815)
    (kubeadm_host / "var/lib/etcd").rmdir()  # an empty folder is no file of the kit
    system = {"etc", "var", "var/lib"}  # tar makes them with the modes of its own
    before = facts_of(kubeadm_host)
    back = tmp_path / "back"
    back.mkdir()
    for data in tars(plan_of(kubeadm_host)).values():
        subprocess.run(["tar", "-xpf", "-", "-C", back], input=data, check=True)
    (back / "index.json").unlink()
    after = facts_of(back)
    for name in system:
        before.pop(name.encode().hex())
        after.pop(name.encode().hex())
    assert after == before


def test_same_tree_gives_the_same_bytes(kubeadm_host: Path, tmp_path: Path) -> None:
    first, again = tars(plan_of(kubeadm_host)), tars(plan_of(kubeadm_host))
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", kubeadm_host, copy], check=True)
    assert first == again == tars(plan_of(copy))
    (kubeadm_host / "etc/kubernetes/pki/sa.pub").write_bytes(b"another")
    changed = tars(plan_of(kubeadm_host))
    assert changed["pki"] != first["pki"]
    assert changed["encryption"] == first["encryption"]


def test_size_is_known_before(kubeadm_host: Path) -> None:
    for each in plan_of(kubeadm_host).bundles:
        data = each.open().read()
        assert len(data) == each.size_bytes
        assert len(data) % tarfile.RECORDSIZE == 0
        stream = each.open()
        pieces = iter(lambda stream=stream: stream.read(1000), b"")
        assert b"".join(pieces) == data


def test_index_tells_what_why_and_whose(kubeadm_host: Path) -> None:
    plan = plan_of(kubeadm_host)
    data = tars(plan)
    kit = bundle.read_index(io.BytesIO(data["pki"]))
    (sa,) = kit.by_name("sa.key")
    path = kubeadm_host / "etc/kubernetes/pki/sa.key"
    assert sa.path == "/etc/kubernetes/pki/sa.key"
    assert sa.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (sa.size_bytes, sa.mode, sa.uid) == (path.stat().st_size, "0600", os.getuid())
    assert "kube-apiserver.yaml --service-account-signing-key-file" in sa.why
    assert (kit.part, kit.layout, kit.host) == ("pki", "kubeadm", "cp1")
    shared = bundle.read_index(io.BytesIO(data["encryption"]))
    assert (shared.part, shared.host) == ("encryption", None)


def test_open_kit_gives_every_file(kubeadm_host: Path) -> None:
    plan = plan_of(kubeadm_host)
    kit, files = bundle.open_kit(io.BytesIO(tars(plan)["pki"]))
    found = {file.path: data for file, data in files}
    assert set(found) == {file.path for file in kit.files}
    expected = (kubeadm_host / "etc/kubernetes/admin.conf").read_bytes()
    assert found["/etc/kubernetes/admin.conf"] == expected


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flip(data: bytes) -> bytes:
    at = data.index(b"-----BEGIN EC PRIVATE KEY") + 60
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _other_format(data: bytes) -> bytes:
    return data.replace(b"etcd/kit/v1", b"etcd/kit/v9", 1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_cut, "damaged or cut off"),
        (_flip, "is not what its index says"),
        (_other_format, "kit/v9"),
        (lambda data: b"", "decrypted and decompressed"),
        (lambda data: b"\0" * 10240, "no kit|cannot be opened"),  # by version of Python
        (lambda data: b"not a tar" * 100, "cannot be opened"),
    ],
    ids=["cut", "flipped", "format", "empty", "zeros", "no tar"],
)
def test_open_kit_spoiled_is_refused(
    kubeadm_host: Path, spoil: t.Callable[[bytes], bytes], message: str
) -> None:
    data = spoil(tars(plan_of(kubeadm_host))["pki"])
    with pytest.raises(KitError, match=message):
        list(bundle.open_kit(io.BytesIO(data))[1])


def test_written_files_are_sealed_apart(kubeadm_host: Path, tmp_path: Path) -> None:
    keys = {part: pyrage.x25519.Identity.generate() for part in ("encryption", "pki")}
    to = take.recipients(
        {part: [str(key.to_public())] for part, key in keys.items()}, allow_unsealed=False
    )
    plan = plan_of(kubeadm_host)
    dest = tmp_path / "dest"
    dest.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(dest, 4711, 815)
    written = {each.part: each for each in take.write(plan, str(dest), to)}
    assert {each.name for each in written.values()} == {
        "encryption.tar.zst.age",
        "pki/cp1.tar.zst.age",
    }
    assert sorted(path.name for path in dest.iterdir()) == [
        "encryption.tar.zst.age",
        "pki-cp1.tar.zst.age",
    ]
    for part, each in written.items():
        path = Path(each.path)
        facts = path.stat()
        assert stat.S_IMODE(facts.st_mode) == 0o600
        assert (facts.st_uid, facts.st_gid) == (dest.stat().st_uid, dest.stat().st_gid)
        assert each.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert each.size_bytes == facts.st_size
        clear = io.BytesIO()
        sealing.unseal(io.BytesIO(path.read_bytes()), clear, [keys[part]])
        assert clear.getvalue() == tars(plan)[part]
        other = keys["pki" if part == "encryption" else "encryption"]
        with pytest.raises(SealError):
            sealing.unseal(io.BytesIO(path.read_bytes()), io.BytesIO(), [other])


def test_write_into_nowhere_names_the_file_and_leaves_nothing(
    kubeadm_host: Path, tmp_path: Path
) -> None:
    plan = plan_of(kubeadm_host)
    with pytest.raises(KitError, match=r"Cannot write .*gone/encryption.tar.zst"):
        take.write(plan, str(tmp_path / "gone"), UNSEALED)
    blocker = tmp_path / "dest"
    (blocker / "pki-cp1.tar.zst").mkdir(parents=True)
    with pytest.raises(KitError, match=r"dest/pki-cp1.tar.zst"):
        take.write(plan, str(blocker), UNSEALED)
    assert [path.name for path in blocker.iterdir()] == ["pki-cp1.tar.zst"], "no part, no half"


def test_write_on_a_full_disk_names_the_file_and_leaves_nothing(
    kubeadm_host: Path, tmp_path: Path, reliability: t.Any
) -> None:
    plan = plan_of(kubeadm_host)
    dest = tmp_path / "dest"
    dest.mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # write() fails as on a full disk
    try:
        with pytest.raises(KitError) as caught:
            take.write(plan, str(dest), UNSEALED)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"Cannot write {dest}/pki-cp1.tar.zst on this host: File too large" in str(caught.value)
    assert not list(dest.iterdir())
    reliability(
        "kit: no room for the sealed file on the host",
        "fails by the file's name; nothing is left there",
        message=str(caught.value).replace(str(tmp_path), ""),
    )


@pytest.mark.parametrize("name", ["../cp1", "", ".hidden", "a/b", "a b", "x" * 300])
def test_name_that_is_no_files_name_is_refused(kubeadm_host: Path, name: str) -> None:
    with pytest.raises(OptionInvalid, match="cannot be part of a name"):
        take.plan(take.Options(host=name, root=str(kubeadm_host)))


AGE = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"


def test_recipients_of_a_list_or_of_each_part() -> None:
    assert take.recipients([AGE], allow_unsealed=False) == {"encryption": (AGE,), "pki": (AGE,)}
    given = {"data": ["ignored here"], "encryption": [AGE], "pki": [AGE]}
    assert take.recipients(given, allow_unsealed=False)["pki"] == (AGE,)
    assert take.recipients(None, allow_unsealed=True) == UNSEALED


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (None, SealError),
        ([], SealError),
        ({"pki": [AGE]}, SealError),
        ({"pki": [AGE], "encryption": [AGE], "wrong": [AGE]}, SealError),
        (["age1nonsense"], SealError),
        (7, SealError),
    ],
    ids=["none", "empty", "one part", "unknown part", "bad key", "number"],
)
def test_recipients_that_seal_nothing_are_refused(value: object, error: type) -> None:
    with pytest.raises(error):
        take.recipients(value, allow_unsealed=False)
