# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Option groups of modules that look at a member: fragments _connection and _layout.

Apart from _argspec, so that modules of the archive alone do not load all that knows members: on a
host, Ansible has each file of a module compiled anew in each run.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ansible.module_utils.basic import env_fallback

from ansible_collections.controlplane.etcd.plugins.module_utils._argspec import duration
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    LayoutError,
    OptionInvalid,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.connection import Connection
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts.find import find
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts.model import Layout

__all__ = [
    "CONNECTION",
    "LAYOUT",
    "ConnectionOptions",
    "LayoutOptions",
    "connection_for",
    "connection_from_params",
    "find_layout",
    "layout_from_params",
]

# Fragment _connection.
CONNECTION: dict[str, dict[str, t.Any]] = {
    "endpoints": {
        "type": "list",
        "elements": "str",
        "fallback": (env_fallback, ["ETCDCTL_ENDPOINTS"]),
    },
    "cacert": {
        "type": "path",
        "aliases": ["ca_cert"],
        "fallback": (env_fallback, ["ETCDCTL_CACERT"]),
    },
    "cert": {
        "type": "path",
        "aliases": ["client_cert"],
        "fallback": (env_fallback, ["ETCDCTL_CERT"]),
    },
    "key": {
        "type": "path",
        "aliases": ["client_key"],
        "fallback": (env_fallback, ["ETCDCTL_KEY"]),
        "no_log": False,
    },
    "user": {"type": "str", "fallback": (env_fallback, ["ETCDCTL_USER"])},
    "password": {
        "type": "str",
        "no_log": True,
        "fallback": (env_fallback, ["ETCDCTL_PASSWORD"]),
    },
    "dial_timeout": {
        "type": "str",
        "default": "2s",
        "fallback": (env_fallback, ["ETCDCTL_DIAL_TIMEOUT"]),
    },
    "command_timeout": {
        "type": "str",
        "default": "5s",
        "fallback": (env_fallback, ["ETCDCTL_COMMAND_TIMEOUT"]),
    },
}

# Fragment _layout.
LAYOUT: dict[str, dict[str, t.Any]] = {
    "layout": {
        "type": "str",
        "default": "auto",
        "choices": ["auto", "kubeadm", "systemd", "k3s", "rke2"],
    },
    "certificates_dir": {"type": "path"},
    "static_pod_path": {"type": "path"},
    "data_dir": {"type": "path"},
}


@dataclasses.dataclass(frozen=True)
class ConnectionOptions:
    """How to reach etcd, as asked; what is None is taken from the layout found on the host."""

    endpoints: tuple[str, ...]
    cacert: str | None
    cert: str | None
    key: str | None
    user: str | None
    password: str | None = dataclasses.field(repr=False)
    dial_timeout: float
    command_timeout: float


@dataclasses.dataclass(frozen=True)
class LayoutOptions:
    """Where a member's files lie, as asked; None means: look where that layout has them."""

    kind: str
    certificates_dir: str | None
    static_pod_path: str | None
    data_dir: str | None


def connection_from_params(params: t.Mapping[str, t.Any]) -> ConnectionOptions:
    """Read the options of CONNECTION.

    :raises OptionInvalid: a duration that is none, or a user without its password.
    """
    endpoints: list[str] = []
    for entry in params["endpoints"] or []:
        endpoints += [part.strip() for part in entry.split(",") if part.strip()]
    user, password = params["user"], params["password"]
    if user and password is None and ":" in user:  # etcdctl's --user name:password
        user, password = user.split(":", maxsplit=1)
    if user and password is None:
        raise OptionInvalid(
            f"User {user!r} cannot log in to etcd: no password given.",
            hint="Set password, or ETCDCTL_PASSWORD on the target.",
        )
    return ConnectionOptions(
        endpoints=tuple(endpoints),
        cacert=params["cacert"],
        cert=params["cert"],
        key=params["key"],
        user=user or None,
        password=password,
        dial_timeout=duration(params, "dial_timeout"),
        command_timeout=duration(params, "command_timeout"),
    )


def layout_from_params(params: t.Mapping[str, t.Any]) -> LayoutOptions:
    """Read the options of LAYOUT."""
    return LayoutOptions(
        kind=params["layout"],
        certificates_dir=params["certificates_dir"],
        static_pod_path=params["static_pod_path"],
        data_dir=params["data_dir"],
    )


def find_layout(
    options: LayoutOptions, connection: ConnectionOptions | None = None
) -> Layout | None:
    """Find the member of this host; None only where `connection` names endpoints of its own.

    :raises LayoutError: nothing is here, or what is here is refused.
    """
    try:
        return find(
            options.kind,
            certificates_dir=options.certificates_dir,
            static_pod_path=options.static_pod_path,
            data_dir=options.data_dir,
        )
    except LayoutError as exc:
        if exc.path is None and options.kind == "auto" and connection and connection.endpoints:
            return None
        raise


def connection_for(options: ConnectionOptions, layout: Layout | None) -> Connection:
    """Fill what the options leave open with what the layout has.

    cert and key are taken together: from the options if either is there.
    """
    own = bool(options.cert or options.key)
    return Connection(
        endpoints=options.endpoints or (layout.endpoints if layout else ()),
        cacert=options.cacert or (layout.cacert if layout else None),
        cert=options.cert if own or not layout else layout.cert,
        key=options.key if own or not layout else layout.key,
        user=options.user,
        password=options.password,
        dial_timeout=options.dial_timeout,
        command_timeout=options.command_timeout,
    )
