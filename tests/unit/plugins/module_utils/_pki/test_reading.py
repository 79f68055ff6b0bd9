# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes in, certificates and keys out; what can't be read is a problem that quotes nothing."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import typing as t

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

from ansible_collections.controlplane.etcd.plugins.module_utils._pki import reading
from lab.certificates import DAY, NOW, Key, Made, authority, key_bytes, make, new_key


@pytest.fixture(scope="module")
def ca() -> Made:
    return authority()


@pytest.fixture(scope="module")
def leaf(ca: Made) -> Made:
    return make("cp1", by=ca, names=["cp1", "*.example.org", "10.0.0.11", "::1"], serial=0xABC)


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def spki(key: Key) -> str:
    der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()


def pem(label: str, der: bytes) -> bytes:
    body = base64.encodebytes(der)
    return b"-----BEGIN %s-----\n%s-----END %s-----\n" % (label.encode(), body, label.encode())


def test_read_certificate_returns_every_field(leaf: Made) -> None:
    contents = reading.read(leaf.pem)
    assert contents.problems == () and contents.keys == ()
    (read,) = contents.certificates
    assert (read.subject, read.issuer, read.common_name) == ("CN=cp1", "CN=etcd-ca", "cp1")
    assert read.serial == "abc"
    assert read.dns_names == ("cp1", "*.example.org") and read.addresses == ("10.0.0.11", "::1")
    assert (read.not_before, read.not_after) == (NOW - 10 * DAY, NOW + 300 * DAY)
    assert read.not_after.utcoffset() == dt.timedelta(0)
    assert read.is_ca is False and read.usages == ("server", "client")
    assert (read.key_algorithm, read.key_bits, read.signature_hash) == ("EC", 256, "sha256")
    assert read.fingerprint == leaf.certificate.fingerprint(hashes.SHA256()).hex()
    assert read.public_key == spki(leaf.key) and read.der == leaf.der
    assert not read.self_signed
    assert reading.foreign(read) == leaf.certificate


def test_read_authority_is_one_without_usages(ca: Made) -> None:
    (read,) = reading.read(ca.pem).certificates
    assert read.is_ca and read.self_signed and read.usages is None


@pytest.mark.parametrize(
    "wrap",
    [
        lambda data: b"subject=CN = cp1\nissuer=CN = x\n\n" + data + b"trailing words\n",
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.rstrip(b"\n"),
        lambda data: data.replace(b" CERTIFICATE", b" X509 CERTIFICATE"),
        lambda data: data.replace(b" CERTIFICATE", b" TRUSTED CERTIFICATE"),
    ],
    ids=["text-around", "crlf", "no-last-newline", "x509-label", "trusted-label"],
)
def test_read_certificate_in_other_clothes_is_the_same(
    leaf: Made, wrap: t.Callable[[bytes], bytes]
) -> None:
    contents = reading.read(wrap(leaf.pem))
    assert contents.certificates == reading.read(leaf.pem).certificates
    assert contents.problems == ()


def test_read_trusted_certificate_leaves_its_settings_out(leaf: Made) -> None:
    settings = bytes.fromhex("300c300a06082b06010505070301")
    contents = reading.read(pem("TRUSTED CERTIFICATE", leaf.der + settings))
    assert contents == reading.read(leaf.pem)


def test_read_bundle_keeps_its_order_and_takes_keys(leaf: Made, ca: Made) -> None:
    contents = reading.read(leaf.pem + ca.pem + leaf.key_pem)
    assert [each.subject for each in contents.certificates] == ["CN=cp1", "CN=etcd-ca"]
    assert [each.public_key for each in contents.keys] == [spki(leaf.key)]
    assert contents.problems == ()


def test_read_der_certificate(leaf: Made) -> None:
    found = reading.read(leaf.der)
    assert found.is_der and found.problems == ()
    assert found.certificates == reading.read(leaf.pem).certificates
    assert reading.certificate(leaf.der) == reading.read(leaf.pem).certificates[0]
    assert reading.certificate(b"\x30\x00") is None


