# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Until when certificates can be put back: what counts, what does not, and to the second."""

from __future__ import annotations

import datetime as dt

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._pki.forecast import (
    AUTHORITIES,
    STARTING,
    Dated,
    ca_end,
    expired_by,
    restorable_until,
)

START = dt.datetime(2026, 11, 24, tzinfo=dt.timezone.utc)


def dated(name: str, days: float, host: str = "cp1") -> Dated:
    return Dated(host, name, START + dt.timedelta(days=days))


CA = dated("ca.crt", 3650)


def test_expired_by_is_exact_to_the_second() -> None:
    end = dated("apiserver.crt", 365)
    second = dt.timedelta(seconds=1)
    assert expired_by([end], at=end.not_after - second) == ()
    assert expired_by([end], at=end.not_after) == (), "valid through notAfter"
    assert expired_by([end], at=end.not_after + second) == (end,)


def test_expired_by_tells_all_and_the_first_first() -> None:
    found = [dated("admin.conf", 5), dated("apiserver.crt", 3), dated("apiserver.crt", 3, "a"), CA]
    at = START + dt.timedelta(days=10)
    assert expired_by(found, at=at) == (found[2], found[1], found[0])


@pytest.mark.parametrize("name", sorted(STARTING))
def test_restorable_until_what_starts_counts(name: str) -> None:
    found = [dated(other, 300) for other in STARTING - {name}]
    assert restorable_until([*found, dated(name, 200, "cp3"), CA]) == dated(name, 200, "cp3")


@pytest.mark.parametrize(
    "name",
    ["admin.conf", "super-admin.conf", "etcd/healthcheck-client.crt", "kubelet/pki/kubelet.crt"],
)
def test_restorable_until_access_and_what_is_made_anew_do_not_count(name: str) -> None:
    assert restorable_until([dated("apiserver.crt", 300), dated(name, 1), CA]) == dated(
        "apiserver.crt", 300
    )


@pytest.mark.parametrize("name", sorted(AUTHORITIES))
def test_restorable_until_an_authority_that_ends_first_is_the_end(name: str) -> None:
    found = [dated("apiserver.crt", 300), dated(name, 100), dated("ca.crt", 3650, "cp2")]
    assert restorable_until(found) == ca_end(found) == dated(name, 100)


def test_restorable_until_leaves_that_renew_themselves_do_not_count() -> None:
    found = [dated("apiserver.crt", 10), dated("apiserver.crt", 20, "cp2"), CA]
    assert restorable_until(found, renewed_at_start=["cp1"]) == dated("apiserver.crt", 20, "cp2")
    assert restorable_until(found, renewed_at_start=["cp1", "cp2"]) == CA


def test_ca_end_of_a_bundle_is_its_last_of_hosts_the_first() -> None:
    old, new = dated("ca.crt", -400), dated("ca.crt", 3000)
    assert ca_end([old, new]) == ca_end([new, old]) == new
    behind = dated("ca.crt", 50, "cp2")
    assert ca_end([old, new, behind]) == behind


def test_nothing_told_is_no_end() -> None:
    assert restorable_until([]) is None
    assert ca_end([dated("apiserver.crt", 1)]) is None
    assert restorable_until([dated("admin.conf", 1)]) is None
