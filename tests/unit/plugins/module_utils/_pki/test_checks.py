# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every check of a certificate fires on one made for it, alone, and is silent on the good one."""

from __future__ import annotations

import dataclasses
import datetime as dt
import typing as t

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

from ansible_collections.controlplane.etcd.plugins.module_utils._pki import checks, reading
from ansible_collections.controlplane.etcd.plugins.module_utils._pki.model import (
    Contents,
    Finding,
    Kind,
    Limits,
    PrivateKey,
    Severity,
)
from lab.certificates import DAY, NOW, Made, authority, make, new_key, sign_weakly

NAMES = ["cp1", "localhost", "10.0.0.11", "127.0.0.1", "::1"]
ETCD = "kubeadm certs renew etcd-server"
RESTART = "/etc/kubernetes/manifests/etcd.yaml"


def check(bench: t.Any, made: Made | bytes, **more: t.Any) -> list[Finding]:
    wanted = more.pop("names_wanted", ["cp1", "10.0.0.11"])
    at_hand = more.pop("at_hand", ())
    limits = more.pop("limits", bench.limits)
    in_use = more.pop("in_use", True)
    return checks.check_pair(
        bench.pair(made, **more),
        limits=limits,
        layout="kubeadm",
        names_wanted=wanted,
        at_hand=at_hand,
        in_use=in_use,
    )


def only(found: list[Finding]) -> Finding:
    assert len(found) == 1, [(each.kind.value, each.message) for each in found]
    assert found[0].message and found[0].action and found[0].where
    return found[0]


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["P-256", "P-384", "RSA", "Ed25519"],
)
def test_good_certificate_is_silent(bench: t.Any, key: t.Any) -> None:
    assert check(bench, make(by=bench.ca, names=NAMES, key=key)) == []


@pytest.mark.parametrize(
    ("role", "name", "usages"),
    [
        ("etcd/peer", "cp1", ["server", "client"]),
        ("etcd/healthcheck-client", "kube-etcd-healthcheck-client", ["client"]),
        ("apiserver-etcd-client", "kube-apiserver-etcd-client", ["client"]),
        ("apiserver", "kube-apiserver", ["server"]),
        ("admin.conf", "kubernetes-admin", ["client"]),
    ],
)
def test_good_certificate_of_each_role_is_silent(
    bench: t.Any, role: str, name: str, usages: list[str]
) -> None:
    made = make(name, by=bench.ca, usages=usages)
    assert check(bench, made, role=role, names_wanted=()) == []


@pytest.mark.parametrize("key", [new_key(), ed25519.Ed25519PrivateKey.generate()], ids=["EC", "Ed"])
def test_good_authority_is_silent(bench: t.Any, key: t.Any) -> None:
    made = authority("etcd-ca", key=key)
    assert check(bench, made, role="etcd/ca", by=(), names_wanted=()) == []
    assert check(bench, made, role="etcd/ca", keyless=True, by=(), names_wanted=()) == []


@pytest.mark.parametrize(
    ("begins", "ends", "kind", "severity", "words", "days"),
    [
        (-400, -0.5, Kind.EXPIRED, "critical", "expired on 2026-11-24T00:00:00Z, 12 hours ago", -1),
        (-400, -4, Kind.EXPIRED, "critical", "4 days ago", -4),
        (2, 300, Kind.NOT_YET_VALID, "critical", "2026-11-24T12:00:00Z, 2 days before", 300),
        (-10, 0.02, Kind.EXPIRES_SOON, "critical", "in 28 minutes; fail_days is 7", 0),
        (-10, 1, Kind.EXPIRES_SOON, "critical", "in 1 day; fail_days is 7", 1),
        (-10, 7, Kind.EXPIRES_SOON, "critical", "fail_days is 7", 7),
        (-10, 7.01, Kind.EXPIRES_SOON, "warning", "warn_days is 30", 7),
        (-10, 30, Kind.EXPIRES_SOON, "warning", "in 30 days; warn_days is 30", 30),
    ],
)
def test_dates_are_told(
    bench: t.Any, begins: float, ends: float, kind: Kind, severity: str, words: str, days: int
) -> None:
    made = make(by=bench.ca, names=NAMES, begins=NOW + begins * DAY, ends=NOW + ends * DAY)
    finding = only(check(bench, made))
    assert (finding.kind, finding.severity.value, finding.days_left) == (kind, severity, days)
    assert words in finding.message
    assert ETCD in finding.action and RESTART in finding.action
    assert finding.subject == "CN=cp1" and finding.where == "/etc/kubernetes/pki/etcd/server.crt"
    if kind == Kind.NOT_YET_VALID:
        assert "clock" in finding.action


