# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chains: to the CA beside a certificate, to another one, to none, and what cryptography adds."""

from __future__ import annotations

import dataclasses
import ipaddress
import typing as t

import cryptography
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ansible_collections.controlplane.etcd.plugins.module_utils._pki import chain, checks, reading
from ansible_collections.controlplane.etcd.plugins.module_utils._pki.model import (
    Certificate,
    Finding,
    Kind,
    Severity,
)
from lab.certificates import DAY, NOW, Made, authority, make, new_key, sign_weakly

HAS_POLICIES = int(cryptography.__version__.split(".")[0]) >= 45


def read(made: Made) -> Certificate:
    return reading.read(made.pem).certificates[0]


def check(bench: t.Any, made: Made | bytes, at_hand: t.Any = (), **more: t.Any) -> list[Finding]:
    pair = bench.pair(made, **more)
    return chain.check_chain(pair, limits=bench.limits, layout="kubeadm", at_hand=at_hand)


def only(found: list[Finding]) -> Finding:
    assert len(found) == 1, [(each.kind.value, each.message) for each in found]
    return found[0]


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP224R1()),
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["P-384", "P-224", "RSA", "Ed25519"],
)
def test_chain_to_the_ca_beside_is_silent(bench: t.Any, key: t.Any) -> None:
    ca = authority("etcd-ca", key=key)
    assert check(bench, make(by=ca), by=[ca]) == []
    assert check(bench, make(by=ca), by=[bench.ca, authority("other"), ca]) == []


def test_chain_by_another_ca_at_hand_names_it(bench: t.Any) -> None:
    other = authority("kubernetes")
    hand = [("/etc/kubernetes/pki/ca.crt", read(other)), ("/x", read(bench.ca))]
    finding = only(check(bench, make(by=other), hand))
    assert (finding.kind, finding.severity) == (Kind.CHAIN, Severity.CRITICAL)
    assert "is signed by CN=kubernetes" in finding.message
    assert "of /etc/kubernetes/pki/ca.crt; expected CN=etcd-ca" in finding.message
    assert "kubeadm certs renew etcd-server" in finding.action


def test_chain_by_an_unknown_ca_names_the_issuer(bench: t.Any) -> None:
    finding = only(check(bench, make(by=authority("mystery"))))
    assert "issued by CN=mystery; expected CN=etcd-ca" in finding.message


def test_chain_by_a_ca_of_the_same_name_tells_the_keys_apart(bench: t.Any) -> None:
    old = authority("etcd-ca")
    finding = only(check(bench, make(by=old)))
    assert "in the name of CN=etcd-ca, but not signed by the key" in finding.message
    finding = only(check(bench, make(by=old), [("/root/old-ca.crt", read(old))]))
    assert "of /root/old-ca.crt" in finding.message


def test_chain_by_a_ca_of_the_same_name_with_another_kind_of_key(bench: t.Any) -> None:
    old = authority("etcd-ca", key=ed25519.Ed25519PrivateKey.generate())
    assert only(check(bench, make(by=old))).kind == Kind.CHAIN
    rsa_ca = authority("etcd-ca", key=rsa.generate_private_key(65537, 2048))
    assert only(check(bench, make(by=rsa_ca))).kind == Kind.CHAIN


def test_chain_of_a_leaf_that_signed_itself(bench: t.Any) -> None:
    finding = only(check(bench, make("cp1")))
    assert "has signed itself" in finding.message and finding.kind == Kind.CHAIN


def test_chain_by_what_is_not_a_ca(bench: t.Any) -> None:
    fake = make("etcd-ca")
    finding = only(check(bench, make(by=fake), by=[fake]))
    assert "is not marked as a CA" in finding.message


def test_chain_without_its_ca_is_not_looked_at(bench: t.Any) -> None:
    finding = only(check(bench, make(by=bench.ca), by=()))
    assert (finding.kind, finding.severity) == (Kind.NOT_LOOKED_AT, Severity.WARNING)
    assert "etcd/ca" in finding.message
    assert check(bench, make(by=bench.ca), by=(), role=None) == []
    assert check(bench, make(by=bench.ca), by=(), role="kubelet") == []


