# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What several layouts read alike from etcd's flags."""

from __future__ import annotations

import urllib.parse

from .model import Flags

__all__ = ["is_loopback", "local_endpoints", "quota"]

_DEFAULT_CLIENT_URL = "http://localhost:2379"
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - read, not bound


def local_endpoints(flags: Flags) -> tuple[str, ...]:
    """Return the client URLs that the member listens on, loopback first; 0.0.0.0 as loopback."""
    urls: list[str] = []
    for url in flags.split("listen-client-urls") or (_DEFAULT_CLIENT_URL,):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https"):
            continue  # unix sockets
        loopback = _ANY_ADDRESS.get(parts.hostname or "")
        if loopback:
            url = f"{parts.scheme}://{loopback}:{parts.port or 2379}"
        if url not in urls:
            urls.append(url)
    return tuple(sorted(urls, key=lambda url: not is_loopback(url)))


def is_loopback(url: str) -> bool:
    """Tell whether a URL stays on this host."""
    host = urllib.parse.urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def quota(flags: Flags) -> int | None:
    """Return --quota-backend-bytes; etcd's default (0) is 2 GiB (server/storage/quota.go)."""
    try:
        given = int(flags.get("quota-backend-bytes") or 0)
    except ValueError:
        return None
    return given or 2 * 1024**3
