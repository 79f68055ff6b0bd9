# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What a kit holds, told without its secrets: certificates, CA keys, encryption at rest."""

from __future__ import annotations

import base64
import dataclasses
import re
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _time
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts import names
from ansible_collections.controlplane.etcd.plugins.module_utils._pki import (
    kubeconfig,
    reading,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._pki import (
    model as pki,
)

from .model import Taken

__all__ = [
    "Certificate",
    "Encryption",
    "ca_keys",
    "certificates",
    "embedded",
    "encryption",
    "has_providers",
]

# The lengths that each provider takes (aesKeySizes, secretBoxKeySizes in apiserver
# pkg/apis/apiserver/validation/validation_encryption.go).
_KEY_BYTES = {"aescbc": (16, 24, 32), "aesgcm": (16, 24, 32), "secretbox": (32,)}


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
    problems: tuple[str, ...] = ()
    """Keys that can't be used, and why; `key_names` does not have them."""


def certificates(files: t.Iterable[Taken]) -> tuple[Certificate, ...]:
    """Return every certificate in a file of a standard name, those inside kubeconfigs too.

    A kubeconfig's copy of an authority is named only where no file of its own holds it.
    """
    found: list[tuple[str, pki.Certificate]] = []
    copies: list[tuple[str, pki.Certificate]] = []
    for file in files:
        if not file.names:
            continue
        own, authorities = embedded(file)
        own = [*reading.read(file.content.data).certificates, *own]
        found += [(file.names[0], each) for each in own]
        copies += [(file.names[0], each) for each in authorities]
    seen = {certificate.fingerprint for _path, certificate in found}
    for name, certificate in copies:
        if certificate.fingerprint not in seen:
            seen.add(certificate.fingerprint)
            found.append((name, certificate))
    unique = {
        Certificate(name, _time.rfc3339(certificate.not_after)) for name, certificate in found
    }
    return tuple(sorted(unique, key=lambda each: (each.name, each.not_after)))


def ca_keys(files: t.Sequence[Taken]) -> frozenset[str]:
    """Return the paths of files with a private key that signs certificates.

    Known by their standard names, and by content: the key of any certificate found that is a CA's.
    """
    contents = {file.path: reading.read(file.content.data) for file in files}
    certificates_found = [each for read in contents.values() for each in read.certificates]
    for file in files:
        own, authorities = embedded(file)
        certificates_found += [*own, *authorities]
    signing = {each.public_key for each in certificates_found if each.is_ca and each.public_key}
    return frozenset(
        file.path
        for file in files
        if names.CA_KEYS.intersection(file.names)
        or "cluster-signing.key" in file.names
        or any(key.public_key in signing for key in contents[file.path].keys)
    )


def encryption(files: t.Iterable[Taken]) -> Encryption:
    """Return what the encryption configuration that is in use names; nothing where there is none."""
    providers: list[str] = []
    keys: list[str] = []
    kms: list[str] = []
    problems: dict[str, str] = {}
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
                problem = _unusable(provider, key.get("secret"))
                if problem is not None:
                    problems.setdefault(keys[-1], problem)
    usable = [each for each in keys if each not in problems]
    return Encryption(
        providers=tuple(dict.fromkeys(providers)),
        key_names=tuple(dict.fromkeys(usable)),
        kms=tuple(dict.fromkeys(kms)),
        problems=tuple(
            f"the secret of key {label} {problem}" for label, problem in problems.items()
        ),
    )


def has_providers(documents: t.Iterable[t.Mapping[str, t.Any]]) -> bool:
    """Tell whether an encryption configuration names any provider."""
    return any(True for _provider in _providers(documents))


def _unusable(provider: str, secret: object) -> str | None:
    """Tell why the API server refuses a secret; quotes nothing of it."""
    if not isinstance(secret, str):
        return "is no text"
    try:
        size = len(base64.b64decode(re.sub(r"[\r\n]", "", secret), validate=True))
    except ValueError:  # binascii.Error is one; so is text that is not ASCII
        return "is no base64"
    taken = _KEY_BYTES.get(provider)
    if size in taken if taken else size:
        return None
    wanted = f", which is none of {', '.join(map(str, taken))}" if taken else ""
    return f"has {size} bytes{wanted}"


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


def embedded(file: Taken) -> tuple[list[pki.Certificate], list[pki.Certificate]]:
    """Return a kubeconfig's client certificates, and its authorities."""
    if file.parsed.kind != "Config":
        return [], []
    own: list[pki.Certificate] = []
    authorities: list[pki.Certificate] = []
    for document in file.parsed.documents:
        for carrier in kubeconfig.entries(file.path, document).embedded:
            where = authorities if (carrier.field or "").startswith("clusters[") else own
            where += carrier.contents.certificates
    return own, authorities
