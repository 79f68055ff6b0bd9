# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealing: what goes in comes out, with our code and with age and zstd themselves."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pyrage
import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import sealing
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import SealError

CLEAR = os.urandom(300_000) + bytes(700_000) + b"end"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an age identity and ssh keys, one of them behind a passphrase."""
    folder = tmp_path_factory.mktemp("keys")
    identity = pyrage.x25519.Identity.generate()
    (folder / "age").write_text(f"# created: now\n# public key: x\n{identity}\n")
    (folder / "age.pub").write_text(str(identity.to_public()))
    for kind, passphrase in (("ed25519", ""), ("rsa", ""), ("ecdsa", ""), ("ed25519", "secret")):
        path = folder / (f"locked_{kind}" if passphrase else kind)
        subprocess.run(
            ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "a comment", "-f", str(path)],
            check=True,
        )
    return folder


def _public(keys: Path, name: str) -> str:
    return (keys / f"{name}.pub").read_text()


def _sealed(recipients: t.Sequence[str], clear: bytes = CLEAR) -> tuple[sealing.Sealed, bytes]:
    target = io.BytesIO()
    return sealing.seal(io.BytesIO(clear), target, recipients), target.getvalue()


@pytest.mark.parametrize("kind", ["age", "ed25519", "rsa"])
def test_seal_each_kind_of_recipient_opens_again(keys: Path, kind: str) -> None:
    recipients = sealing.parse_recipients([_public(keys, kind), _public(keys, "age")])
    result, data = _sealed(recipients)
    assert (result.size_bytes, result.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert result.clear_size_bytes == len(CLEAR)
    target = io.BytesIO()
    identities = sealing.load_identities([str(keys / kind)])
    assert sealing.unseal(io.BytesIO(data), target, identities) == len(CLEAR)
    assert target.getvalue() == CLEAR


@pytest.mark.parametrize("kind", ["age", "ed25519", "rsa"])
def test_seal_opens_with_age_and_zstd_alone(keys: Path, kind: str, tmp_path: Path) -> None:
    if not shutil.which("age") or not shutil.which("zstd"):
        pytest.skip("age and zstd are not installed on this machine")
    (tmp_path / "x.zst.age").write_bytes(
        _sealed(sealing.parse_recipients([_public(keys, kind)]))[1]
    )
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", 'age -d -i "$1" "$2" | zstd -dc', "_", str(keys / kind)]
        + [str(tmp_path / "x.zst.age")],
        check=True,
        capture_output=True,
    )
    assert done.stdout == CLEAR


def test_seal_without_recipients_is_plain_zstd() -> None:
    result, data = _sealed(())
    assert data[:4] == b"\x28\xb5\x2f\xfd"
    assert result.sha256 == hashlib.sha256(data).hexdigest()
    target = io.BytesIO()
    assert sealing.unseal(io.BytesIO(data), target, ()) == len(CLEAR)
    assert target.getvalue() == CLEAR


def test_seal_empty_input_opens_again(keys: Path) -> None:
    _head, data = _sealed(sealing.parse_recipients([_public(keys, "age")]), b"")
    target = io.BytesIO()
    assert (
        sealing.unseal(io.BytesIO(data), target, sealing.load_identities([str(keys / "age")])) == 0
    )


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "unsealed"])
@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), SystemExit(143)],
    ids=["oserror", "exit"],
)
def test_seal_writer_fails_its_own_error_comes_through(
    keys: Path, sealed: bool, error: BaseException
) -> None:
    class Full(io.BytesIO):
        def write(self, data: t.Any) -> int:
            if self.tell() + len(data) > 200_000:
                raise error
            return super().write(data)

    recipients = sealing.parse_recipients([_public(keys, "age")]) if sealed else ()
    with pytest.raises(type(error)) as caught:
        sealing.seal(io.BytesIO(CLEAR), Full(), recipients)
    assert caught.value is error


def test_seal_reader_fails_its_own_error_comes_through(keys: Path) -> None:
    class Torn(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output") as caught:
        sealing.seal(Torn(), io.BytesIO(), sealing.parse_recipients([_public(keys, "age")]))
    assert caught.value.errno == errno.EIO


@pytest.mark.parametrize("cut", [1, 50_000, 299_000], ids=["last byte", "last chunk", "near all"])
@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "unsealed"])
def test_unseal_cut_off_is_refused(keys: Path, sealed: bool, cut: int) -> None:
    _head, data = _sealed(sealing.parse_recipients([_public(keys, "age")]) if sealed else ())
    identities = sealing.load_identities([str(keys / "age")]) if sealed else ()
    with pytest.raises(SealError, match="sha256"):
        sealing.unseal(io.BytesIO(data[:-cut]), io.BytesIO(), identities)


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "unsealed"])
def test_unseal_flipped_bit_is_refused(keys: Path, sealed: bool) -> None:
    _head, data = _sealed(sealing.parse_recipients([_public(keys, "age")]) if sealed else ())
    broken = bytearray(data)
    broken[len(data) // 2] ^= 1
    identities = sealing.load_identities([str(keys / "age")]) if sealed else ()
    with pytest.raises(SealError):
        sealing.unseal(io.BytesIO(bytes(broken)), io.BytesIO(), identities)


def test_unseal_another_identity_is_refused(keys: Path) -> None:
    _head, data = _sealed(sealing.parse_recipients([_public(keys, "age")]))
    with pytest.raises(SealError, match="None of the identities"):
        sealing.unseal(io.BytesIO(data), io.BytesIO(), sealing.load_identities([str(keys / "rsa")]))


def test_seal_keeps_memory_constant(keys: Path) -> None:
    code = (
        "import io, resource, sys\n"
        "from ansible_collections.controlplane.etcd.plugins.module_utils._archive import sealing\n"
        "block = open('/dev/urandom', 'rb').read(1 << 20)\n"
        "class Source:\n"
        "    left = 400 << 20\n"
        "    def read(self, size):\n"
        "        size = min(size, self.left, len(block)); self.left -= size; return block[:size]\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "with open('/dev/null', 'wb') as out: sealing.seal(Source(), out, [sys.argv[1]])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, _public(keys, "age").strip()],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert int(done.stdout) < 32 * 1024, "KiB of growth while sealing 400 MiB"


def test_parse_recipients_cuts_comments_and_repeats(keys: Path) -> None:
    age = _public(keys, "age").strip()
    ed25519 = _public(keys, "ed25519")
    found = sealing.parse_recipients([f"  {age}  # escrow", ed25519, age])
    assert found == (age, " ".join(ed25519.split()[:2]))
    assert "comment" not in " ".join(found)


@pytest.mark.parametrize("bad", ["garbage", "age1qqqqqqq", "ssh-ed25519 AAAAbad", "ssh-rsa", "", 7])
def test_parse_recipients_garbage_names_position_only(keys: Path, bad: t.Any) -> None:
    with pytest.raises(SealError, match="Recipient 2 of part pki") as caught:
        sealing.parse_recipients([_public(keys, "age"), bad], where="pki")
    if bad in ("garbage", "age1qqqqqqq"):
        assert bad not in str(caught.value)


def test_parse_recipients_ecdsa_is_refused(keys: Path) -> None:
    with pytest.raises(SealError, match="Recipient 1 is not a public key"):
        sealing.parse_recipients([_public(keys, "ecdsa")])


@pytest.mark.parametrize("name", ["age", "ed25519", "rsa", "locked_ed25519"])
def test_parse_recipients_private_key_is_refused_unseen(keys: Path, name: str) -> None:
    secret = (keys / name).read_text()
    for given in ([secret], secret, [secret.lower()]):
        with pytest.raises(SealError, match=r"PRIVATE|not a public key|not a valid") as caught:
            sealing.parse_recipients(given)
        shown = str(caught.value) + repr(caught.value.as_dict())
        for line in secret.splitlines():
            assert len(line) < 20 or line[:2] in ("# ", "--") or line not in shown


def test_recipients_by_part_reads_a_list_for_each(keys: Path) -> None:
    age, rsa = _public(keys, "age"), _public(keys, "rsa")
    given = {"data": [age], "encryption": [age, rsa], "pki": [rsa]}
    found = sealing.recipients_by_part(given, allow_unsealed=False)
    assert found["data"] == (age,)
    assert len(found["encryption"]) == 2
    warned = [
        part for part in sealing.PARTS if "one recipient" in sealing.seal_warning(part, found[part])
    ]
    assert warned == ["data", "pki"]


def test_recipients_by_part_missing_or_unknown_part_is_refused(keys: Path) -> None:
    age = _public(keys, "age")
    with pytest.raises(SealError, match="Part pki must not lie unsealed"):
        sealing.recipients_by_part({"data": [age], "encryption": [age]}, allow_unsealed=False)
    with pytest.raises(SealError, match="1 part"):
        sealing.recipients_by_part({"date": [age]}, allow_unsealed=False)


def test_recipients_by_part_none_is_refused_unless_allowed() -> None:
    with pytest.raises(SealError, match="etcd_allow_unsealed"):
        sealing.recipients_by_part([], allow_unsealed=False)
    found = sealing.recipients_by_part(None, allow_unsealed=True)
    assert found["data"] == ()
    assert "not sealed" in sealing.seal_warning("data", found["data"])
    assert sealing.sealed_name("data.db", ()) == "data.db.zst"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("locked_ed25519", "passphrase"),
        ("ecdsa", "no identity that can be used"),
        ("age.pub", "no identity"),
    ],
)
def test_load_identities_unusable_is_refused(keys: Path, name: str, why: str) -> None:
    with pytest.raises(SealError, match=why) as caught:
        sealing.load_identities([str(keys / name)])
    assert str(keys / name) in str(caught.value)


def test_load_identities_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SealError, match="nowhere"):
        sealing.load_identities([str(tmp_path / "nowhere")])
