# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""An archive's encryption configuration, made fit for a node that has no KMS plugin.

Key material is in `text` only, which nothing prints; `scrub` takes it out of whatever a program says.
"""

from __future__ import annotations

import copy
import typing as t
from dataclasses import dataclass, field

from ansible_collections.controlplane.etcd.plugins.module_utils import _deps, _yaml
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import KitError
from ansible_collections.controlplane.etcd.plugins.module_utils._kit.bundle import open_kit
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts.names import (
    ENCRYPTION_CONFIG,
)

__all__ = ["NO_ENCRYPTION", "EncryptionConfig", "parse", "read"]

# Whole files, and no more than an API server would read of one.
_MAX_BYTES = 4 << 20
_KINDS = ("EncryptionConfiguration", "EncryptionConfig")


@dataclass(frozen=True)
class EncryptionConfig:
    """What a kube-apiserver decrypts with."""

    text: bytes = field(repr=False)
    """The file for --encryption-provider-config, without KMS; empty: there is no encryption."""
    keys: frozenset[str]
    """`provider/key name`, as catalogues count them."""
    kms: tuple[str, ...]
    """`kms-v2/plugin name` of what was taken out."""
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def scrub(self, text: str) -> str:
        """Return `text` without any key."""
        for secret in self.secrets:
            text = text.replace(secret, "(a key)")
        return text


NO_ENCRYPTION = EncryptionConfig(b"", frozenset(), ())


def read(source: t.Any) -> EncryptionConfig:
    """Read the opened part `encryption` of an archive's entry.

    :raises KitError: it is no kit, or holds no encryption configuration that can be used.
    """
    kit, files = open_kit(source)
    found = None
    for file, data in files:
        if ENCRYPTION_CONFIG in file.names and found is None:
            found = parse(data, file.path)
    if found is None:
        named = "none" if not kit.files else ", ".join(sorted(each.path for each in kit.files)[:5])
        raise KitError(
            f"The archive's part encryption holds no encryption configuration (files: {named}).",
            hint="Take another backup, and look at kit.missing of its report.",
        )
    return found


def parse(data: bytes, path: str) -> EncryptionConfig:
    """Read an EncryptionConfiguration (apiserver, pkg/apis/apiserver/v1) and take KMS out.

    :raises KitError: it is none; no message shows its content.
    """
    yaml = _deps.load("yaml")
    try:
        documents = _yaml.load(data.decode("utf-8"), most=1) if len(data) <= _MAX_BYTES else []
    except _yaml.NotYaml as exc:
        raise _unusable(path, exc.message) from exc
    except UnicodeDecodeError as exc:
        raise _unusable(path, "it is no text in UTF-8") from exc
    document = documents[0] if documents else None
    if not isinstance(document, dict) or str(document.get("kind")) not in _KINDS:
        raise _unusable(path, "its kind is not EncryptionConfiguration")
    if not isinstance(document.get("resources"), list):
        raise _unusable(path, "it lists no resources")
    document = copy.deepcopy(document)
    keys: set[str] = set()
    kms: list[str] = []
    secrets: list[str] = []
    for resource in document["resources"]:
        providers = resource.get("providers") if isinstance(resource, dict) else None
        if not isinstance(providers, list):
            raise _unusable(path, "a resource has no providers")
        kept = []
        for provider in providers:
            if not isinstance(provider, dict):
                raise _unusable(path, "a provider is no mapping")
            body = provider.get("kms")
            if isinstance(body, dict):
                kms.append(f"kms-{body.get('apiVersion', 'v1')}/{body.get('name', '?')}")
                continue
            for name, secret in _keys(provider):
                keys.add(name)
                secrets.append(secret)
            kept.append(provider)
        resource["providers"] = kept or [{"identity": {}}]
    text: bytes = yaml.safe_dump(document, sort_keys=False).encode("utf-8")
    return EncryptionConfig(
        text=text,
        keys=frozenset(keys),
        kms=tuple(dict.fromkeys(kms)),
        secrets=tuple(sorted({each for each in secrets if len(each) > 7}, key=len, reverse=True)),
    )


def _keys(provider: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, str]]:
    for label, body in provider.items():
        listed = body.get("keys") if isinstance(body, dict) else None
        for key in listed if isinstance(listed, list) else []:
            if isinstance(key, dict):
                yield f"{label}/{key.get('name', '?')}", str(key.get("secret", ""))


def _unusable(path: str, why: str) -> KitError:
    return KitError(
        f"The archive's encryption configuration {path} cannot be used: {why}.",
        hint="Compare it with the file on the control plane's hosts, and take another backup.",
        path=path,
    )
