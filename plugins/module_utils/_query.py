# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""JMESPath expressions of the `query` options."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _deps, _text
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import OptionInvalid

__all__ = ["Node", "Query", "given"]

Node = dict[str, t.Any]

# Python ends at 1000 calls, and has some of them behind it.
_MOST_DEPTH = 200
# A node, and the list of what is below it.
_PER_OPERATOR = 2


def given(option: str | None) -> str | None:
    """Return what a `query` option holds; None if it is blank."""
    return (option or "").strip() or None


class Query:
    """An expression over a list of what `noun` names in plural; whatever is wrong with it, we say.

    :raises OptionInvalid: it is no expression; each method raises that too.
    """

    def __init__(self, text: str, *, noun: str, example: str) -> None:
        self._jmespath = _deps.load("jmespath")
        self._noun = noun
        self._hint = f"It is applied to the list of {noun}, as in {example}."
        try:
            self.tree: Node = self._jmespath.compile(text).parsed
        except (self._jmespath.exceptions.JMESPathError, ValueError, RecursionError) as exc:
            raise self.refusal(f"is not a JMESPath expression: {_one_line(exc)}") from exc
        if _is_deep(self.tree):
            raise self.refusal(f"is nested, or a chain of, more than {_MOST_DEPTH} operators deep")

    def apply(self, data: t.Any) -> t.Any:
        """Return what the expression gives."""
        return self.checked(self.evaluate(self.tree, data))

    def evaluate(self, node: Node, data: t.Any) -> t.Any:
        """Return what a part of the expression gives."""
        try:
            return self._jmespath.visitor.TreeInterpreter().visit(node, data)
        # The library lets Python's own errors through: a slice's step of 0, odd literals, ceil() of
        # what is infinite.
        except (
            self._jmespath.exceptions.JMESPathError,
            ArithmeticError,
            ValueError,
            TypeError,
            RecursionError,
        ) as exc:
            raise self.refusal(f"does not fit the {self._noun}: {_one_line(exc)}") from exc

    def checked(self, answer: t.Any) -> t.Any:
        """Return an answer that can be shown as JSON."""
        try:
            for item in answer if isinstance(answer, list) else [answer]:
                json.dumps(item, allow_nan=False, ensure_ascii=False).encode("utf-8")
        # A bare &expression, to_number('NaN'), and half of a surrogate.
        except (TypeError, ValueError) as exc:
            raise self.refusal(f"gives what JSON can't hold: {_one_line(exc)}") from exc
        return answer

    def refusal(self, why: str, *, hint: str = "") -> OptionInvalid:
        """Return the error to raise."""
        return OptionInvalid(f"Option query {why}.", hint=f"{hint} {self._hint}".strip())


def _one_line(exc: Exception) -> str:
    return _text.printable(" ".join(str(exc).split()).rstrip(".")[:300])


def _is_deep(tree: Node) -> bool:
    """Tell whether functions that call themselves for each level may be at their end in it."""
    level: list[t.Any] = [tree]
    for _turn in range(_MOST_DEPTH * _PER_OPERATOR):
        below = [list(each.values()) if isinstance(each, dict) else each for each in level]
        level = [item for each in below for item in each if isinstance(item, (dict, list))]
        if not level:
            return False
    return True
