# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is fuzzed: each takes any bytes; anything but its end, soon, is a find."""

from __future__ import annotations

import typing as t

from unit.fixtures import bolt_writer, reading, rich

_BUCKETS = (b"key", b"key", b"key", b"meta", b"members", b"alarm", b"cluster", b"auth", b"lease")
_META_KEYS = (b"consistent_index", b"finishedCompactRev", b"scheduledCompactRev", b"storageVersion", b"term")  # fmt: skip
_USER_KEYS = (
    b"/registry/namespaces/kube-system",
    b"/registry/secrets/default/s",
    b"/registry/gadgets/default/g",
    b"/registry/services/specs/default/s",
    b"/registry/example.org/widgets/default/w",
)


def image(data: bytes) -> None:
    """Read bytes as an image; its meta pages' checksums are made right first."""
    reading.read_all(rich.repaired(data))


def rows(data: bytes) -> None:
    """Read an image that is well formed and holds what the bytes say."""
    reading.read_all(built(data))


def built(data: bytes) -> bytes:
    """Return an image of records: a kind, a shape, a size of two bytes, and that many bytes."""
    buckets: dict[bytes, dict[bytes, bytes]] = {name: {} for name in _BUCKETS}
    at, main = 0, 2
    while at + 4 <= len(data):
        kind, shape, size = data[at], data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        content = data[at + 4 : at + 4 + size]
        at += 4 + len(content)
        name = _BUCKETS[kind % len(_BUCKETS)]
        key = content[: shape % 19]
        value = content[len(key) :]
        if name == b"key" and shape < 0xE0:
            # A row as etcd writes it, its value or its whole message from the bytes.
            key = bolt_writer.revision(main, shape % 3, tombstone=shape % 7 == 6)
            main += shape % 2
            user = _USER_KEYS[shape % len(_USER_KEYS)] if shape < 0xB0 else content[: shape % 40]
            value = content
            if shape >= 0x20:
                value = bolt_writer.key_value(user, content, main, main, shape)
        elif name == b"meta":
            key, value = _META_KEYS[shape % len(_META_KEYS)], content
        buckets[name][key] = value
    pairs: dict[bytes, t.Sequence[tuple[bytes, bytes]]] = {
        name: sorted(found.items()) for name, found in buckets.items()
    }
    pairs = {name: [pair for pair in found if pair[0]] for name, found in pairs.items()}
    return bolt_writer.etcd(pairs, 1024)


def records(pairs: t.Iterable[tuple[int, int, bytes]]) -> bytes:
    """Return the bytes that `built` reads as these records."""
    return b"".join(
        bytes([kind, shape]) + len(content).to_bytes(2, "big") + content
        for kind, shape, content in pairs
    )


def starts(target: str) -> list[bytes]:
    """Return what fuzzing begins with."""
    if target == "image":
        return [rich.image()]
    values = [*rich.values().values()]
    member = b'{"id":11,"peerURLs":["http://a:1"],"isLearner":true,"name":"n"}'
    more = [(3, 1, bolt_writer.revision(3)), (3, 2, bolt_writer.revision(2)), (3, 4, b"\0" * 8)]
    more += [(4, 1, b"b" + member), (5, 4, b"\x08\x0b\x10\x01"), (6, 14, b"clusterVersion3.6.0")]
    more += [(7, 11, b"authEnabled\x01"), (8, 8, b"\0" * 8 + b"\x08\x07\x10\x3c")]
    found = [records((0, 0x21 + 2 * number, value) for number, value in enumerate(values))]
    found += [records(more), records([*((0, 0x31, value) for value in values), *more])]
    return found


TARGETS: dict[str, t.Callable[[bytes], None]] = {"image": image, "rows": rows}
