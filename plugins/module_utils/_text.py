# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Text that others wrote, as it can be shown: what it holds must not reach a terminal as it is."""

from __future__ import annotations

__all__ = ["MOST_BYTES", "printable", "shown"]

MOST_BYTES = 1024
"""Above what Kubernetes needs: the parts of an etcd key have 253, 63, 63 and 253 characters."""


def printable(text: str) -> str:
    """Return text as one line of valid UTF-8: what can't be printed becomes `\\xNN` or `\\uNNNN`."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(char: str) -> str:
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"


def shown(name: str | bytes) -> str:
    """Return a name out of a file: printable, and cut to `MOST_BYTES` with its whole length told."""
    if isinstance(name, str):
        if len(name) <= MOST_BYTES // 4 and name.isprintable():
            return name
        name = name.encode("utf-8", "backslashreplace")
    text = printable(name[:MOST_BYTES].decode("utf-8", "backslashreplace"))
    return text if len(name) <= MOST_BYTES else f"{text}… ({len(name)} bytes)"
