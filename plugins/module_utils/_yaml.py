# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Read YAML that a host holds: whatever stands in it, the answer is plain values of a bounded size, or why not."""

from __future__ import annotations

import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _deps
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import EtcdToolError

__all__ = ["NotYaml", "load"]

_MERGE = "tag:yaml.org,2002:merge"
# Go's YAML, too, refuses "excessive aliasing" beyond about as much (go-yaml decode.go,
# allowedAliasRatio), and an anchor that contains itself.
_MOST_EXPANDED = 400_000
_TEXT_PER_VALUE = 100
_MOST_BITS = 4096


class NotYaml(EtcdToolError):
    """A text is no YAML that can be used; says why in words that quote nothing of it."""

    kind = "not_yaml"


def load(text: str, *, most: int | None = None) -> list[t.Any]:
    """Return the documents of a text, the first `most` of them; what follows is not read then.

    :raises NotYaml: it is none, holds what can't be made a value of, or expands by its aliases to
        more than its programs would take.
    """
    yaml = _deps.load("yaml")
    found: list[t.Any] = []
    loader = None
    try:
        loader = _loader(yaml)(text)
        while (most is None or len(found) < most) and loader.check_data():
            found.append(loader.get_data())
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        # The message itself may quote the file.
        raise NotYaml(f"line {mark.line + 1} is no YAML" if mark else "it is no YAML") from exc
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as e:
        # `!!int ""`, `!!bool x`, `!!timestamp x`, 2026-99-99 (PyYAML's constructor.py).
        raise NotYaml("it is nested too deeply or holds an impossible value") from e
    finally:
        if loader is not None:
            loader.dispose()
    _bound(found)
    return found


def _loader(yaml: t.Any) -> t.Any:
    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """PyYAML's, which copies what is merged (`<<: [*a, *a]`) as often as it is named."""

        merged = 0

        def flatten_mapping(self, node: t.Any) -> None:
            for key, value in node.value:
                if key.tag != _MERGE:
                    continue
                several = isinstance(value, yaml.SequenceNode)
                for each in value.value if several else [value]:
                    if isinstance(each, yaml.MappingNode):
                        self.flatten_mapping(each)
                        self.merged += 1 + len(each.value)
                        if self.merged > _MOST_EXPANDED:
                            raise yaml.constructor.ConstructorError(
                                None, None, "too much is merged", node.start_mark
                            )
            super().flatten_mapping(node)

    return Loader


def _bound(documents: list[t.Any]) -> None:
    """Refuse what would be too much for whoever walks it, every alias as what it stands for."""
    sizes: dict[int, int] = {}
    inside: set[int] = set()
    repeated = False
    pending: list[tuple[t.Any, bool]] = [(documents, False)]
    while pending:
        node, done = pending.pop()
        parts = _parts(node)
        if done:
            inside.discard(id(node))
            sizes[id(node)] = 1 + sum(
                sizes[id(each)] if _holds(each) else _weight(each) for each in parts
            )
        elif id(node) in inside:
            raise NotYaml("an anchor of it contains itself")
        elif id(node) in sizes:
            repeated = True
        else:
            inside.add(id(node))
            pending.append((node, True))
            pending += [(each, False) for each in parts if _holds(each)]
    if repeated and sizes[id(documents)] > _MOST_EXPANDED:
        raise NotYaml("its aliases expand to too many values")


def _holds(value: t.Any) -> bool:
    return isinstance(value, (dict, list, set, tuple))


def _parts(value: t.Any) -> list[t.Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return list(value)


def _weight(value: t.Any) -> int:
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise NotYaml("it holds an impossible value")  # Python would not write it, nor Go read it
    return 1 + len(value) // _TEXT_PER_VALUE if isinstance(value, (str, bytes)) else 1
