# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Read certificates and keys out of bytes: PEM with anything around it, or DER.

Whatever can't be read becomes a problem in words that quote nothing of it; nothing raises.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import datetime as dt
import hashlib
import re
import typing as t
import warnings

from ansible_collections.controlplane.etcd.plugins.module_utils import _deps

from .model import Certificate, Contents, PrivateKey

__all__ = ["certificate", "foreign", "read", "unreadable"]

# Labels of RFC 7468 and of OpenSSL's pem.h.
_MARKER = re.compile(rb"-----(BEGIN|END) ([A-Z0-9 ]{1,64})-----")
_CERTIFICATES = ("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE")
_PUBLIC = ("PUBLIC KEY", "RSA PUBLIC KEY")
_LEGACY = {"RSA PRIVATE KEY": "RSA", "EC PRIVATE KEY": "EC", "DSA PRIVATE KEY": "DSA"}
_MOST_PROBLEMS = 20
_USAGES = {"1.3.6.1.5.5.7.3.1": "server", "1.3.6.1.5.5.7.3.2": "client"}
# cryptography names no hash for these (RFC 8017, RFC 3279).
_OLD_SIGNATURES = {"1.2.840.113549.1.1.2": "md2", "1.2.840.113549.1.1.3": "md4"}


@dataclasses.dataclass(frozen=True)
class _Block:
    """One PEM block."""

    label: str
    line: int
    text: bytes
    """With its markers."""
    body: bytes

    @property
    def words(self) -> str:
        return f"the PEM block {self.label} in line {self.line}"


class _Found:
    """What has been read so far."""

    def __init__(self) -> None:
        self.certificates: list[Certificate] = []
        self.keys: list[PrivateKey] = []
        self.public_keys: list[str] = []
        self.problems: list[str] = []
        self.others: list[str] = []
        self.is_der = False

    def contents(self) -> Contents:
        return Contents(
            certificates=tuple(self.certificates),
            keys=tuple(self.keys),
            public_keys=tuple(self.public_keys),
            problems=tuple(dict.fromkeys(self.problems))[:_MOST_PROBLEMS],
            is_der=self.is_der,
        )


def unreadable(problem: str) -> Contents:
    """Return the contents of what could not be read at all."""
    return Contents(problems=(problem,))


def read(data: bytes) -> Contents:
    """Return every certificate and key in `data`, in their order, and what could not be read."""
    if not data.strip():
        return unreadable("it is empty")
    found = _Found()
    if _MARKER.search(data):
        for block in _blocks(data, found):
            _take(block, found)
        if not (found.certificates or found.keys or found.public_keys or found.problems):
            kinds = ", ".join(dict.fromkeys(found.others))
            found.problems.append(f"it holds {kinds}, but no certificate and no key")
    else:
        _der(data, found)
    return found.contents()


def certificate(der: bytes) -> Certificate | None:
    """Return a certificate of its DER, None where it is none."""
    return _certificate(der)[0]