def test_chain_over_an_intermediate(bench: t.Any) -> None:
    middle = authority("middle", by=bench.ca, ends=NOW + 400 * DAY)
    leaf = make(by=middle)
    assert check(bench, leaf.pem + middle.pem) == []
    assert check(bench, leaf, by=[middle]) == []
    finding = only(check(bench, leaf))
    assert "issued by CN=middle" in finding.message
    broken = authority("middle", by=authority("gone"))
    finding = only(check(bench, make(by=broken).pem + broken.pem))
    assert "Its chain ends in CN=middle" in finding.message


def test_kubelet_that_signed_with_a_ca_of_its_own_is_silent(bench: t.Any) -> None:
    # kubelet.crt: the leaf, then the CA that issued it and was thrown away (client-go util/cert).
    own = authority("cp1-ca@1700000000", ends=NOW + 300 * DAY)
    leaf = make("cp1@1700000000", by=own, usages=["server"], names=["cp1"])
    key = bench.carrier(leaf.key_pem, "kubelet/pki/kubelet.key")
    for beside in ((), (own,)):
        pair = bench.pair(leaf.pem + own.pem, role="kubelet", key=key, by=beside)
        assert checks.check_pair(pair, limits=bench.limits, names_wanted=["cp1"]) == []


def test_chain_in_a_circle_ends(bench: t.Any) -> None:
    one, two = authority("one"), authority("two")
    first = make("one", by=two, key=one.key, ca=True)
    second = make("two", by=one, key=two.key, ca=True)
    assert only(check(bench, make(by=one).pem + first.pem + second.pem)).kind == Kind.CHAIN


def test_ca_that_ends_first_is_told(bench: t.Any) -> None:
    ca = authority("etcd-ca", ends=NOW + 100 * DAY)
    finding = only(check(bench, make(by=ca), by=[ca]))
    assert (finding.kind, finding.severity) == (Kind.CA_ENDS_FIRST, Severity.WARNING)
    assert "until 2027-09-20T12:00:00Z" in finding.message
    assert "on 2027-03-04T12:00:00Z" in finding.message
    assert "manual-rotation" in finding.action
    assert check(bench, make(by=ca, ends=NOW + 100 * DAY), by=[ca]) == []


@pytest.mark.parametrize(("ends", "word"), [(-30, "ended before"), (6, "ends before")])
def test_ca_that_has_ended_is_critical_for_what_it_issued(
    bench: t.Any, ends: int, word: str
) -> None:
    ca = authority("etcd-ca", begins=NOW - 90 * DAY, ends=NOW + ends * DAY)
    finding = only(check(bench, make(by=ca), by=[ca, authority("etcd-ca")]))
    assert (finding.kind, finding.severity) == (Kind.CA_ENDS_FIRST, Severity.CRITICAL)
    assert word in finding.message


def test_old_ca_beside_its_successor_is_a_warning(bench: t.Any) -> None:
    old, new = authority("etcd-ca", ends=NOW - DAY), authority("etcd-ca")
    for data, severity in ((old.pem + new.pem, "warning"), (old.pem, "critical")):
        pair = bench.pair(data, role="etcd/ca", by=(), keyless=True)
        finding = only(checks.check_pair(pair, limits=bench.limits, layout="kubeadm"))
        assert (finding.kind, finding.severity.value) == (Kind.EXPIRED, severity)


def test_ca_that_was_renewed_with_its_key_counts(bench: t.Any) -> None:
    old = authority("etcd-ca", ends=NOW + 5 * DAY)
    new = authority("etcd-ca", key=old.key)
    assert check(bench, make(by=old), by=[old, new]) == []


def test_authority_that_is_none_is_told(bench: t.Any) -> None:
    finding = only(check(bench, make("etcd-ca"), role="etcd/ca", by=()))
    assert "not marked as a CA" in finding.message
    forged = make("etcd-ca", by=authority("etcd-ca"), ca=True)
    finding = only(check(bench, forged, role="etcd/ca", by=()))
    assert "another key signed it" in finding.message


