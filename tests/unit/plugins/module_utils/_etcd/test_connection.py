# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections: endpoints taken apart, and what a status says of alarms."""

from __future__ import annotations

import typing as t

import etcd3.etcdrpc as rpc
import pytest
from google.protobuf.internal.encoder import _VarintBytes

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import OptionInvalid
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.connection import Endpoint
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.wire import Alarm, Status


@pytest.mark.parametrize(
    ("url", "tls", "target"),
    [
        ("https://10.0.0.1:2379", True, "10.0.0.1:2379"),
        ("https://etcd.example", True, "etcd.example:2379"),
        ("http://127.0.0.1:4001", False, "127.0.0.1:4001"),
        ("127.0.0.1:2379", False, "127.0.0.1:2379"),
        ("https://[fd00::1]:2379", True, "[fd00::1]:2379"),
    ],
)
def test_endpoint_parse(url: str, tls: bool, target: str) -> None:
    found = Endpoint.parse(url)
    assert (found.tls, found.target, found.url) == (tls, target, url)


@pytest.mark.parametrize("url", ["ftp://x:1", "https://", "https://x:port", "https://x:99999"])
def test_endpoint_parse_refuses_and_names_it(url: str) -> None:
    with pytest.raises(OptionInvalid) as caught:
        Endpoint.parse(url)
    assert repr(url) in str(caught.value)


def field(number: int, value: int | str) -> bytes:
    """Encode a field that the stubs don't know, as a newer etcd sends it."""
    if isinstance(value, int):
        return _VarintBytes(number << 3) + _VarintBytes(value)
    return _VarintBytes(number << 3 | 2) + _VarintBytes(len(value)) + value.encode()


@pytest.mark.parametrize(
    ("text", "alarms", "errors"),
    [
        ("memberID:10501334649042878790 alarm:NOSPACE ", [("91bc3c398fb3c146", "NOSPACE")], []),
        ("memberID:1  alarm:CORRUPT", [("1", "CORRUPT")], []),
        ("alarm:NOSPACE", [("0", "NOSPACE")], []),
        ("etcdserver: no leader", [], ["etcdserver: no leader"]),
    ],
    ids=["gogo-proto", "etcd-3.7s-two-blanks", "no-member", "no-alarm"],
)
def test_status_reads_alarms_out_of_errors(
    text: str, alarms: list[t.Any], errors: list[str]
) -> None:
    message = rpc.StatusResponse.FromString(field(8, text) + field(10, 1) + field(12, 2**31))
    status = Status.from_message(message)
    assert status.alarms == tuple(Alarm(*each) for each in alarms)
    assert list(status.errors) == errors
    assert status.is_learner
    assert status.quota_bytes == 2**31
    assert status.storage_version is None
