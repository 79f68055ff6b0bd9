# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What the archive says the cluster holds, compared with what a real API server can read of it."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .api_client import METADATA, Api
from .discovery import Definition, Discovery, definitions, discover
from .encryption import NO_ENCRYPTION, EncryptionConfig
from .listing import ListRefused, count, why

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._kubernetes.keys import (
        ObjectKey,
    )

    from .discovery import Resource

__all__ = ["ApiFindings", "Comparison", "Held", "NotChecked", "compare"]

_NAMED = 6
_KMS = "kms-"


@dataclass(frozen=True)
class Held:
    """What the image holds, as its catalogue counted it at `revision`."""

    revision: int
    counts: t.Mapping[str, int]
    encrypted: t.Mapping[str, t.Mapping[str, int]] = field(default_factory=dict)
    """Per resource, objects per `provider/key name`."""
    by_key: t.Mapping[str, ObjectKey | None] = field(default_factory=dict)
    """An object for each `provider/key name`."""


@dataclass(frozen=True)
class Comparison:
    """One thing that was compared; `result` is passed, failed or not_comparable."""

    name: str
    result: str
    expected: int
    found: int
    detail: str = ""


@dataclass(frozen=True)
class NotChecked:
    """Something that this drill can say nothing about."""

    name: str
    why: str


@dataclass(frozen=True)
class ApiFindings:
    """What came of it. No name of an object is in it: it is written into a proof."""

    comparisons: tuple[Comparison, ...]
    not_checked: tuple[NotChecked, ...]
    resource_count: int
    """How many resources were listed."""


class _Seen:
    """Collects what was found, resource by resource."""

    def __init__(self) -> None:
        self.not_checked: list[NotChecked] = []
        self.listed = 0
        self._totals: dict[bool, list[int]] = {False: [0, 0], True: [0, 0]}
        self._wrong: dict[bool, list[str]] = {False: [], True: []}

    def skip(self, name: str, reason: str) -> None:
        self.not_checked.append(NotChecked(name, reason))

    def take(self, name: str, *, custom: bool, expected: int, found: int, wrong: str = "") -> None:
        self.listed += 1
        totals = self._totals[custom]
        totals[0] += expected
        totals[1] += found
        if wrong:
            self._wrong[custom].append(f"{name}: {found} of {expected} objects read, then {wrong}")
        elif expected != found:
            self._wrong[custom].append(f"{name}: {found} objects, the archive has {expected}")

    def comparison(self, name: str, *, custom: bool) -> Comparison:
        wrong = self._wrong[custom]
        expected, found = self._totals[custom]
        rest = f"; {len(wrong) - _NAMED} more resources" if len(wrong) > _NAMED else ""
        return Comparison(
            name=name,
            result="failed" if wrong else "passed",
            expected=expected,
            found=found,
            detail="; ".join(wrong[:_NAMED]) + rest,
        )


def compare(api: Api, held: Held, config: EncryptionConfig = NO_ENCRYPTION) -> ApiFindings:
    """List every stored resource at the image's revision, and read one object for each key.

    :raises ApiServerFailed: the server is gone.
    """
    defined = {each.group_resource: each for each in definitions(api)}
    discovery = discover(api, defined.values())
    seen = _Seen()
    left = dict(held.counts)
    for name in sorted(discovery.resources):
        resource = discovery.resources[name]
        expected = left.pop(name, None)
        if expected is None and resource.name in left and discovery.find(resource.name) is resource:
            # The catalogue could not tell its group: its values are encrypted.
            expected = left.pop(resource.name)
        _list(api, held, resource, expected or 0, defined.get(name), seen)
    for name, total in sorted(left.items()):
        _explain(name, total, defined, discovery, seen)
    _aggregated(api, discovery, seen)
    secrets = _read_by_key(api, held, config, discovery, seen)
    comparisons = (
        seen.comparison("api_objects", custom=False),
        seen.comparison("api_custom_objects", custom=True),
        *secrets,
    )
    return ApiFindings(comparisons, tuple(seen.not_checked), seen.listed)


