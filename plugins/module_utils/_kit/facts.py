# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What a kit holds, told without its secrets: certificates, CA keys, encryption at rest."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import datetime as dt
import re
import typing as t
import warnings

from ansible_collections.controlplane.etcd.plugins.module_utils import _deps, _time
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts import names

from .model import Taken

__all__ = ["Certificate", "Encryption", "ca_keys", "certificates", "encryption"]

_CERTIFICATE = re.compile(
    rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----.+?-----END (?:TRUSTED )?CERTIFICATE-----", re.DOTALL
)
_KEY = re.compile(
    rb"-----BEGIN ([A-Z0-9 ]*)PRIVATE KEY-----.+?-----END \1PRIVATE KEY-----", re.DOTALL
)


@dataclasses.dataclass(frozen=True)
class Certificate:
    """A certificate by the standard name of the file that holds it."""

    name: str
    not_after: str


@dataclasses.dataclass(frozen=True)
class Encryption:
    """Encryption at rest: which providers, which keys by name."""

    providers: tuple[str, ...]
    key_names: tuple[str, ...]
    """`provider/name`, spelled as in a snapshot's counts of Secrets."""
    kms: tuple[str, ...]


def certificates(files: t.Iterable[Taken]) -> tuple[Certificate, ...]:
    """Return every certificate in a file of a standard name, those inside kubeconfigs too.

    A kubeconfig's copy of an authority is named only where no file of its own holds it.
    """
    found: list[tuple[str, t.Any]] = []
    copies: list[tuple[str, t.Any]] = []
    for file in files:
        if not file.names:
            continue
        found += [(file.names[0], each) for each in _load(file.content.data)]
        own, authorities = _embedded(file)
        found += [(file.names[0], each) for each in own]
        copies += [(file.names[0], each) for each in authorities]
    seen = {certificate for _path, certificate in found}
    for name, certificate in copies:
        if certificate not in seen:
            seen.add(certificate)
            found.append((name, certificate))
    unique = {
        Certificate(name, _time.rfc3339(_not_after(certificate))) for name, certificate in found
    }
    return tuple(sorted(unique, key=lambda each: (each.name, each.not_after)))


def ca_keys(files: t.Sequence[Taken]) -> frozenset[str]:
    """Return the paths of files with a private key that signs certificates.

    Known by their standard names, and by content: the key of any certificate found that is a CA's.
    """
    serialization = _deps.load("cryptography.hazmat.primitives.serialization")
    authorities = {
        _public_bytes(certificate.public_key(), serialization)
        for file in files
        for certificate in [*_load(file.content.data), *_embedded(file)[0], *_embedded(file)[1]]
        if _is_authority(certificate)
    }
    found = set()
    for file in files:
        if names.CA_KEYS.intersection(file.names) or "cluster-signing.key" in file.names:
            found.add(file.path)
            continue
        for match in _KEY.finditer(file.content.data):
            try:
                key = serialization.load_pem_private_key(match.group(0), password=None)
            except (
                ValueError,
                TypeError,
                _deps.load("cryptography.exceptions").UnsupportedAlgorithm,
            ):
                continue
            if _public_bytes(key.public_key(), serialization) in authorities:
                found.add(file.path)
    return frozenset(found)


def encryption(files: t.Iterable[Taken]) -> Encryption:
    """Return what the encryption configuration that is in use names; nothing where there is none."""
    providers: list[str] = []
    keys: list[str] = []
    kms: list[str] = []
    for file in files:
        if names.ENCRYPTION_CONFIG not in file.names:
            continue
        for provider, body in _providers(file.parsed.documents):
            label = provider
            if provider == "kms":
                label = f"kms-{_text(body.get('apiVersion'), 'v1')}"
                kms.append(_text(body.get("name"), "?"))
                keys.append(f"{label}/{kms[-1]}")
            providers.append(label)
            for key in _mappings(body.get("keys")):
                keys.append(f"{label}/{_text(key.get('name'), '?')}")
    return Encryption(*(tuple(dict.fromkeys(each)) for each in (providers, keys, kms)))


def _providers(
    documents: t.Iterable[t.Mapping[str, t.Any]],
) -> t.Iterator[tuple[str, t.Mapping[str, t.Any]]]:
    for document in documents:
        for resource in _mappings(document.get("resources")):
            for provider in _mappings(resource.get("providers")):
                for name, body in provider.items():
                    yield _text(name, "?"), body if isinstance(body, dict) else {}


def _text(value: object, otherwise: str) -> str:
    # A name only: whatever else stands there could be a key in the wrong place.
    if isinstance(value, str) and re.fullmatch(r"[\w.@-]{1,253}", value):
        return value
    return otherwise if value is None else "(unreadable)"


def _mappings(value: object) -> list[dict[str, t.Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _load(data: bytes) -> list[t.Any]:
    x509 = _deps.load("cryptography.x509")
    found = []
    for match in _CERTIFICATE.finditer(data):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found.append(x509.load_pem_x509_certificate(match.group(0)))
        except ValueError:
            continue
    return found


def _embedded(file: Taken) -> tuple[list[t.Any], list[t.Any]]:
    """Return a kubeconfig's client certificates, and its authorities."""
    if file.parsed.kind != "Config":
        return [], []
    own: list[t.Any] = []
    authorities: list[t.Any] = []
    for document in file.parsed.documents:
        for entry in _mappings(document.get("users")):
            own += _decoded(entry.get("user"), "client-certificate-data")
        for entry in _mappings(document.get("clusters")):
            authorities += _decoded(entry.get("cluster"), "certificate-authority-data")
    return own, authorities


def _decoded(body: object, key: str) -> list[t.Any]:
    value = body.get(key) if isinstance(body, dict) else None
    if not isinstance(value, str):
        return []
    try:
        return _load(base64.b64decode(value))
    except (binascii.Error, ValueError):
        return []


def _is_authority(certificate: t.Any) -> bool:
    x509 = _deps.load("cryptography.x509")
    try:
        extension = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except (x509.ExtensionNotFound, ValueError):
        return False
    return bool(extension.value.ca)


def _public_bytes(key: t.Any, serialization: t.Any) -> bytes:
    return t.cast(
        bytes,
        key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
    )


def _not_after(certificate: t.Any) -> dt.datetime:
    moment = getattr(certificate, "not_valid_after_utc", None)  # cryptography 42 and later
    return moment or certificate.not_valid_after.replace(tzinfo=dt.timezone.utc)