def test_authority_that_another_one_issued_is_silent(bench: t.Any) -> None:
    middle = authority("k3s-server-ca", by=authority("corporate root"))
    assert check(bench, middle, role="ca", by=()) == []


def test_chain_by_an_unknown_algorithm_is_not_verified_nor_called_wrong(bench: t.Any) -> None:
    ca = authority("etcd-ca", by=authority("root"), key=ed25519.Ed25519PrivateKey.generate())
    unknown = ca.der.replace(bytes.fromhex("06032b6570"), bytes.fromhex("06032b657f"))
    pair = bench.pair(make(by=ca), by=())
    beside = reading.read(unknown).certificates
    assert beside[0].public_key == ""
    unsure = dataclasses.replace(pair, authorities=beside)
    found = chain.check_chain(unsure, limits=bench.limits, layout="kubeadm", at_hand=())
    finding = only(found)
    assert (finding.kind, finding.severity) == (Kind.NOT_LOOKED_AT, Severity.WARNING)
    assert "can be verified here" in finding.message


@pytest.mark.parametrize("weak", ["sha1", "md5"])
def test_signed_by_weak_hashes_is_never_called_wrong(weak: str) -> None:
    ca = authority("etcd-ca", key=rsa.generate_private_key(65537, 2048))
    leaf = reading.read(sign_weakly(make(by=ca), ca, weak)).certificates[0]
    assert leaf.signature_hash == weak
    assert chain.signed_by(leaf, read(ca)) in (True, None)
    assert chain.signed_by(leaf, read(authority("other"))) is False


@pytest.mark.skipif(not HAS_POLICIES, reason="cryptography before 45 has one profile, the web's")
@pytest.mark.parametrize("rule", ["path-length", "name-constraints"])
def test_rules_that_only_cryptography_looks_at_are_told(bench: t.Any, rule: str) -> None:
    if rule == "path-length":
        root = authority("etcd-ca", path_length=0)
        middle = authority("middle", by=root, ends=NOW + 400 * DAY)
        found = check(bench, make(by=middle).pem + middle.pem, by=[root])
    else:
        only_ten = x509.NameConstraints([x509.IPAddress(ipaddress.ip_network("10.0.0.0/8"))], None)
        root = authority("etcd-ca", more=[only_ten])
        assert check(bench, make(by=root, names=["10.0.0.11"]), by=[root]) == []
        found = check(bench, make(by=root, names=["192.168.0.1"]), by=[root])
    finding = only(found)
    assert (finding.kind, finding.severity) == (Kind.CHAIN, Severity.WARNING)
    assert "RFC 5280" in finding.message


def test_ca_of_openssl_without_key_usage_is_silent(bench: t.Any) -> None:
    # kubespray's: no keyUsage, basicConstraints not critical, no key identifiers.
    plain = make(
        "etcd-ca",
        ca=True,
        constraints=False,
        more=[x509.BasicConstraints(ca=True, path_length=None)],
        ends=NOW + 3650 * DAY,
    )
    assert check(bench, make(by=plain, usages=["client"]), by=[plain]) == []


def test_dates_do_not_break_a_chain(bench: t.Any) -> None:
    gone = make(by=bench.ca, begins=NOW - 9 * DAY, ends=NOW - DAY)
    later = make(by=bench.ca, begins=NOW + DAY)
    assert check(bench, gone) == check(bench, later) == []
    dead = authority("etcd-ca", begins=NOW - 90 * DAY, ends=NOW - 60 * DAY)
    kinds = [each.kind for each in check(bench, make(by=dead), by=[dead])]
    assert kinds == [Kind.CA_ENDS_FIRST]


def test_short_tells_two_of_one_subject_apart() -> None:
    one, two = read(make("x", key=new_key())), read(make("x", key=new_key()))
    assert chain.short(one) != chain.short(two) and chain.short(one).startswith("CN=x (sha256 ")
