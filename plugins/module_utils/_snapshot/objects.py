# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Objects of a snapshot one by one: where they belong, their figures, and a query over them."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _query
from ansible_collections.controlplane.etcd.plugins.module_utils._text import shown

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._kubernetes.catalogue import (
        Catalogue,
    )
    from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.hashing import Batch
    from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.keyvalue import KeyValue

    Node = _query.Node

__all__ = ["FIELDS", "ObjectQuery", "describe"]

# Objects are handed to the query in lots of this many.
_LOT = 2000
# What a query may keep before it has to be narrowed: some hundred MiB.
_MOST = 200_000
_EXAMPLE = "[?resource=='secrets' && size_bytes>`100000`].etcd_key"


FIELDS = frozenset(
    [
        "etcd_key",
        "resource",
        "namespace",
        "name",
        "create_revision",
        "mod_revision",
        "version",
        "lease",
        "size_bytes",
    ]
)
"""What an object has in a query."""


def describe(key: bytes, catalogue: Catalogue) -> dict[str, t.Any]:
    """Return which object an etcd key holds; resource is null for what holds none."""
    place = catalogue.find(key)
    return {
        "etcd_key": shown(key),
        "resource": shown(place.group_resource) if place else None,
        "namespace": shown(place.namespace) if place and place.namespace is not None else None,
        "name": shown(key.rpartition(b"/")[2]) if place else None,
    }


def _whole(entry: KeyValue, catalogue: Catalogue) -> dict[str, t.Any]:
    return {
        **describe(entry.key, catalogue),
        "create_revision": entry.create_revision,
        "mod_revision": entry.mod_revision,
        "version": entry.version,
        "lease": f"{entry.lease:x}",
        "size_bytes": entry.value_end - entry.value_start,
    }


class ObjectQuery:
    """A JMESPath expression over all objects, without holding them all.

    Filters and projections that begin at the list ([?…], [*].…) are evaluated lot by lot, and what
    they keep takes their place in the expression. Only where the expression needs the list itself,
    as in length(@), all objects are kept.

    :raises OptionInvalid: it is no expression, does not fit the objects, or keeps too many.
    """

    def __init__(self, text: str, catalogue: Catalogue) -> None:
        self._query = _query.Query(text, noun="objects", example=_EXAMPLE)
        self._catalogue = catalogue
        self._parts: dict[str, tuple[Node, list[t.Any]]] = {}
        self._rest = self._split(self._query.tree)
        self._whole: list[t.Any] = []
        if any(_readers(self._rest)):
            self._parts = {"": ({"type": "identity", "children": []}, self._whole)}
            self._rest = self._query.tree
        self._lot: list[dict[str, t.Any]] = []

    @property
    def unknown_fields(self) -> list[str]:
        """What the expression's filters and projections read of objects, and no object has."""
        read = {
            each["value"]
            for node, _kept in self._parts.values()
            for child in node["children"][1:]
            for each in _readers(child)
            if each["type"] == "field"
        }
        return sorted(read - FIELDS)

    def visit_batch(self, batch: Batch) -> None:
        """Take the live keys of one page; the catalogue has seen them before."""
        self._lot += [_whole(entry, self._catalogue) for entry in batch.entries()]
        if len(self._lot) >= _LOT:
            self._work()

    def finish(self) -> t.Any:
        """Return what the expression gives."""
        self._work()
        rest = self._rest
        for text, (_node, kept) in self._parts.items():
            rest = _replaced(rest, text, kept)
        return self._query.checked(self._query.evaluate(rest, self._whole))

    def _work(self) -> None:
        lot, self._lot = self._lot, []
        for node, kept in self._parts.values():
            kept += self._query.evaluate(node, lot) or []
            if len(kept) > _MOST:
                raise self._query.refusal(
                    f"keeps more than {_MOST} objects", hint="Begin it with a narrower filter."
                )

    def _split(self, node: Node) -> Node:
        """Take out what can be evaluated lot by lot, and leave marks in its place."""
        if _is_projection(node):
            text = json.dumps(node, sort_keys=True)
            self._parts.setdefault(text, (node, []))
            return {"type": "part", "children": [], "value": text}
        children = node.get("children") or []
        count = len(children) if node["type"] in _ALL_SEE_THE_LIST else 1
        if node["type"] == "expref":
            count = 0
        split = [
            self._split(child) if index < count and isinstance(child, dict) else child
            for index, child in enumerate(children)
        ]
        return {**node, "children": split}


# jmespath, visitor.py: these hand what they are given to all of their children; the others hand
# it to the first one only, and that one's result to the rest.
_ALL_SEE_THE_LIST = frozenset(
    {
        "function_expression",
        "multi_select_list",
        "multi_select_dict",
        "key_val_pair",
        "comparator",
        "and_expression",
        "or_expression",
        "not_expression",
    }
)


def _is_projection(node: Node) -> bool:
    """Tell whether a node maps or filters the list itself, object by object."""
    return (
        node["type"] in ("filter_projection", "projection")
        and node["children"][0]["type"] == "identity"
    )


def _readers(node: Node) -> t.Iterator[Node]:
    """Yield what in a node reads what that node is applied to, other than through parts."""
    if node["type"] in ("identity", "current", "field", "index", "slice"):
        yield node
    elif node["type"] not in ("part", "expref", "literal"):
        children = [child for child in node.get("children") or [] if isinstance(child, dict)]
        for child in children if node["type"] in _ALL_SEE_THE_LIST else children[:1]:
            yield from _readers(child)


def _replaced(node: Node, text: str, kept: list[t.Any]) -> Node:
    if node["type"] == "part" and node["value"] == text:
        return {"type": "literal", "children": [], "value": kept}
    children = [
        _replaced(child, text, kept) if isinstance(child, dict) else child
        for child in node.get("children") or []
    ]
    return {**node, "children": children}
