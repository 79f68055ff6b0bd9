# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What an API server serves: discovery documents and definitions of custom resources, read.

Pure but for `discover` and `definitions`. The classic documents (/api, /apis) are the same from the
first Kubernetes to the last; aggregated discovery came with 1.26.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

if t.TYPE_CHECKING:
    from .api_client import Api

__all__ = [
    "Definition",
    "Discovery",
    "Resource",
    "definitions",
    "discover",
    "parse_definition",
    "parse_groups",
    "parse_resources",
]

_CRDS = "customresourcedefinitions"
# A definition may be a megabyte.
_DEFINITIONS_AT_ONCE = 20


@dataclass(frozen=True)
class Resource:
    """A resource that can be listed, at one version of its group."""

    group: str
    version: str
    name: str
    kind: str
    namespaced: bool
    singular: str = ""
    short_names: tuple[str, ...] = ()

    @property
    def group_resource(self) -> str:
        """`group/resource`, or `resource` for the core group: as catalogues name it."""
        return f"{self.group}/{self.name}" if self.group else self.name

    @property
    def api_version(self) -> str:
        """What objects have as their apiVersion."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """Return the path of the list, or of one object."""
        base = f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"
        middle = f"/namespaces/{namespace}" if namespace else ""
        return f"{base}{middle}/{self.name}" + (f"/{name}" if name else "")


@dataclass(frozen=True)
class Discovery:
    """All resources by `group/resource`, and the group versions that nobody answered for."""

    resources: dict[str, Resource]
    silent: tuple[str, ...]

    def find(self, group_resource: str) -> Resource | None:
        """Return a resource; one that a catalogue knows without its group, by its name if unique."""
        found = self.resources.get(group_resource)
        if found is None and "/" not in group_resource:
            named = [each for each in self.resources.values() if each.name == group_resource]
            found = named[0] if len(named) == 1 else None
        return found


@dataclass(frozen=True)
class Definition:
    """What matters of a CustomResourceDefinition."""

    group: str
    resource: str
    storage_version: str
    served_versions: tuple[str, ...]
    stored_versions: tuple[str, ...]
    by_webhook: bool
    """Its versions are converted by a webhook, which is not there."""
    established: bool

    @property
    def group_resource(self) -> str:
        """`group/resource`, as catalogues name it."""
        return f"{self.group}/{self.resource}"


def parse_groups(document: t.Mapping[str, t.Any]) -> list[tuple[str, list[str]]]:
    """Return the groups of an APIGroupList with their versions, the preferred one first."""
    found = []
    for group in _mappings(document.get("groups")):
        name = _text(group.get("name"))
        versions = [_text(each.get("version")) for each in _mappings(group.get("versions"))]
        preferred = group.get("preferredVersion")
        first = _text(preferred.get("version")) if isinstance(preferred, dict) else ""
        versions = [first, *versions] if first else versions
        if name:
            found.append((name, [each for each in dict.fromkeys(versions) if each]))
    return found


def parse_resources(document: t.Mapping[str, t.Any], *, group: str, version: str) -> list[Resource]:
    """Return the resources of an APIResourceList that can be listed; no subresources."""
    found = []
    for each in _mappings(document.get("resources")):
        name, verbs = _text(each.get("name")), each.get("verbs")
        if not name or "/" in name or not isinstance(verbs, list) or "list" not in verbs:
            continue
        short = each.get("shortNames")
        found.append(
            Resource(
                group=group,
                version=version,
                name=name,
                kind=_text(each.get("kind")),
                namespaced=each.get("namespaced") is True,
                singular=_text(each.get("singularName")),
                short_names=tuple(map(_text, short)) if isinstance(short, list) else (),
            )
        )
    return found


def parse_definition(item: t.Mapping[str, t.Any]) -> Definition | None:
    """Read a CustomResourceDefinition, v1 or v1beta1; None if it is none."""
    spec, status = _mapping(item.get("spec")), _mapping(item.get("status"))
    group, plural = _text(spec.get("group")), _text(_mapping(spec.get("names")).get("plural"))
    versions = _mappings(spec.get("versions"))
    # apiextensions v1beta1 may name its only version in spec.version.
    only = _text(spec.get("version"))
    if not versions and only:
        versions = [{"name": only, "served": True, "storage": True}]
    stored = [_text(each.get("name")) for each in versions if each.get("storage") is True]
    if not group or not plural or not stored:
        return None
    conditions = {
        _text(each.get("type")): each.get("status") for each in _mappings(status.get("conditions"))
    }
    past = status.get("storedVersions")
    return Definition(
        group=group,
        resource=plural,
        storage_version=stored[0],
        served_versions=tuple(
            _text(each.get("name")) for each in versions if each.get("served") is True
        ),
        stored_versions=tuple(map(_text, past)) if isinstance(past, list) else (),
        by_webhook=_mapping(spec.get("conversion")).get("strategy") == "Webhook",
        established=conditions.get("Established") == "True",
    )


def discover(api: Api, defined: t.Iterable[Definition] = ()) -> Discovery:
    """Ask for all resources; custom ones at the version they are stored in, if it is served."""
    wanted = {each.group_resource: each.storage_version for each in defined}
    resources: dict[str, Resource] = {}
    silent = []
    core = api.document("/api").get("versions")
    groups = [("", list(map(_text, core)) if isinstance(core, list) else [])]
    groups += parse_groups(api.document("/apis"))
    for group, versions in groups:
        for version in versions:
            where = f"/apis/{group}/{version}" if group else f"/api/{version}"
            answer = api.get(where)
            if answer.status != 200:
                silent.append(f"{group}/{version}" if group else version)
                continue
            for each in parse_resources(answer.document, group=group, version=version):
                name = each.group_resource
                if name not in resources or wanted.get(name) == version:
                    resources[name] = each
    return Discovery(_distinct(resources), tuple(silent))


def definitions(api: Api) -> list[Definition]:
    """Return all CustomResourceDefinitions that the server has now."""
    group = "/apis/apiextensions.k8s.io"
    version = "v1"
    # v1 came with Kubernetes 1.16, v1beta1 went with 1.22.
    if api.get(f"{group}/v1").status != 200:
        version = "v1beta1"
    found: list[Definition] = []
    more = ""
    while True:
        query: dict[str, str | int] = {"limit": _DEFINITIONS_AT_ONCE}
        if more:
            query["continue"] = more
        answer = api.get(f"{group}/{version}/{_CRDS}", query)
        if answer.status != 200:
            return found
        page = answer.document
        parsed = map(parse_definition, _mappings(page.get("items")))
        found += [each for each in parsed if each is not None]
        more = _text(_mapping(page.get("metadata")).get("continue"))
        if not more:
            return found


# Served, listed, and not in etcd: kubernetes pkg/registry/core/componentstatus.
_NOT_STORED = frozenset({"componentstatuses"})
# Groups that show other groups' objects: events.k8s.io since 1.8, extensions until 1.22.
_OTHER_VIEWS = ("events.k8s.io", "extensions")


def _distinct(resources: dict[str, Resource]) -> dict[str, Resource]:
    """Leave out what is stored nowhere, and second views of the same objects."""
    own = {each.name for each in resources.values() if each.group not in _OTHER_VIEWS}
    return {
        name: each
        for name, each in resources.items()
        if name not in _NOT_STORED and not (each.group in _OTHER_VIEWS and each.name in own)
    }


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: object) -> t.Mapping[str, t.Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: object) -> list[t.Mapping[str, t.Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
