# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Option groups shared by modules, but those of a member (_argspec_member).

Keep in sync with the fragments in plugins/doc_fragments/.
"""

from __future__ import annotations

import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _retention, _time
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import trust
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import OptionInvalid

__all__ = [
    "ARCHIVE",
    "DELIVERY",
    "IDENTITY",
    "RETENTION",
    "duration",
    "hex_number",
    "policy_from_params",
    "signers",
]

# Fragment _archive; who needs a cluster says so with required.
ARCHIVE: dict[str, dict[str, t.Any]] = {
    "archive": {"type": "str", "required": True},
    "etcd_cluster": {"type": "str"},
    "etcd_instance": {"type": "str"},
    "signing_key": {"type": "path", "no_log": False},
    "allowed_signers": {"type": "list", "elements": "str", "default": []},
}

# Fragment _identity.
IDENTITY: dict[str, dict[str, t.Any]] = {
    "identities": {"type": "list", "elements": "path", "default": [], "no_log": False},
    "spool_dir": {"type": "path", "default": "/var/tmp"},
}

# Documented in etcd_deliver, whose two halves both read them.
DELIVERY: dict[str, dict[str, t.Any]] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "archive": {"type": "str"},
    "id": {"type": "str", "default": "latest"},
    "before": {"type": "str"},
    "parts": {
        "type": "list",
        "elements": "str",
        "choices": ["data", "encryption", "pki"],
        "default": ["data"],
    },
    "host": {"type": "str"},
    "tools": {
        "type": "list",
        "elements": "str",
        "choices": ["etcd", "etcdutl", "etcdctl", "kube-apiserver"],
        "default": [],
    },
    "dest_dir": {"type": "path", "default": "/var/tmp"},
    "delivery": {"type": "path"},
}

# Fragment _retention.
RETENTION: dict[str, dict[str, t.Any]] = {
    "keep_last": {"type": "int"},
    "keep_hourly": {"type": "int"},
    "keep_daily": {"type": "int"},
    "keep_weekly": {"type": "int"},
    "keep_monthly": {"type": "int"},
    "keep_yearly": {"type": "int"},
    "keep_within": {"type": "str"},
    "max_removals": {"type": "int"},
}


def signers(params: t.Mapping[str, t.Any]) -> trust.Signers:
    """Read whose signatures count: `allowed_signers`, else the public half of `signing_key`.

    :raises TrustError: neither is there, or can be used.
    """
    key = params["signing_key"] if not params["allowed_signers"] else None
    public = trust.signing_from_key(key).public_key if key else None
    return trust.Signers.parse(params["allowed_signers"], default=public)


def policy_from_params(params: t.Mapping[str, t.Any]) -> _retention.Policy:
    """Read the rules of RETENTION.

    :raises OptionInvalid: a count below 0, or a keep_within that is no duration.
    """
    within = params["keep_within"]
    try:
        parsed = _retention.parse_within(within) if within else None
    except ValueError as exc:
        raise OptionInvalid(f"Option keep_within: {exc}.", hint="Correct the option.") from exc
    counts = {name: params[name] or 0 for name in RETENTION if RETENTION[name]["type"] == "int"}
    del counts["max_removals"]
    return _retention.Policy(**counts, keep_within=parsed)


def duration(params: t.Mapping[str, t.Any], name: str) -> float:
    """Read the duration option `name`, in seconds.

    :raises OptionInvalid: it is none.
    """
    try:
        return _time.parse_duration(params[name])
    except ValueError as exc:
        raise OptionInvalid(f"Option {name}: {exc}.", hint="Correct the option.") from exc


def hex_number(params: t.Mapping[str, t.Any], name: str) -> int | None:
    """Read the option `name`, a number in hex digits.

    :raises OptionInvalid: it is none.
    """
    text = params[name]
    if text is None:
        return None
    try:
        return int(text, 16)
    except ValueError as exc:
        raise OptionInvalid(f"Option {name}: {text!r} is not a number in hex digits.") from exc