@pytest.mark.parametrize(
    ("ends", "state"),
    [(-1, "expired"), (0, "expires_soon"), (30, "expires_soon"), (31, "ok")],
)
def test_state_of_and_days_left(ends: int, state: str) -> None:
    (certificate,) = reading.read(make(ends=NOW + ends * DAY).pem).certificates
    assert checks.state_of(certificate, Limits(NOW)) == state
    assert checks.days_left(certificate, NOW) == ends
    assert checks.state_of(certificate, Limits(NOW - 11 * DAY)) == "not_yet_valid"


def test_dates_just_beyond_the_limits_are_silent(bench: t.Any) -> None:
    assert check(bench, make(by=bench.ca, names=NAMES, ends=NOW + 31 * DAY)) == []


def test_dates_far_beyond_are_silent() -> None:
    far = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.timezone.utc)
    (certificate,) = reading.read(make(ends=far).pem).certificates
    assert checks.state_of(certificate, Limits(NOW)) == "ok"
    assert checks.days_left(certificate, NOW) > 2_900_000


@pytest.mark.parametrize(
    ("begins", "ends", "kinds"),
    [(-0.5, 0.5, []), (-0.95, 0.05, [Kind.EXPIRES_SOON]), (-300, 20, [Kind.EXPIRES_SOON])],
    ids=["a-day-half-gone", "a-day-nearly-gone", "a-year"],
)
def test_dates_of_a_kubelet_that_renews_daily(
    bench: t.Any, begins: float, ends: float, kinds: list[Kind]
) -> None:
    made = make(
        "system:node:cp1",
        by=bench.ca,
        usages=["client"],
        begins=NOW + begins * DAY,
        ends=NOW + ends * DAY,
    )
    found = check(bench, made, role="kubelet.conf", names_wanted=())
    assert [each.kind for each in found] == kinds


def test_expired_ca_inside_a_bundle_is_told_with_its_own_renewal(bench: t.Any) -> None:
    old = authority("etcd-ca", ends=NOW - DAY)
    leaf = make(by=bench.ca, names=NAMES)
    found = check(bench, leaf.pem + old.pem, key=bench.carrier(leaf.key_pem, "etcd/server.key"))
    finding = only(found)
    assert finding.subject == "CN=etcd-ca" and finding.kind == Kind.EXPIRED
    assert "No command renews a CA" in finding.action


def test_not_in_use_is_never_critical(bench: t.Any) -> None:
    found = check(bench, make(by=bench.ca, ends=NOW - DAY), in_use=False)
    assert {each.severity for each in found} == {Severity.WARNING}
    assert {each.kind for each in found} == {Kind.EXPIRED, Kind.NAMES_MISSING}


@pytest.mark.parametrize(
    ("wanted", "lacking"),
    [
        (
            ["cp1", "CP1.", "127.0.0.1", "[::1]", "0:0:0:0:0:0:0:1", "fe80::1%eth0"],
            ["fe80::1%eth0"],
        ),
        (["10.0.0.12", "cp2", "cp1"], ["10.0.0.12", "cp2"]),
        (["10.0.0.11"], []),
        ([], []),
    ],
)
def test_names_lacking_are_told(bench: t.Any, wanted: list[str], lacking: list[str]) -> None:
    found = check(bench, make(by=bench.ca, names=NAMES), names_wanted=wanted)
    if not lacking:
        assert found == []
        return
    finding = only(found)
    assert (finding.kind, finding.severity) == (Kind.NAMES_MISSING, Severity.CRITICAL)
    assert f"lacks {', '.join(lacking)}," in finding.message
    assert "it is valid for cp1, localhost, 10.0.0.11, 127.0.0.1, ::1" in finding.message
    assert "etcd.local.serverCertSANs" in finding.action
    assert "kubeadm init phase certs etcd-server" in finding.action and ETCD not in finding.action


@pytest.mark.parametrize(
    ("pattern", "wanted", "covered"),
    [
        ("*.example.org", "a.example.org", True),
        ("*.example.org", "a.b.example.org", False),
        ("*.example.org", "example.org", False),
        ("*", "cp1", False),
        ("cp1", "cp1.example.org", False),
    ],
)
def test_names_with_a_star_stand_for_one_label(
    bench: t.Any, pattern: str, wanted: str, covered: bool
) -> None:
    found = check(bench, make(by=bench.ca, names=[pattern]), names_wanted=[wanted])
    assert (found == []) is covered


def test_names_in_the_common_name_only_do_not_count(bench: t.Any) -> None:
    finding = only(check(bench, make("cp1", by=bench.ca), names_wanted=["cp1"]))
    assert "no subject alternative names at all" in finding.message


