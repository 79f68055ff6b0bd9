# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""JMESPath expressions of the `query` options."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _deps
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import OptionInvalid

__all__ = ["Node", "Query"]

Node = dict[str, t.Any]


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

    def apply(self, data: t.Any) -> t.Any:
        """Return what the expression gives."""
        return self.checked(self.evaluate(self.tree, data))

    def evaluate(self, node: Node, data: t.Any) -> t.Any:
        """Return what a part of the expression gives."""
        try:
            return self._jmespath.visitor.TreeInterpreter().visit(node, data)
        # The library lets Python's own errors through: a slice's step of 0, odd literals.
        except (
            self._jmespath.exceptions.JMESPathError,
            ValueError,
            TypeError,
            RecursionError,
        ) as exc:
            raise self.refusal(f"does not fit the {self._noun}: {_one_line(exc)}") from exc

    def checked(self, answer: t.Any) -> t.Any:
        """Return an answer that can be shown as JSON."""
        try:
            for item in answer if isinstance(answer, list) else [answer]:
                json.dumps(item, allow_nan=False)
        # A bare &expression, and to_number('NaN').
        except (TypeError, ValueError) as exc:
            raise self.refusal(f"gives what JSON can't hold: {_one_line(exc)}") from exc
        return answer

    def refusal(self, why: str, *, hint: str = "") -> OptionInvalid:
        """Return the error to raise."""
        return OptionInvalid(f"Option query {why}.", hint=f"{hint} {self._hint}".strip())


def _one_line(exc: Exception) -> str:
    return " ".join(str(exc).split()).rstrip(".")[:300]
