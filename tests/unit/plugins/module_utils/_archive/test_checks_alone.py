# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each check of the archive alone, the others switched off: it catches all that it is there for."""

from __future__ import annotations

import base64
import io
import json
import os
import random
import typing as t
from collections import Counter

import pyrage
import pytest
from unit.fixtures import damage

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    entries,
    identity,
    sealing,
    trust,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.trust import TrustState
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import SealError, TrustError

if t.TYPE_CHECKING:
    from conftest import Reliability

    from .conftest import Bench

# age's chunks: 64 KiB of content and 16 of its MAC (C2SP, age.md: Payload).
CHUNK = 64 * 1024 + 16
CLEAR = random.Random(1).randbytes(3 * 65536 + 1000) + bytes(300_000)


class Sealed(t.NamedTuple):
    """A sealed file, what opens it, and where its first chunk begins."""

    data: bytes
    identities: tuple[t.Any, ...]
    payload: int


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Sealed:
    key = pyrage.x25519.Identity.generate()
    target = io.BytesIO()
    sealing.seal(io.BytesIO(CLEAR), target, [str(key.to_public())])
    file = tmp_path_factory.mktemp("keys") / "identity"
    file.write_text(f"{key}\n")
    data = target.getvalue()
    # The header ends with its MAC's line; 16 bytes of nonce follow.
    payload = data.index(b"\n", data.index(b"\n--- ") + 1) + 1 + 16
    return Sealed(data, sealing.load_identities([str(file)]), payload)


def _opens(data: bytes, identities: t.Sequence[t.Any]) -> bytes | None:
    """Return the clear bytes; None where unsealing refuses the file."""
    clear = io.BytesIO()
    try:
        sealing.unseal(io.BytesIO(data), clear, identities)
    except SealError:
        return None
    return clear.getvalue()


def test_seal_alone_catches_every_flip_cut_and_moved_chunk(
    sealed: Sealed, reliability: Reliability
) -> None:
    data, count = sealed.data, Counter[str]()
    assert _opens(data, sealed.identities) == CLEAR
    header = [range(sealed.payload)]
    for seed in range(300):
        what, bad = damage.flip(data, seed, header if seed % 3 == 0 else ())
        assert _opens(bad, sealed.identities) is None, what
        count["flips"] += 1
    starts = range(sealed.payload, len(data), CHUNK)
    assert len(starts) > 3
    for start in (*starts, len(data)):
        for size in {start - 1, start, start + 1, start + 17} - {len(data)}:
            if size <= len(data):
                assert _opens(data[:size], sealed.identities) is None, f"cut at {size}"
                count["cuts"] += 1
    chunks = [data[start : start + CHUNK] for start in starts]
    head = data[: sealed.payload]
    for index in range(len(chunks)):
        gone = [*chunks[:index], *chunks[index + 1 :]]
        twice = [*chunks[: index + 1], *chunks[index:]]
        moved = [*chunks[:index], *chunks[index : index + 2][::-1], *chunks[index + 2 :]]
        for other in (gone, twice, *([moved] if moved != chunks else [])):
            assert _opens(head + b"".join(other), sealed.identities) is None, f"chunk {index}"
            count["chunks"] += 1
    for more in (b"\0", b"x" * 16, chunks[-1], data):
        assert _opens(data + more, sealed.identities) is None
        count["tails"] += 1
    reliability(
        "The seal (age) alone: a sealed file with one byte flipped, cut at and around every chunk, "
        "with a chunk lost, twice or moved, and with something behind its end",
        f"{count['flips']} of {count['flips']} flips, {count['cuts']} of {count['cuts']} cuts, "
        f"{count['chunks']} of {count['chunks']} mixed-up files and {count['tails']} of "
        f"{count['tails']} longer ones are caught",
        area="content",
    )


def test_zstd_checksum_alone_never_gives_other_content(reliability: Reliability) -> None:
    """An unsealed file has no MAC; some bits of a frame's header mean nothing for its content."""
    target = io.BytesIO()
    sealing.seal(io.BytesIO(CLEAR), target, ())
    data, ends = target.getvalue(), Counter[str]()
    for seed in range(400):
        what, bad = damage.flip(data, seed, [range(32)] if seed % 8 == 0 else ())
        clear = _opens(bad, ())
        assert clear in (None, CLEAR), what
        ends["caught" if clear is None else "same"] += 1
    for size in {*range(40), *range(0, len(data), 4096), *range(len(data) - 40, len(data))}:
        assert _opens(data[:size], ()) is None, f"cut at {size}"
        ends["cuts"] += 1
    assert ends["caught"] > 350
    reliability(
        "zstd's checksum alone, on an unsealed file: one byte flipped; cut anywhere",
        f"{ends['caught']} of {ends['caught'] + ends['same']} flips are caught, {ends['same']} leave "
        f"the content as it was (bits of the frame's header); {ends['cuts']} of {ends['cuts']} cuts "
        "are caught",
        area="content",
    )