@pytest.mark.parametrize(
    ("role", "usages", "severity", "words"),
    [
        ("etcd/server", ["client"], "critical", "is client; expected server and client"),
        ("etcd/server", ["server"], "warning", "can't be used as a client"),
        ("etcd/peer", ["server"], "critical", "can't be used as a client"),
        ("apiserver", ["client"], "critical", "expected server"),
        ("apiserver-etcd-client", ["server"], "critical", "expected client"),
        ("scheduler.conf", ["server"], "critical", "kubeconfig scheduler"),
    ],
)
def test_usage_wrong_for_its_role_is_told(
    bench: t.Any, role: str, usages: list[str], severity: str, words: str
) -> None:
    found = check(bench, make(by=bench.ca, usages=usages), role=role, names_wanted=())
    finding = only(found)
    assert (finding.kind, finding.severity.value) == (Kind.USAGE, severity)
    assert words in finding.message + finding.action and "init phase" in finding.action


@pytest.mark.parametrize("more", [[], ["any"]], ids=["absent", "any"])
def test_usage_open_to_all_is_silent(bench: t.Any, more: list[str]) -> None:
    anything = x509.ExtendedKeyUsage([x509.ObjectIdentifier("2.5.29.37.0")])
    made = make(by=bench.ca, usages=None, more=[anything] if more else [])
    assert check(bench, made, names_wanted=()) == []


def test_usage_of_an_unknown_role_is_silent(bench: t.Any) -> None:
    assert check(bench, make(by=bench.ca, usages=["client"]), role=None, names_wanted=()) == []


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (rsa.generate_private_key(65537, 1024), "RSA of 1024 bits, expected 2048 or more"),
        (ec.generate_private_key(ec.SECP224R1()), "EC of 224 bits, expected 256 or more"),
        (ec.generate_private_key(ec.SECP192R1()), "EC of 192 bits, expected 256 or more"),
        (dsa.generate_private_key(2048), "DSA"),
    ],
    ids=["RSA-1024", "P-224", "P-192", "DSA"],
)
def test_weak_key_is_told(bench: t.Any, key: t.Any, words: str) -> None:
    finding = only(check(bench, make(by=bench.ca, names=NAMES, key=key)))
    assert (finding.kind, finding.severity) == (Kind.WEAK_KEY, Severity.WARNING)
    assert words in finding.message and ETCD in finding.action


@pytest.mark.parametrize("weak", ["sha1", "md5"])
def test_weak_signature_is_told_but_not_of_a_root(bench: t.Any, weak: str) -> None:
    ca = authority("etcd-ca", key=rsa.generate_private_key(65537, 2048))
    root = sign_weakly(ca, ca, weak)
    assert check(bench, root, role="etcd/ca", by=(), names_wanted=()) == []
    made = make(by=ca, names=NAMES)
    found = check(
        bench,
        sign_weakly(made, ca, weak),
        by=[ca],
        key=bench.carrier(made.key_pem, "etcd/server.key"),
    )
    finding = only(found)
    assert (finding.kind, finding.severity) == (Kind.WEAK_SIGNATURE, Severity.WARNING)
    assert weak in finding.message and ETCD in finding.action


def test_key_of_another_does_not_match(bench: t.Any) -> None:
    other = bench.carrier(make().key_pem, "etcd/server.key")
    finding = only(check(bench, make(by=bench.ca, names=NAMES), key=other))
    assert (finding.kind, finding.severity) == (Kind.KEY_MISMATCH, Severity.CRITICAL)
    assert "/etc/kubernetes/pki/etcd/server.key" in finding.message and ETCD in finding.action


def test_key_of_the_second_certificate_says_which(bench: t.Any) -> None:
    leaf = make(by=bench.ca, names=NAMES)
    data = bench.ca.pem + leaf.pem
    found = check(bench, data, key=bench.carrier(leaf.key_pem, "etcd/server.key"))
    mismatch = [each for each in found if each.kind == Kind.KEY_MISMATCH]
    assert "it belongs to CN=cp1, which must stand first" in only(mismatch).message


def test_key_missing_is_told_of_a_leaf_only(bench: t.Any) -> None:
    leaf = make(by=bench.ca, names=NAMES)
    finding = only(check(bench, leaf, keyless=True))
    assert (finding.kind, finding.severity) == (Kind.KEY_MISSING, Severity.CRITICAL)
    assert "etcd/server.key" in finding.message
    assert check(bench, leaf, keyless=True, role=None) == []


def test_key_file_without_a_key_is_told(bench: t.Any) -> None:
    leaf = make(by=bench.ca, names=NAMES)
    found = check(bench, leaf, key=bench.carrier(leaf.pem, "etcd/server.key"))
    assert only(found).kind == Kind.KEY_MISSING
    assert "no private key in /etc/kubernetes/pki/etcd/server.key" in only(found).message


