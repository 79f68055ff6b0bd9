# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How an API server is called, how it is judged to be ready, and what is repeated of its words."""

from __future__ import annotations

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._drill import apiserver, listing
from ansible_collections.controlplane.etcd.plugins.module_utils._drill.api_client import (
    Answer,
    Files,
)

FILES = Files("/c/ca.crt", "/c/etcd.crt", "/c/etcd.key")


def program(*flags: str) -> apiserver.Program:
    return apiserver.Program("/c/bin/kube-apiserver", "1.36.3", frozenset(flags), ("A", "B"))


def settings(**more: str) -> apiserver.Settings:
    return apiserver.Settings(port=6443, etcd="https://127.0.0.1:2379", files=FILES, **more)


def test_only_flags_that_the_program_knows_are_given() -> None:
    known = ("etcd-servers", "watch-cache", "insecure-port")
    assert apiserver.argv(program(*known), settings()) == [
        "/c/bin/kube-apiserver",
        "--etcd-servers=https://127.0.0.1:2379",
        "--insecure-port=0",
        "--watch-cache=false",
    ]


def test_advertised_address_has_the_family_of_the_services() -> None:
    v6 = apiserver.argv(program("advertise-address"), settings(service_range="fd00:10:96::/112"))
    v4 = apiserver.argv(program("advertise-address"), settings(service_range="10.96.0.0/12"))
    assert v6[1] == "--advertise-address=2001:db8::1"
    assert v4[1] == "--advertise-address=192.0.2.1"


def test_encryption_configuration_is_named_only_if_there_is_one() -> None:
    known = program("encryption-provider-config", "etcd-prefix")
    assert apiserver.argv(known, settings())[1:] == ["--etcd-prefix=/registry"]
    given = apiserver.argv(known, settings(config_path="/c/enc.yaml", etcd_prefix="/k8s"))
    assert given[1:] == ["--etcd-prefix=/k8s", "--encryption-provider-config=/c/enc.yaml"]


def test_failing_checks_are_read() -> None:
    text = b"[+]ping ok\n[-]etcd failed: reason withheld\n[-]informer-sync failed\nreadyz failed\n"
    assert apiserver.failing_checks(text) == ("etcd", "informer-sync")


def test_minor_of_a_version() -> None:
    assert program().minor == "1.36"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            'unable to transform key "/registry/secrets/shop/tls": no matching prefix found',
            "unable to transform key, no matching prefix found",
        ),
        ("Internal error: hunter2 is my password", "it says no more"),
        ("invalid padding on input", "invalid padding on input"),
        ("conversion webhook for a.example.org/v1, Kind=Thing failed: Post hunter2", "webhook"),
    ],
)
def test_words_of_a_refusal_show_nothing_of_an_object(message: str, shown: str) -> None:
    answer = Answer(500, b'{"kind":"Status","message":"%s"}' % message.replace('"', "'").encode())
    told = listing.why(answer)
    assert told.startswith("status 500: ")
    assert shown in told
    assert "hunter2" not in told
    assert "shop" not in told