def foreign(value: Certificate) -> t.Any:
    """Return cryptography's own object of a certificate that was read here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _deps.load("cryptography.x509").load_der_x509_certificate(value.der)


def _blocks(data: bytes, found: _Found) -> t.Iterator[_Block]:
    """Yield the whole PEM blocks; tell of those that have no end."""
    begin: re.Match[bytes] | None = None
    counted, line = 0, 1
    for marker in _MARKER.finditer(data):
        label = marker.group(2).decode()
        if begin is None:
            line += data.count(b"\n", counted, marker.start())
            counted = marker.start()
        if marker.group(1) == b"BEGIN":
            if begin is not None:
                found.problems.append(_without_end(begin, line))
                line += data.count(b"\n", counted, marker.start())
                counted = marker.start()
            begin = marker
        elif begin is None:
            found.problems.append(f"a PEM block {label} ends in line {line} and starts nowhere")
        elif begin.group(2) != marker.group(2):
            found.problems.append(_without_end(begin, line))
            begin = None
        else:
            if begin.start() and data[begin.start() - 1 : begin.start()] != b"\n":
                found.problems.append(
                    f"something stands before the PEM block {label} in line {line}: Go's programs "
                    "skip it"
                )
            yield _Block(
                label,
                line,
                data[begin.start() : marker.end()] + b"\n",
                data[begin.end() : marker.start()],
            )
            begin = None
    if begin is not None:
        found.problems.append(_without_end(begin, line))


def _without_end(begin: re.Match[bytes], line: int) -> str:
    return f"the PEM block {begin.group(2).decode()} in line {line} has no end: it is cut off"


def _take(block: _Block, found: _Found) -> None:
    if block.label in _CERTIFICATES:
        der = _decoded(block.body)
        if der is None:
            found.problems.append(f"{block.words} can't be read: its base64 is damaged")
            return
        if block.label == "TRUSTED CERTIFICATE":  # OpenSSL appends its trust settings
            der = der[: _der_length(der) or len(der)]
        value, problem = _certificate(der)
        if value is not None:
            found.certificates.append(value)
        if problem is not None:
            found.problems.append(f"{block.words}: {problem}")
    elif block.label.endswith("PRIVATE KEY"):
        _private(block, found)
    elif block.label in _PUBLIC:
        serialization = _deps.load("cryptography.hazmat.primitives.serialization")
        try:
            key = serialization.load_pem_public_key(block.text)
            found.public_keys.append(_spki(key))
        except _unreadable_key():
            found.problems.append(f"{block.words} can't be read as a public key")
    else:
        found.others.append(block.label)


def _private(block: _Block, found: _Found) -> None:
    algorithm = _LEGACY.get(block.label)
    # RFC 1421's header, as OpenSSL writes it, or PKCS#8's own (RFC 5958).
    if block.label == "ENCRYPTED PRIVATE KEY" or b"ENCRYPTED" in block.body[:200]:
        found.keys.append(PrivateKey(algorithm, None, encrypted=True))
        return
    serialization = _deps.load("cryptography.hazmat.primitives.serialization")
    load = serialization.load_pem_private_key
    if block.label == "OPENSSH PRIVATE KEY":
        load = serialization.load_ssh_private_key
    _key(load, block.text, f"{block.words} can't be read as a private key", found)


def _key(load: t.Callable[..., t.Any], data: bytes, problem: str, found: _Found) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            key = load(data, password=None)
            public = key.public_key()
            name, bits = _algorithm(public)
            found.keys.append(PrivateKey(name, _spki(public), bits=bits))
    except TypeError:  # the only one over a password that is lacking
        found.keys.append(PrivateKey(None, None, encrypted=True))
    except _unreadable_key():
        found.problems.append(problem)


def _der(data: bytes, found: _Found) -> None:
    if data[:1] != b"\x30":
        found.problems.append("it is neither PEM nor DER: it holds no certificate and no key")
        return
    length = _der_length(data)
    if length is None or length > len(data):
        found.problems.append(f"it is DER that is cut off after {len(data)} bytes")
        return
    found.is_der = True
    value, problem = _certificate(data[:length])
    if value is not None:
        found.certificates.append(value)
        if problem is not None:
            found.problems.append(f"the DER certificate: {problem}")
        return
    serialization = _deps.load("cryptography.hazmat.primitives.serialization")
    _key(
        serialization.load_der_private_key,
        data[:length],
        "it is DER, but neither a certificate nor a private key that can be read",
        found,
    )


def _der_length(data: bytes) -> int | None:
    """Return how many bytes the first element takes (X.690, 8.1.3)."""
    if len(data) < 2:
        return None
    first = data[1]
    if first < 0x80:
        return 2 + first
    count = first & 0x7F
    if not count or count > 4 or len(data) < 2 + count:
        return None
    return 2 + count + int.from_bytes(data[2 : 2 + count], "big")


def _decoded(body: bytes) -> bytes | None:
    try:
        return base64.b64decode(b"".join(body.split()), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def _unreadable_key() -> tuple[type[Exception], ...]:
    exceptions = _deps.load("cryptography.exceptions")
    # KeyError: a kind of text in a name that cryptography before 45 has no word for.
    return (ValueError, TypeError, KeyError, OverflowError, exceptions.UnsupportedAlgorithm)


def _certificate(der: bytes) -> tuple[Certificate | None, str | None]:
    """Return the certificate and what is wrong with it; without one, why not."""
    x509 = _deps.load("cryptography.x509")
    broken = (*_unreadable_key(), x509.InvalidVersion)
    with warnings.catch_warnings():
        # Negative serials and the like: deprecated is not unreadable.
        warnings.simplefilter("ignore")
        try:
            loaded = x509.load_der_x509_certificate(der)
            subject, issuer = loaded.subject.rfc4514_string(), loaded.issuer.rfc4514_string()
            common = loaded.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
            serial = format(loaded.serial_number, "x")
            not_before, not_after = _moment(loaded, "before"), _moment(loaded, "after")
        except broken:
            return None, "it can't be read as a certificate"
        names, is_ca, usages, problem = _extensions(loaded)
        algorithm, bits, public = _public_key(loaded)
        return (
            Certificate(
                subject=subject,
                issuer=issuer,
                common_name=str(common[-1].value) if common else "",
                serial=serial,
                dns_names=tuple(name for name, is_dns in names if is_dns),
                addresses=tuple(name for name, is_dns in names if not is_dns),
                not_before=not_before,
                not_after=not_after,
                is_ca=is_ca,
                usages=usages,
                key_algorithm=algorithm,
                key_bits=bits,
                signature_hash=_signature_hash(loaded),
                fingerprint=hashlib.sha256(der).hexdigest(),
                public_key=public,
                der=der,
            ),
            problem,
        )


def _moment(loaded: t.Any, which: str) -> dt.datetime:
    moment = getattr(loaded, f"not_valid_{which}_utc", None)  # cryptography 42 and later
    if moment is None:
        moment = getattr(loaded, f"not_valid_{which}").replace(tzinfo=dt.timezone.utc)
    return t.cast(dt.datetime, moment)


def _extensions(
    loaded: t.Any,
) -> tuple[list[tuple[str, bool]], bool, tuple[str, ...] | None, str | None]:
    """Return names (and whether each is a DNS name), is it a CA, usages, and what is wrong."""
    x509 = _deps.load("cryptography.x509")
    names: list[tuple[str, bool]] = []
    is_ca = False
    usages: tuple[str, ...] | None = None
    try:
        extensions = list(loaded.extensions)
    except (
        *_unreadable_key(),
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ):
        return names, is_ca, usages, "its extensions can't be read"
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.SubjectAlternativeName):
            names += [(str(each), True) for each in value.get_values_for_type(x509.DNSName)]
            names += [(str(each), False) for each in value.get_values_for_type(x509.IPAddress)]
        elif isinstance(value, x509.BasicConstraints):
            is_ca = bool(value.ca)
        elif isinstance(value, x509.ExtendedKeyUsage):
            usages = tuple(_USAGES.get(each.dotted_string, each.dotted_string) for each in value)
    return names, is_ca, usages, None


def _public_key(loaded: t.Any) -> tuple[str, int | None, str]:
    try:
        key = loaded.public_key()
        return (*_algorithm(key), _spki(key))
    except _unreadable_key():
        oid = getattr(loaded, "public_key_algorithm_oid", None)  # cryptography 43 and later
        return (oid.dotted_string if oid is not None else "unknown"), None, ""


def _algorithm(key: t.Any) -> tuple[str, int | None]:
    """Return the name of a public key's algorithm and its length in bits."""
    rsa = _deps.load("cryptography.hazmat.primitives.asymmetric.rsa")
    ec = _deps.load("cryptography.hazmat.primitives.asymmetric.ec")
    dsa = _deps.load("cryptography.hazmat.primitives.asymmetric.dsa")
    if isinstance(key, rsa.RSAPublicKey):
        return "RSA", key.key_size
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "EC", key.curve.key_size
    if isinstance(key, dsa.DSAPublicKey):
        return "DSA", key.key_size
    # Ed25519PublicKey and the like, whatever cryptography's version puts around it.
    return type(key).__name__.replace("PublicKey", "").strip("_"), None


def _spki(key: t.Any) -> str:
    serialization = _deps.load("cryptography.hazmat.primitives.serialization")
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()


def _signature_hash(loaded: t.Any) -> str | None:
    try:
        algorithm = loaded.signature_hash_algorithm
    except _unreadable_key():
        return _OLD_SIGNATURES.get(loaded.signature_algorithm_oid.dotted_string)
    return algorithm.name if algorithm is not None else None