def test_sha256_alone_catches_every_change_of_a_file(
    bench: Bench, reliability: Reliability
) -> None:
    """No signature is looked at, nothing is unsealed, and each file keeps its size."""
    entry = bench.add().entry.id
    folder = bench.folder / entry

    def judge() -> TrustState:
        return entries.read_entry(
            bench.place, bench.prefix, entry, signers=None, depth="files"
        ).trust

    listed = [file["name"] for file in json.loads((folder / "manifest.json").read_bytes())["files"]]
    assert judge() is TrustState.NOT_CHECKED and len(listed) >= 6
    count = 0
    for name in listed:
        path = folder / name
        intact = path.read_bytes()
        path.chmod(0o600)
        for seed in range(40):
            what, bad = damage.flip(intact, seed)
            path.write_bytes(bad)
            assert judge() is TrustState.DAMAGED, f"{name}: {what}"
            count += 1
        for bad in (intact[:-1], intact + b"\n", b"", intact[::-1]):
            path.write_bytes(bad)
            assert judge() is TrustState.DAMAGED, name
            count += 1
        path.write_bytes(intact)
    assert judge() is TrustState.NOT_CHECKED
    reliability(
        "The sha256 of the manifest alone, on every file of an entry: one byte flipped, cut, longer, "
        "empty, reversed",
        f"{count} of {count} are caught",
        area="content",
    )


def _blob(armour: bytes) -> bytearray:
    lines = armour.split(b"\n")
    return bytearray(base64.b64decode(b"".join(line for line in lines if b"-----" not in line)))


def _armoured(blob: bytes) -> bytes:
    text = base64.b64encode(blob)
    lines = [text[at : at + 70] for at in range(0, len(text), 70)]
    ends = b"-----BEGIN SSH SIGNATURE-----", b"-----END SSH SIGNATURE-----"
    return b"\n".join([ends[0], *lines, ends[1], b""])


def test_signature_alone_catches_every_change(bench: Bench, reliability: Reliability) -> None:
    """Of the manifest, of the signature's own bytes, and one that belongs to another manifest."""
    entry, other = bench.add().entry.id, bench.add().entry.id
    folder = bench.folder / entry
    data = (folder / "manifest.json").read_bytes()
    signature = (folder / "manifest.json.sig").read_bytes()
    signers = trust.Signers.parse(
        None, default=trust.signing_from_key(bench.signing_key).public_key
    )
    assert signers.check(data, _armoured(_blob(signature)))[0] is TrustState.TRUSTED
    count = Counter[str]()
    for seed in range(40):
        what, bad = damage.flip(data, seed)
        assert signers.check(bad, signature)[0] is TrustState.FORGED, what
        count["manifest"] += 1
    for bad in (data[:-1], data + b"\n", b"", json.dumps(json.loads(data)).encode()):
        assert signers.check(bad, signature)[0] is TrustState.FORGED
        count["manifest"] += 1
    for seed in range(40):
        what, blob = damage.flip(_blob(signature), seed)
        assert signers.check(data, _armoured(blob))[0] is not TrustState.TRUSTED, what
        count["signature"] += 1
    foreign = (bench.folder / other / "manifest.json.sig").read_bytes()
    for bad in (foreign, b"", signature[: len(signature) // 2], b"\0" * 300):
        assert signers.check(data, bad)[0] is not TrustState.TRUSTED
        count["signature"] += 1
    reliability(
        "The signature alone: a manifest with one byte changed, cut, longer or formatted anew; a "
        "signature with one byte changed, cut, empty, or of another entry",
        f"{count['manifest']} of {count['manifest']} changed manifests and {count['signature']} of "
        f"{count['signature']} changed signatures are caught",
        area="content",
    )


def test_signature_alone_catches_every_changed_identity(
    bench: Bench, reliability: Reliability
) -> None:
    """The record that says which cluster a name stands for; no entry is left to tell it."""
    entry = bench.add().entry.id
    signers = trust.Signers.parse(
        None, default=trust.signing_from_key(bench.signing_key).public_key
    )
    [path] = (bench.folder / "identity").glob("*.json")
    known, _warnings = identity.known(bench.place, bench.prefix, signers)
    assert known is not None and known.kube_system_uid == bench.kube_system_uid
    os.rename(bench.folder / entry, bench.root / "away")
    intact = path.read_bytes()
    path.chmod(0o600)
    count = 0
    for seed in range(30):
        what, bad = damage.flip(intact, seed)
        path.write_bytes(bad)
        with pytest.raises(TrustError, match="nothing in it is signed by an allowed signer"):
            identity.known(bench.place, bench.prefix, signers)
        count += 1
        assert what
    path.write_bytes(intact)
    assert identity.known(bench.place, bench.prefix, signers)[0] == known
    reliability(
        "The signature alone: the identity record of a cluster with one byte changed",
        f"{count} of {count} are caught: the name is taken, and nobody can say by which cluster",
        area="content",
    )