def test_key_that_is_encrypted_is_not_guessed(bench: t.Any) -> None:
    locked = bench.carrier(Contents(keys=(PrivateKey(None, None, encrypted=True),)), "x.key")
    assert check(bench, make(by=bench.ca, names=NAMES), key=locked) == []


def test_key_of_an_unknown_algorithm_is_not_called_wrong(bench: t.Any) -> None:
    made = make(by=bench.ca, names=NAMES, key=ed25519.Ed25519PrivateKey.generate())
    der = made.der.replace(bytes.fromhex("06032b6570"), bytes.fromhex("06032b657f"))
    found = check(bench, der, key=bench.carrier(made.key_pem, "etcd/server.key"), by=())
    kinds = [each.kind for each in found]
    assert kinds == [Kind.NOT_LOOKED_AT, Kind.NOT_LOOKED_AT]


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "empty"), (b"garbage", "neither PEM nor DER"), (None, "cut off"), (b"KEY", "no cert")],
    ids=["empty", "garbage", "truncated", "a-key"],
)
def test_certificate_that_is_none_is_critical_where_one_is_needed(
    bench: t.Any, data: bytes | None, words: str
) -> None:
    content = data
    if data is None:
        content = make(by=bench.ca).pem[:-50]
    elif data == b"KEY":
        content = make().key_pem
    finding = only(check(bench, content))
    assert (finding.kind, finding.severity) == (Kind.UNREADABLE, Severity.CRITICAL)
    assert words in finding.message and "kubeadm init phase certs etcd-server" in finding.action


def test_unreadable_file_that_nobody_knows_is_a_warning(bench: t.Any) -> None:
    finding = only(checks.check_contents(bench.carrier(b"", "made-up.crt")))
    assert finding.severity == Severity.WARNING and "made-up.crt" in finding.where


@pytest.mark.parametrize("name", ["sa.key", "sa.pub"])
def test_service_accounts_keys_are_critical_without_a_role(bench: t.Any, name: str) -> None:
    empty = only(checks.check_contents(bench.carrier(b"", name)))
    gone = checks.missing(name, f"/pki/{name}")
    assert empty.severity == gone.severity == Severity.CRITICAL
    assert "another control-plane host" in empty.action
    assert "remove it" not in empty.action


def test_missing_and_not_looked_at_name_their_place() -> None:
    gone = checks.missing("etcd/server.crt", "/pki/etcd/server.crt", layout="kubeadm")
    assert (gone.kind, gone.severity) == (Kind.MISSING, Severity.CRITICAL)
    assert "kubeadm init phase certs etcd-server" in gone.action
    assert checks.missing("made-up", "/x").severity == Severity.WARNING
    blind = checks.not_looked_at("/pki/x.crt", "mode 0000", name="apiserver.crt")
    assert (blind.kind, blind.severity) == (Kind.NOT_LOOKED_AT, Severity.CRITICAL)
    assert "mode 0000." in blind.message and blind.subject == "apiserver.crt"
    assert checks.not_looked_at("/pki/sa.key", "x", name="sa.key").severity == Severity.CRITICAL
    unknown = checks.not_looked_at("/pki/x.crt", "Permission denied. Run the task with become.")
    assert unknown.severity == Severity.WARNING and "Run it with become" in unknown.action


def test_der_is_wrong_only_where_programs_read_pem(bench: t.Any) -> None:
    made = make(by=bench.ca, names=NAMES)
    known = only(checks.check_contents(bench.carrier(made.der)))
    assert (known.kind, known.severity) == (Kind.UNREADABLE, Severity.CRITICAL)
    assert "openssl x509 -inform der" in known.action
    plain = bench.carrier(made.der, "own.der")
    assert checks.check_contents(plain) == []
    assert only(checks.check_contents(dataclasses.replace(plain, named=True))) != []
    assert only(checks.check_contents(dataclasses.replace(plain, field="users[x].data"))) != []
    assert checks.check_contents(bench.carrier(made.pem)) == []


def test_worst_first_orders_and_removes_doubles(bench: t.Any) -> None:
    late = only(check(bench, make(by=bench.ca, names=NAMES, ends=NOW + 20 * DAY)))
    soon = only(check(bench, make(by=bench.ca, names=NAMES, ends=NOW + 2 * DAY)))
    gone = only(check(bench, make(by=bench.ca, names=NAMES, ends=NOW - DAY)))
    usage = only(check(bench, make(by=bench.ca, names=NAMES, usages=["client"])))
    told = checks.worst_first([late, usage, soon, late, gone])
    assert told == [gone, soon, usage, late]
    assert told[0].as_dict()["kind"] == "expired" and told[0].as_dict()["severity"] == "critical"