@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL", "OpenSSH"])
def test_read_key_of_each_form(rsa_key: rsa.RSAPrivateKey, form: str) -> None:
    key = new_key()
    for each, algorithm, bits in ((key, "EC", 256), (rsa_key, "RSA", 2048)):
        contents = reading.read(key_bytes(each, form=form))
        (read,) = contents.keys
        assert (read.algorithm, read.bits, read.public_key) == (algorithm, bits, spki(each))
        assert not read.encrypted and contents.problems == ()


def test_read_ed25519_key_and_its_certificate() -> None:
    made = make(key=ed25519.Ed25519PrivateKey.generate())
    contents = reading.read(made.pem + made.key_pem)
    (read,) = contents.certificates
    assert (read.key_algorithm, read.key_bits, read.signature_hash) == ("Ed25519", None, None)
    assert contents.keys[0].public_key == read.public_key == spki(made.key)


@pytest.mark.parametrize("encoding", ["PEM", "DER"])
def test_read_pkcs8_key_of_either_encoding(rsa_key: rsa.RSAPrivateKey, encoding: str) -> None:
    (read,) = reading.read(key_bytes(rsa_key, encoding=encoding)).keys
    assert read.public_key == spki(rsa_key)


@pytest.mark.parametrize(
    ("form", "encoding"),
    [("PKCS8", "PEM"), ("PKCS8", "DER"), ("TraditionalOpenSSL", "PEM")],
)
def test_read_encrypted_key_is_said_not_guessed(
    rsa_key: rsa.RSAPrivateKey, form: str, encoding: str
) -> None:
    data = key_bytes(rsa_key, form=form, encoding=encoding, password=b"secret")
    contents = reading.read(data)
    (read,) = contents.keys
    assert read.encrypted and read.public_key is None and contents.problems == ()


def test_read_public_key(rsa_key: rsa.RSAPrivateKey) -> None:
    data = rsa_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert reading.read(data).public_keys == (spki(rsa_key),)


def test_read_ec_parameters_before_the_key_are_ignored() -> None:
    key = new_key()
    parameters = pem("EC PARAMETERS", bytes.fromhex("06082a8648ce3d030107"))
    contents = reading.read(parameters + key_bytes(key, form="TraditionalOpenSSL"))
    assert [each.public_key for each in contents.keys] == [spki(key)] and not contents.problems


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda made: b"", "empty"),
        (lambda made: b" \n\t\n", "empty"),
        (lambda made: made.pem[:-40], "cut off"),
        (lambda made: made.pem[: len(made.pem) // 2], "cut off"),
        (lambda made: made.pem[40:], "starts nowhere"),
        (lambda made: made.der[:200], "cut off after 200 bytes"),
        (lambda made: made.der[:1], "cut off"),
        (lambda made: b"just words", "neither PEM nor DER"),
        (lambda made: made.pem.decode().encode("utf-16"), "neither PEM nor DER"),
        (lambda made: made.pem.replace(b"\nM", b"\n!", 1), "base64"),
        (lambda made: made.pem.replace(b"\nM", b"\n!!M", 1), "base64"),
        (lambda made: pem("CERTIFICATE", made.der[:-9]), "can't be read as a certificate"),
        (lambda made: pem("CERTIFICATE", b""), "base64"),
        (lambda made: pem("PRIVATE KEY", made.der), "can't be read as a private key"),
        (lambda made: pem("PUBLIC KEY", made.der), "can't be read as a public key"),
        (lambda made: pem("OPENSSH PRIVATE KEY", made.der), "can't be read as a private key"),
        (lambda made: pem("X509 CRL", b"abc"), "X509 CRL, but no certificate"),
        (lambda made: b"\x30\x03\x02\x01\x01", "neither a certificate nor a private key"),
    ],
)
def test_read_what_is_damaged_is_a_problem(
    leaf: Made, spoil: t.Callable[[Made], bytes], problem: str
) -> None:
    contents = reading.read(spoil(leaf))
    assert contents.certificates == () and contents.keys == ()
    assert problem in "; ".join(contents.problems)


def test_read_damaged_block_leaves_the_others(leaf: Made, ca: Made) -> None:
    contents = reading.read(leaf.pem[:-40] + b"\n" + ca.pem)
    assert [each.subject for each in contents.certificates] == ["CN=etcd-ca"]
    assert contents.problems == ("the PEM block CERTIFICATE in line 1 has no end: it is cut off",)


