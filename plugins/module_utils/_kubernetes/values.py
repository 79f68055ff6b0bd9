# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Values: how they are encrypted, and the few fields that are read of clear ones."""

from __future__ import annotations

import json
import re
import typing as t

__all__ = [
    "ENCRYPTED",
    "HEAD_SIZE",
    "encryption_prefix",
    "message_text",
    "object_uid",
    "type_meta",
]

# apiserver pkg/server/options/encryptionconfig/config.go: the prefixes of the providers; after
# them the key's (KMS: the provider's) name and a colon.
ENCRYPTED = b"k8s:enc:"
_ENCRYPTED = re.compile(rb"k8s:enc:(?:kms:(v[0-9]+)|([a-z0-9]+):v[0-9]+):([^:]+):")
# kubernetes/apimachinery pkg/runtime/serializer/protobuf: the envelope is runtime.Unknown.
_PROTOBUF = b"k8s\x00"
# Long enough for any provider and key name in use, and for a TypeMeta.
HEAD_SIZE = 512
_MAX_JSON = 4 << 20
_MAX_FIELDS = 1000
# Longer than any UID, group/version or kind that an API server takes.
_MAX_TEXT = 512


def encryption_prefix(value: bytes) -> tuple[str, str] | None:
    """Return provider and key name of an encrypted value; None for a clear one.

    KMS providers are told apart as `kms-v1` and `kms-v2`. A value that is encrypted in a way that
    is not known gives ("unknown", "").
    """
    if not value.startswith(ENCRYPTED):
        return None
    match = _ENCRYPTED.match(value)
    if match is None:
        return "unknown", ""
    kms, provider, key_name = match.groups()
    name = f"kms-{kms.decode()}" if kms else provider.decode()
    return name, key_name.decode("utf-8", "backslashreplace")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    for index in range(at, min(at + 10, len(data))):
        value |= (data[index] & 0x7F) << shift
        if data[index] < 0x80:
            return value, index + 1
        shift += 7
    return 0, len(data) + 1


def _message(data: bytes, wanted: int) -> bytes | None:
    """Return field `wanted` of a protobuf message; None if it isn't there or `data` is none."""
    at = 0
    for _turn in range(_MAX_FIELDS):
        if at >= len(data):
            break
        tag, at = _varint(data, at)
        wire_type = tag & 7
        if wire_type == 0:
            _value, at = _varint(data, at)
        elif wire_type == 2:
            size, at = _varint(data, at)
            if at + size > len(data):
                # The head of a value may end inside a later field.
                return None
            if tag >> 3 == wanted:
                return data[at : at + size]
            at += size
        elif wire_type in (1, 5):
            at += 8 if wire_type == 1 else 4
        else:
            return None
    return None


def _json(value: bytes) -> t.Any:
    if not value.startswith(b"{") or len(value) > _MAX_JSON:
        return None
    try:
        # No number is of interest, and a long integer would take minutes on older Pythons.
        return json.loads(value, parse_int=float)
    except (ValueError, RecursionError):
        return None


def _text(found: t.Any) -> str | None:
    """Return text as an API server writes it; None for what can't be it, or can't be printed."""
    if isinstance(found, bytes):
        found = found.decode("utf-8", "replace")
    if not isinstance(found, str) or len(found) > _MAX_TEXT or not found.isprintable():
        return None
    return found


def type_meta(value: bytes) -> tuple[str, str] | None:
    """Return apiVersion and kind of a clear value, protobuf (its head is enough) or JSON."""
    if value.startswith(_PROTOBUF):
        meta = _message(value[len(_PROTOBUF) :], 1)
        if meta is None:
            return None
        version, kind = _text(_message(meta, 1) or b""), _text(_message(meta, 2) or b"")
    else:
        data = _json(value)
        if not isinstance(data, dict):
            return None
        version, kind = _text(data.get("apiVersion")), _text(data.get("kind", ""))
    return None if version is None else (version, kind or "")


def message_text(value: bytes, *fields: int) -> str | None:
    """Return the text that lies under these fields of a clear protobuf value, from its envelope on.

    The first of a repeated field; None if it isn't there.
    """
    if not value.startswith(_PROTOBUF):
        return None
    found: bytes | None = value[len(_PROTOBUF) :]
    for wanted in fields:
        found = _message(found, wanted) if found else None
    return _text(found)


def object_uid(value: bytes) -> str | None:
    """Return metadata.uid of a clear value; None if it can't be read."""
    if value.startswith(_PROTOBUF):
        # runtime.Unknown.raw = 2; metadata = 1 of every API type; ObjectMeta.uid = 5.
        raw = _message(value[len(_PROTOBUF) :], 2)
        meta = _message(raw, 1) if raw else None
        return _text(_message(meta, 5) if meta else None) or None
    data = _json(value)
    meta_json = data.get("metadata") if isinstance(data, dict) else None
    return _text(meta_json.get("uid") if isinstance(meta_json, dict) else None) or None