def _list(
    api: Api,
    held: Held,
    resource: Resource,
    expected: int,
    definition: Definition | None,
    seen: _Seen,
) -> None:
    name = resource.group_resource
    sealed = held.encrypted.get(name) or held.encrypted.get(resource.name) or {}
    kms = sum(total for key, total in sealed.items() if key.startswith(_KMS))
    if kms:
        seen.skip(
            name,
            f"none of its {expected} objects was read: {kms} are encrypted by KMS, whose plugin is "
            "not on this node",
        )
        return
    is_custom = definition is not None
    try:
        found = count(api, resource, held.revision)
    except ListRefused as exc:
        if definition is not None and definition.by_webhook and exc.by_webhook:
            seen.skip(name, f"{expected} objects: some need their conversion webhook to be read")
            return
        seen.take(name, custom=is_custom, expected=expected, found=exc.read, wrong=str(exc))
        return
    seen.take(name, custom=is_custom, expected=expected, found=found)


def _explain(
    name: str, total: int, defined: dict[str, Definition], discovery: Discovery, seen: _Seen
) -> None:
    """Say why a resource that etcd holds is not served."""
    definition = defined.get(name)
    group = name.rpartition("/")[0]
    silent = [each for each in discovery.silent if each.rpartition("/")[0] == group]
    if definition is not None and definition.established:
        seen.take(name, custom=True, expected=total, found=0, wrong="the server does not serve it")
    elif definition is not None:
        reason = "its CustomResourceDefinition is not established in the archive"
        seen.skip(name, f"{total} objects: {reason}")
    elif silent:
        seen.skip(name, f"{total} objects: the API {silent[0]} does not answer here")
    elif "." in group and not group.endswith(".k8s.io"):
        reason = "no CustomResourceDefinition in the archive defines it"
        seen.skip(name, f"{total} objects: {reason}")
    else:
        reason = "this API server does not serve it (an API that was removed, or is off by default)"
        seen.skip(name, f"{total} objects: {reason}")


def _aggregated(api: Api, discovery: Discovery, seen: _Seen) -> None:
    """Say which APIs other servers would serve: their objects may lie elsewhere."""
    services = discovery.resources.get("apiregistration.k8s.io/apiservices")
    named: set[str] = set()
    if services is not None:
        # If it can't be listed, that was told above.
        for item in api.get(services.path()).document.get("items") or []:
            spec = item.get("spec") or {}
            if spec.get("service"):
                named.add(f"{spec.get('group')}/{spec.get('version')}")
                seen.skip(
                    f"API {spec.get('group')}/{spec.get('version')}",
                    "an aggregated API: a server of its own answers for it",
                )
    for each in discovery.silent:
        if each not in named:
            seen.skip(f"API {each}", "the server does not answer for it")


def _read_by_key(
    api: Api, held: Held, config: EncryptionConfig, discovery: Discovery, seen: _Seen
) -> list[Comparison]:
    """Read an object for each key: it is decrypted and decoded, and stays in the server."""
    wrong: list[str] = []
    read = 0
    expected = 0
    for key, place in held.by_key.items():
        total = sum(each.get(key, 0) for each in held.encrypted.values())
        if key.startswith(_KMS):
            seen.skip(f"objects of {key}", f"{total} objects: KMS is not reached from a drill")
            continue
        expected += 1
        resource = discovery.find(place.group_resource) if place else None
        if key not in config.keys:
            wrong.append(f"{key}: not in the archive's encryption configuration ({total} objects)")
        elif place is None or resource is None:
            expected -= 1
            seen.skip(f"objects of {key}", f"{total} objects: their resource is not served here")
        else:
            answer = api.get(resource.path(place.namespace, place.name), accept=METADATA)
            metadata = answer.document.get("metadata")
            name = metadata.get("name") if isinstance(metadata, dict) else None
            if answer.status == 200 and name == place.name:
                read += 1
            else:
                wrong.append(f"{key}: {resource.name} it encrypted cannot be read, {why(answer)}")
    if not held.by_key:
        return []
    return [
        Comparison(
            name="api_secrets",
            result="failed" if wrong else "passed",
            expected=expected,
            found=read,
            detail="; ".join(wrong),
        )
    ]
