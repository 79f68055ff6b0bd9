# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealing anew: age alone is changed, nothing wrong comes out as something right."""

from __future__ import annotations

import hashlib
import io
import os
import random
import threading
import typing as t
from pathlib import Path

import pyrage
import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import reseal, sealing
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    KeyMissing,
    SealDamaged,
    SealError,
)

CLEAR = random.Random(5).randbytes(300_000) + b"an etcd image, or so\n" * 20_000


class Keys(t.NamedTuple):
    file: str
    recipient: str
    identities: tuple[t.Any, ...]


def make_keys(folder: Path, name: str) -> Keys:
    identity = pyrage.x25519.Identity.generate()
    path = folder / name
    path.write_text(f"{identity}\n")
    return Keys(str(path), str(identity.to_public()), sealing.load_identities([str(path)]))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return make_keys(tmp_path_factory.mktemp("theirs"), "key")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return make_keys(tmp_path_factory.mktemp("ours"), "key")


def seal(recipients: t.Sequence[str]) -> bytes:
    target = io.BytesIO()
    sealing.seal(io.BytesIO(CLEAR), target, recipients)
    return target.getvalue()


@pytest.fixture(scope="module")
def sealed(ours: Keys) -> bytes:
    return seal([ours.recipient])


def outer(data: bytes, identities: t.Sequence[t.Any]) -> bytes:
    """Take age off, and leave zstd on."""
    target = io.BytesIO()
    pyrage.decrypt_io(io.BytesIO(data), target, list(identities))
    return target.getvalue()


def test_reseal_changes_age_alone(ours: Keys, theirs: Keys, sealed: bytes) -> None:
    target = io.BytesIO()
    made = reseal.reseal(io.BytesIO(sealed), target, theirs.recipient, identities=ours.identities)
    came = target.getvalue()
    assert made.source_sha256 == hashlib.sha256(sealed).hexdigest()
    assert (made.size_bytes, made.sha256) == (len(came), hashlib.sha256(came).hexdigest())
    assert outer(came, theirs.identities) == outer(sealed, ours.identities)
    clear = io.BytesIO()
    sealing.unseal(io.BytesIO(came), clear, theirs.identities)
    assert clear.getvalue() == CLEAR
    with pytest.raises(pyrage.DecryptError):
        outer(came, ours.identities)
    assert len(came) <= reseal.most_bytes(len(sealed))


def test_reseal_of_what_is_not_sealed_seals_it(theirs: Keys) -> None:
    plain, target = seal([]), io.BytesIO()
    made = reseal.reseal(io.BytesIO(plain), target, theirs.recipient, identities=())
    assert made.source_sha256 == hashlib.sha256(plain).hexdigest()
    assert outer(target.getvalue(), theirs.identities) == plain
    assert made.size_bytes <= reseal.most_bytes(len(plain))


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 10 << 20])
def test_most_bytes_is_enough(theirs: Keys, size: int) -> None:
    target = io.BytesIO()
    made = reseal.reseal(io.BytesIO(bytes(size)), target, theirs.recipient, identities=())
    assert size < made.size_bytes <= reseal.most_bytes(size)


def test_reseal_with_a_key_that_does_not_fit_says_so(
    ours: Keys, theirs: Keys, sealed: bytes
) -> None:
    with pytest.raises(KeyMissing, match="None of the identities given opens") as caught:
        reseal.reseal(
            io.BytesIO(sealed), io.BytesIO(), ours.recipient, identities=theirs.identities
        )
    assert caught.value.kind == "key_missing"


def test_identities_that_cannot_be_used_are_a_missing_key(tmp_path: Path) -> None:
    with pytest.raises(KeyMissing, match="no identity is given"):
        reseal.identities_of([])
    with pytest.raises(KeyMissing, match=str(tmp_path / "gone")):
        reseal.identities_of([str(tmp_path / "gone")])


def test_damaged_seal_never_comes_out_whole(
    ours: Keys, theirs: Keys, sealed: bytes, reliability: t.Callable[..., None]
) -> None:
    rng, caught = random.Random(7), 0
    damaged = []
    for _turn in range(150):
        position = rng.randrange(len(sealed))
        flipped = bytearray(sealed)
        flipped[position] ^= 1 << rng.randrange(8)
        damaged.append(bytes(flipped))
    damaged += [sealed[:size] for size in (0, 1, 100, 200, 65_000, 66_000, len(sealed) - 1)]
    damaged += [sealed + b"x", sealed + sealed]
    for data in damaged:
        with pytest.raises(SealDamaged):
            reseal.reseal(
                io.BytesIO(data), io.BytesIO(), theirs.recipient, identities=ours.identities
            )
        caught += 1
    assert threading.active_count() == 1 or not [
        thread for thread in threading.enumerate() if type(thread).__module__.endswith("reseal")
    ]
    reliability(
        "a sealed file with one bit flipped, cut off or with something behind its end, sealed anew "
        "for a host (age's own check alone)",
        f"{caught} of {len(damaged)} are refused",
        area="deliver",
    )


class _Broken:
    """A source or target that breaks off."""

    def __init__(self, raw: t.BinaryIO, after: int) -> None:
        self._raw, self._left = raw, after

    def _turn(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise OSError(28, "No space left on device")

    def read(self, size: int = -1) -> bytes:
        self._turn()
        return self._raw.read(size)

    def write(self, data: bytes) -> int:
        self._turn()
        return self._raw.write(data)

    def flush(self) -> None:
        self._raw.flush()


@pytest.mark.parametrize("end", ["source", "target"])
@pytest.mark.parametrize("after", [0, 1, 3])
def test_error_of_either_end_comes_through_and_nothing_hangs(
    ours: Keys, theirs: Keys, sealed: bytes, end: str, after: int
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    source: t.Any = io.BytesIO(sealed)
    target: t.Any = io.BytesIO()
    if end == "source":
        source = _Broken(source, after)
    else:
        target = _Broken(target, after)
    with pytest.raises(OSError, match="No space left"):
        reseal.reseal(source, target, theirs.recipient, identities=ours.identities)
    assert len(os.listdir("/proc/self/fd")) == before


def test_recipient_that_is_a_private_key_is_not_shown(ours: Keys, sealed: bytes) -> None:
    private = Path(ours.file).read_text().strip()
    with pytest.raises(SealError) as caught:
        reseal.reseal(io.BytesIO(sealed), io.BytesIO(), private, identities=ours.identities)
    assert private not in str(caught.value)
