# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Lists: every object of a resource at one revision, page by page, each decoded by the server."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .api_client import JSON, METADATA_LIST, Answer, Api

if t.TYPE_CHECKING:
    from .discovery import Resource

__all__ = ["ListRefused", "Listing", "count", "pages"]

# The server holds a page's whole objects: of the large ones, fewer at a time.
_PAGE = 500
_PAGE_OF_LARGE = 100
_LARGE = frozenset({"configmaps", "secrets"})
_MANY_BYTES = 8 << 20
# What an API server says of an object that it cannot read (apiserver pkg/storage/value, pkg/storage/
# etcd3). Anything else that it says may quote the object, and is not repeated.
_REASONS = re.compile(
    r"no matching prefix found|no matching key was found for the provided \w+ transformer|"
    r"identity transformer tried to read encrypted data|invalid padding on input|"
    r"invalid ciphertext size|cipher: message authentication failed|"
    r"output array was not large enough for encryption|unable to transform key|"
    r"the stored data was shorter than the required size|"
    r"conversion webhook for [^:\s]+, Kind=\w+ failed|"
    r"does not match the expected type prefix|no kind \S+ is registered for version \S+|"
    r"proto: [a-z ,A-Z]+|unexpected EOF|invalid character .{1,6} looking for beginning of value|"
    r"json parse error|couldn't get version/kind|"
    r"required revision has been compacted|Object 'Kind' is missing|too large resource version"
)


class ListRefused(Exception):
    """The server did not give a page; says why in words that show no object."""

    def __init__(self, answer: Answer, read: int) -> None:
        super().__init__(why(answer))
        self.read = read
        self.by_webhook = "conversion webhook" in answer.message


@dataclass(frozen=True)
class Listing:
    """What one list at a revision asks for."""

    resource: Resource
    revision: int
    namespace: str | None = None
    name: str | None = None
    labels: str = ""
    whole: bool = False
    """Whole objects; else their metadata alone."""

    def first_query(self) -> dict[str, str | int]:
        """Return the parameters that hold for every page."""
        query: dict[str, str | int] = {}
        if self.name:
            query["fieldSelector"] = f"metadata.name={self.name}"
        if self.labels:
            query["labelSelector"] = self.labels
        return query


def pages(api: Api, listing: Listing) -> t.Iterator[list[dict[str, t.Any]]]:
    """Yield the items of a list at exactly its revision.

    Parameters as Kubernetes 1.19 and later know them; with `limit` and without resourceVersionMatch,
    earlier ones take the revision as exact (API concepts, "resourceVersion in LIST").

    :raises ListRefused: a page doesn't come.
    """
    is_large = listing.whole or listing.resource.name in _LARGE or "." in listing.resource.group
    limit = _PAGE_OF_LARGE if is_large else _PAGE
    pinned: dict[str, str | int] = {
        "resourceVersion": listing.revision,
        "resourceVersionMatch": "Exact",
    }
    read = 0
    path = listing.resource.path(listing.namespace)
    while True:
        answer = api.get(
            path,
            {**listing.first_query(), "limit": limit, **pinned},
            accept=JSON if listing.whole else METADATA_LIST,
        )
        document = answer.document if answer.status == 200 else {}
        items, metadata = document.get("items"), document.get("metadata")
        if items is None and document.get("kind", "").endswith("List"):
            items = []
        if not isinstance(items, list) or not isinstance(metadata, dict):
            raise ListRefused(answer, read)
        read += len(items)
        yield items
        more = metadata.get("continue")
        if not more:
            return
        pinned = {"continue": more}
        if len(answer.data) > _MANY_BYTES:
            limit = max(limit // 2, 10)


def count(api: Api, resource: Resource, revision: int) -> int:
    """Return how many objects of a resource the server can read at a revision.

    :raises ListRefused: it can't read one of them.
    """
    return sum(len(items) for items in pages(api, Listing(resource, revision)))


def why(answer: Answer) -> str:
    """Return what a refusal tells, without anything of an object."""
    found = _REASONS.findall(answer.message)
    said = ", ".join(dict.fromkeys(found)) if found else "it says no more"
    return f"status {answer.status}: {said}"
