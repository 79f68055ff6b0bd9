# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The only guarded third-party imports.

Each function returns the module or raises DependencyMissing, so that a module that needs none of
them runs in any interpreter. Role etcd_runtime installs them on hosts; README.md names what the
controller needs.
"""

from __future__ import annotations

import importlib
import os
import sys
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import DependencyMissing

__all__ = ["load"]

# import name -> the name to install by
_PACKAGES = {
    "cryptography": "cryptography",
    "etcd3": "etcd3",
    "google": "protobuf",
    "google_crc32c": "google-crc32c",
    "grpc": "grpcio",
    "jmespath": "jmespath",
    "jsonschema": "jsonschema",
    "pyrage": "pyrage",
    "yaml": "PyYAML",
    "zstandard": "zstandard",
}


def load(name: str) -> t.Any:
    """Import `name` (a dotted module of one of the known packages) and return it.

    :raises DependencyMissing: it is not installed for this interpreter.
    """
    package = _PACKAGES[name.split(".", maxsplit=1)[0]]
    # etcd3 0.12's generated stubs import with today's protobuf in its pure Python implementation
    # only, chosen before google.protobuf is first imported.
    os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
    # gRPC's own log lines would mix with a module's output; its errors reach us as exceptions.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Its handlers at fork(2) abort a child now and then (SIGABRT); ours run another program at once.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    try:
        return importlib.import_module(name)
    except ImportError as exc:
        raise DependencyMissing(
            f"Python library {package} cannot be imported by {sys.executable}: {exc}.",
            hint="On a host, let role controlplane.etcd.etcd_runtime make the environment; on the "
            f"controller, install it there ({sys.executable} -m pip install {package}).",
        ) from exc