def test_read_second_block_is_named_by_its_line(leaf: Made, ca: Made) -> None:
    text = ca.pem + b"words\n" + leaf.pem[:-40]
    line = text[: text.rindex(b"-----BEGIN")].count(b"\n") + 1
    assert f"in line {line} has no end" in reading.read(text).problems[0]


def test_read_block_that_go_would_skip_is_told(leaf: Made) -> None:
    contents = reading.read(b"  " + leaf.pem)
    assert contents.certificates and "Go's programs skip it" in contents.problems[0]


def test_read_negative_serial_is_read() -> None:
    made = make(serial=0x7F11223344556677)
    der = made.der.replace(
        bytes.fromhex("02087f11223344556677"), bytes.fromhex("0208ff11223344556677")
    )
    assert der != made.der
    contents = reading.read(der)
    assert contents.problems or contents.certificates[0].serial.startswith("-")


def test_read_name_of_an_unknown_kind_of_text_is_a_problem_or_a_certificate() -> None:
    made = make("cp1")
    # UTF8String (12) becomes a tag that X.509 has no text for.
    der = made.der.replace(b"\x0c\x03cp1", b"\x35\x03cp1")
    assert der != made.der
    contents = reading.read(der)
    assert contents.problems or contents.certificates


@pytest.mark.parametrize("year", [2049, 2050, 9999])
def test_read_dates_far_away(year: int) -> None:
    end = dt.datetime(year, 12, 31, 23, 59, 59, tzinfo=dt.timezone.utc)
    assert reading.read(make(ends=end).pem).certificates[0].not_after == end


def test_read_without_extensions(ca: Made) -> None:
    (read,) = reading.read(make(by=ca, usages=None, constraints=False).pem).certificates
    assert (read.usages, read.is_ca, read.dns_names, read.addresses) == (None, False, (), ())


@pytest.mark.parametrize("oid", ["2.5.29.17", "2.5.29.19", "2.5.29.37"])
def test_read_broken_extension_is_a_problem_with_its_dates(oid: str) -> None:
    broken = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), b"\x30\x05broken")
    contents = reading.read(make(usages=None, constraints=False, more=[broken]).pem)
    assert contents.certificates[0].not_after == NOW + 300 * DAY
    assert "extensions can't be read" in contents.problems[0]


def test_read_unknown_key_algorithm_has_no_public_key(ca: Made) -> None:
    made = make(by=ca, key=ed25519.Ed25519PrivateKey.generate())
    der = made.der.replace(bytes.fromhex("06032b6570"), bytes.fromhex("06032b657f"))
    contents = reading.read(der)
    (read,) = contents.certificates
    assert read.public_key == "" and read.key_bits is None
    assert read.key_algorithm in ("1.3.101.127", "unknown")


@pytest.mark.parametrize(
    ("key", "algorithm", "bits"),
    [
        (ec.generate_private_key(ec.SECP224R1()), "EC", 224),
        (ec.generate_private_key(ec.SECP521R1()), "EC", 521),
        (dsa.generate_private_key(1024), "DSA", 1024),
    ],
    ids=["P-224", "P-521", "DSA"],
)
def test_read_other_algorithms(ca: Made, key: Key, algorithm: str, bits: int) -> None:
    (read,) = reading.read(make(by=ca, key=key).pem).certificates
    assert (read.key_algorithm, read.key_bits, read.public_key) == (algorithm, bits, spki(key))


def test_read_problems_quote_nothing(leaf: Made) -> None:
    secret = b"c2VjcmV0LXNlY3JldC1zZWNyZXQ"
    data = (
        b"-----BEGIN PRIVATE KEY-----\n"
        + secret
        + b"\n-----END PRIVATE KEY-----\npassword: hunter2\n"
    )
    told = "; ".join(reading.read(data).problems)
    assert told and "c2Vj" not in told and "hunter2" not in told


def test_read_hundreds_of_damaged_blocks_are_told_once_each_up_to_twenty() -> None:
    assert len(reading.read(b"-----BEGIN CERTIFICATE-----\nAAAA\n" * 500).problems) == 20
