# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""JSON Schemas of what the archive signs, and the check that every read goes through.

docs/formats/*.json are written from these (a test holds them equal): a module's payload carries
Python files only.
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _deps
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import ManifestInvalid

__all__ = [
    "IDENTITY",
    "IDENTITY_V1",
    "MANIFEST",
    "MANIFEST_V1",
    "PROOF",
    "PROOF_V1",
    "dump",
    "load",
]

MANIFEST = "controlplane.etcd/manifest/v1"
IDENTITY = "controlplane.etcd/identity/v1"
PROOF = "controlplane.etcd/proof/v1"
# What a v1 reader of this collection can follow beyond v1 itself.
UNDERSTOOD: frozenset[str] = frozenset()

_Schema = t.Dict[str, t.Any]  # noqa: UP006 (evaluated at run time, on Python 3.9 too)

_TEXT: _Schema = {"type": "string"}
_NAME: _Schema = {"type": "string", "minLength": 1, "maxLength": 253}
_COUNT: _Schema = {"type": "integer", "minimum": 0}
_SIGNED: _Schema = {"type": "integer"}
_FLAG: _Schema = {"type": "boolean"}
_TIME: _Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"}
_ID64: _Schema = {"type": "string", "pattern": "^[0-9a-f]{1,16}$"}
_HASH32: _Schema = {"type": "string", "pattern": "^[0-9a-f]{8}$"}
_SHA256: _Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_ENTRY: _Schema = {"type": "string", "pattern": r"^\d{8}T\d{6}Z-[0-9a-f]{8}$"}
_PATH: _Schema = {
    "type": "string",
    "pattern": r"^(?!/)(?!.*(^|/)\.{1,2}(/|$))[^\x00-\x1f]+$",
    "maxLength": 512,
}


def _or_null(schema: _Schema) -> _Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _list(items: _Schema) -> _Schema:
    return {"type": "array", "items": items}


def _map(values: _Schema) -> _Schema:
    return {"type": "object", "additionalProperties": values}


def _object(required: _Schema, optional: _Schema | None = None) -> _Schema:
    # additionalProperties stays open: readers ignore fields that they do not know.
    return {
        "type": "object",
        "required": sorted(required),
        "properties": {**required, **(optional or {})},
    }


_MEMBER = _object(
    {
        "id": _ID64,
        "name": _TEXT,
        "peer_urls": _list(_TEXT),
        "client_urls": _list(_TEXT),
        "is_learner": _FLAG,
    },
    {
        "host": _or_null(_NAME),
        "address": _or_null(_TEXT),
        "layout": _or_null(
            _object(
                {"kind": _NAME},
                {
                    "data_dir": _or_null(_TEXT),
                    "wal_dir": _or_null(_TEXT),
                    "data_dir_is_mount": _or_null(_FLAG),
                    "unit": _or_null(_TEXT),
                    "environment_file": _or_null(_TEXT),
                    "manifest": _or_null(_TEXT),
                    "static_pod_path": _or_null(_TEXT),
                    "certificates_dir": _or_null(_TEXT),
                },
            )
        ),
    },
)

_LINEAGE = _object(
    {"cluster_id": _ID64, "seen_at": _TIME, "origin": {"enum": ["backup", "restore"]}},
    {"entry": _or_null(_ENTRY), "bump_revision": _or_null(_COUNT)},
)

_FILE = _object(
    {
        "name": _PATH,
        "part": {"enum": ["data", "encryption", "pki", "text"]},
        "size_bytes": _COUNT,
        "sha256": _SHA256,
        "compression": {"enum": ["zstd", "none"]},
        "encryption": _object({"scheme": {"enum": ["age", "none"]}, "recipients": _list(_TEXT)}),
    },
    {"host": _or_null(_NAME)},
)

MANIFEST_V1: _Schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": MANIFEST,
    "title": "One entry of an archive of controlplane.etcd",
    **_object(
        {
            "schema": {"const": MANIFEST},
            "id": _ENTRY,
            "created_at": _TIME,
            "collection_version": _NAME,
            "mode": {"enum": ["regular", "emergency"]},
            "cluster": _object(
                {
                    "name": _NAME,
                    "instance": _NAME,
                    "identity": _object({"kube_system_uid": _or_null(_NAME)}),
                    "cluster_id": _ID64,
                    "lineage": _list(_LINEAGE),
                    "members": _list(_MEMBER),
                },
                {"missing_hosts": _list(_NAME), "members_without_host": _list(_NAME)},
            ),
            "etcd": _object(
                {"server_version": _NAME},
                {
                    "cluster_version": _or_null(_TEXT),
                    "storage_version": _or_null(_TEXT),
                    "alarms": _list(_TEXT),
                },
            ),
            "kubernetes": _object(
                {"object_count": _COUNT, "resources": _map(_COUNT), "secrets": _map(_COUNT)},
                {
                    "version": _or_null(_TEXT),
                    "etcd_prefix": _or_null(_TEXT),
                    "encrypted": _or_null(_map(_COUNT)),
                },
            ),
            "snapshot": _object(
                {
                    "revision": _COUNT,
                    "db_size_bytes": _COUNT,
                    "sha256": _SHA256,
                    "key_count": _COUNT,
                    "source_member": _object({"id": _ID64, "name": _TEXT}),
                },
                {
                    "source_host": _or_null(_NAME),
                    "compact_revision": _or_null(_SIGNED),
                    "hash_kv": _or_null(_HASH32),
                    "hash_revision": _or_null(_COUNT),
                    "hash_compact_revision": _or_null(_SIGNED),
                    "entry_count": _or_null(_COUNT),
                    "status_hash": _or_null(_HASH32),
                    "term": _or_null(_COUNT),
                    "lease_count": _or_null(_COUNT),
                    "auth_enabled": _or_null(_FLAG),
                    "consistent_index": _or_null(_COUNT),
                    "linearizable_revision": _or_null(_COUNT),
                },
            ),
            "files": _list(_FILE),
            "checks": _list(
                _object(
                    {"name": _NAME, "result": _NAME},
                    {"detail": _or_null(_TEXT)},
                )
            ),
        },
        {
            "must_understand": _list(_TEXT),
            "tools": _list(
                _object(
                    {
                        "name": _NAME,
                        "version": _NAME,
                        "platform": _NAME,
                        "path": _PATH,
                        "size_bytes": _COUNT,
                        "sha256": _SHA256,
                    }
                )
            ),
            "wheelhouse": _list(_object({"path": _PATH, "size_bytes": _COUNT, "sha256": _SHA256})),
            "kit": _list(
                _object(
                    {"host": _NAME, "present": _list(_TEXT), "missing": _list(_TEXT)},
                    {
                        "member_id": _or_null(_ID64),
                        "layout": _or_null(_NAME),
                        "excluded": _list(_TEXT),
                        "damaged": _list(_TEXT),
                        "encryption": _or_null(
                            _object({"providers": _list(_TEXT), "key_names": _list(_TEXT)})
                        ),
                    },
                )
            ),
            "certificates": _list(
                _object({"host": _NAME, "name": _NAME, "not_after": _TIME}),
            ),
            "clock_skew_seconds": _map(_SIGNED),
            "timing": _map({"type": "number"}),
            "warnings": _list(_TEXT),
        },
    ),
}

IDENTITY_V1: _Schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": IDENTITY,
    "title": "Which cluster a name of an archive of controlplane.etcd belongs to",
    **_object(
        {
            "schema": {"const": IDENTITY},
            "created_at": _TIME,
            "collection_version": _NAME,
            "cluster": _object({"name": _NAME, "instance": _NAME}),
            "kube_system_uid": _or_null(_NAME),
            "lineage": {**_list(_LINEAGE), "minItems": 1},
        },
        {"must_understand": _list(_TEXT)},
    ),
}

# Expected and found are figures or words: counts, revisions, hashes. Names of objects are in none of them.
_FIGURE: _Schema = {"type": ["string", "integer", "number", "boolean", "null"]}

# The required ones are what every reader of proofs relies on.
PROOF_V1: _Schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": PROOF,
    "title": "What a drill found of one entry of an archive of controlplane.etcd",
    **_object(
        {
            "schema": {"const": PROOF},
            "entry": _ENTRY,
            "sha256": _SHA256,
            "verdict": {"enum": ["passed", "failed"]},
            "finished_at": _TIME,
        },
        {
            "must_understand": _list(_TEXT),
            "etcd_cluster": _NAME,
            "etcd_instance": _NAME,
            "reason": _TEXT,
            "collection_version": _NAME,
            "node": _NAME,
            "node_started_at": _or_null(_TIME),
            "node_finished_at": _or_null(_TIME),
            "rto_seconds": _or_null(_COUNT),
            "phases": _list(_object({"name": _NAME, "seconds": {"type": "number", "minimum": 0}})),
            "comparisons": _list(
                _object(
                    {"name": _NAME, "result": {"enum": ["passed", "failed", "not_comparable"]}},
                    {"expected": _FIGURE, "found": _FIGURE, "detail": _or_null(_TEXT)},
                )
            ),
            "not_checked": _list(_object({"name": _NAME, "why": _TEXT})),
            "versions": _map(_or_null(_TEXT)),
            "isolation": _or_null(_NAME),
            "db_size_bytes": _or_null(_COUNT),
        },
    ),
}


def load(data: bytes, schema: _Schema, where: str) -> dict[str, t.Any]:
    """Parse and validate a document of `schema`; `where` is the file's name for messages.

    :raises ManifestInvalid: it is not JSON, breaks the schema, or asks for what this version does
        not understand.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as exc:  # UnicodeDecodeError is a ValueError
        raise ManifestInvalid(
            f"{where} is not JSON: {exc}.",
            hint="The file is damaged or was never a record of this collection.",
            path=where,
        ) from exc
    check(document, schema, where)
    return t.cast("dict[str, t.Any]", document)


def check(document: t.Any, schema: _Schema, where: str) -> None:
    """Validate a parsed document; see load()."""
    jsonschema = _deps.load("jsonschema")
    wanted = schema["$id"]
    if isinstance(document, dict) and document.get("schema") != wanted:
        raise ManifestInvalid(
            f"{where} says schema {str(document.get('schema'))[:80]!r}, not {wanted}.",
            hint="A newer version of the collection may read it.",
            path=where,
        )
    validator = jsonschema.Draft202012Validator(schema)
    broken = sorted(validator.iter_errors(document), key=lambda error: list(map(str, error.path)))
    if broken:
        places = "; ".join(
            f"{'.'.join(map(str, error.path)) or 'document'}: {error.message[:160]}"
            for error in broken[:5]
        )
        raise ManifestInvalid(
            f"{where} breaks {wanted} in {len(broken)} place(s): {places}.",
            hint="docs/formats.md explains the fields.",
            path=where,
        )
    unknown = sorted(set(document.get("must_understand", ())) - UNDERSTOOD)
    if unknown:
        raise ManifestInvalid(
            f"{where} must not be used without understanding {', '.join(unknown)}, "
            "which this version of controlplane.etcd does not.",
            hint="Use the newer version of the collection that wrote it.",
            path=where,
        )


def dump(document: t.Mapping[str, t.Any], schema: _Schema, where: str) -> bytes:
    """Return the bytes of a document that keeps `schema`: sorted, indented, ending in a newline.

    :raises ManifestInvalid: it does not.
    """
    data = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    load(data.encode(), schema, where)
    return data.encode() + b"\n"
