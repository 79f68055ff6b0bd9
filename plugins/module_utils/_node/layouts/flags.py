# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Read command lines, environment files and etcd's own config file into flags."""

from __future__ import annotations

import os
import re
import shlex
import typing as t

from .model import Flags

__all__ = ["from_argv", "from_config", "from_environment", "merge", "program_of"]

_SHELLS = ("sh", "bash", "dash", "ash", "busybox")
_REFERENCE = re.compile(r"\$\((\w+)\)|\$\{(\w+)\}|\$(\w+)")


def program_of(argv: t.Sequence[str], wanted: str) -> list[str] | None:
    """Return `argv` from the program `wanted` on, looking into `sh -c "..."`; None: not there."""
    words = list(argv)
    for position, word in enumerate(words):
        if os.path.basename(word) == wanted:
            return words[position:]
        if position == 0 and os.path.basename(word) in _SHELLS:
            script = next((words[i + 1] for i in (1, 2) if _is_script(words, i)), None)
            if script is not None:
                try:
                    return program_of(shlex.split(script), wanted)
                except ValueError:
                    return None
    return None


def _is_script(words: t.Sequence[str], position: int) -> bool:
    return len(words) > position + 1 and words[position] in ("-c", "-ec", "-xc")


def from_argv(argv: t.Sequence[str]) -> Flags:
    """Read `--flag=value`, `--flag value` and a bare `--flag` (which is `true`)."""
    found: dict[str, list[str]] = {}
    waiting: str | None = None
    for word in argv:
        if word.startswith("-") and len(word.lstrip("-")) > 0:
            if waiting is not None:
                found.setdefault(waiting, []).append("true")
                waiting = None
            name, equals, value = word.lstrip("-").partition("=")
            if equals:
                found.setdefault(name, []).append(value)
            else:
                waiting = name
        elif waiting is not None:
            found.setdefault(waiting, []).append(word)
            waiting = None
    if waiting is not None:
        found.setdefault(waiting, []).append("true")
    return Flags({name: tuple(values) for name, values in found.items()})


def from_environment(variables: t.Mapping[str, str]) -> Flags:
    """Read etcd's ETCD_* variables: ETCD_DATA_DIR is --data-dir."""
    return Flags(
        {
            name[len("ETCD_") :].lower().replace("_", "-"): (value,)
            for name, value in variables.items()
            if name.startswith("ETCD_") and value
        }
    )


def from_config(document: t.Mapping[str, t.Any]) -> Flags:
    """Read etcd's --config-file (etcd.conf.yml.sample), its TLS sections under the flags' names."""
    found: dict[str, tuple[str, ...]] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            prefix = {"client-transport-security": "", "peer-transport-security": "peer-"}.get(name)
            if prefix is not None:
                for inner, content in value.items():
                    found[prefix + inner] = (_text(content),)
        elif value is not None and value != "":
            found[name] = (_text(value),)
    return Flags(found)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(str(part) for part in value)
    return str(value)


def merge(weaker: Flags, stronger: Flags) -> Flags:
    """Return both, `stronger` winning where a flag is in both."""
    return Flags({**weaker.values, **stronger.values})


def expand(text: str, variables: t.Mapping[str, str]) -> str:
    """Replace `$(NAME)`, `${NAME}` and `$NAME` by what is known; the rest stays as it is."""

    def value(found: re.Match[str]) -> str:
        name = found.group(1) or found.group(2) or found.group(3)
        return variables.get(name, found.group(0))

    return _REFERENCE.sub(value, text)
