# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""YAML as kubectl reads it: one document an object, written as they come."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _deps

__all__ = ["Writer"]

# What PyYAML writes plain and Go's reader (sigs.k8s.io/yaml: YAML 1.1 and some of 1.2) takes for a
# number or a truth: 1e3, 0o17, y.
_NOT_PLAIN = re.compile(r"[-+.0-9]|(?:[yn]|yes|no|on|off|true|false|null|~)\Z", re.IGNORECASE)


class Writer:
    """Gives documents as YAML text."""

    def __init__(self) -> None:
        yaml = _deps.load("yaml")
        base = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

        class Dumper(base):  # type: ignore[misc, valid-type]
            """Quotes what another reader could take for something else; writes no aliases."""

            def ignore_aliases(self, data: object) -> bool:
                return True

        Dumper.add_representer(str, _text)
        self._yaml = yaml
        self._dumper = Dumper

    def document(self, item: t.Mapping[str, t.Any]) -> bytes:
        """Return one document with the line that begins it."""
        text: str = self._yaml.dump(
            dict(item),
            Dumper=self._dumper,
            default_flow_style=False,
            sort_keys=False,
            allow_unicode=True,
            width=1 << 30,
        )
        return f"---\n{text}".encode()


def _text(dumper: t.Any, data: str) -> t.Any:
    style = None
    if "\n" in data:
        style = "|"
    elif _NOT_PLAIN.match(data):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)
