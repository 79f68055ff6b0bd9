# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Certificates, keys and what carries them, as values; and what is found wrong with them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import typing as t

__all__ = [
    "Carrier",
    "Certificate",
    "Contents",
    "Finding",
    "Handshake",
    "Kind",
    "Limits",
    "Pair",
    "PrivateKey",
    "Severity",
]


class Severity(str, enum.Enum):
    """How bad a finding is."""

    CRITICAL = "critical"
    """Something fails now, within `fail_days`, or as soon as it is started again."""
    WARNING = "warning"
    """Something will fail, or could not be looked at: never an "all good"."""
    INFO = "info"
    """Worth knowing; nothing has to be done."""


class Kind(str, enum.Enum):
    """What a finding is about; a stable word to branch on."""

    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRES_SOON = "expires_soon"
    CA_ENDS_FIRST = "ca_ends_first"
    CHAIN = "chain"
    KEY_MISMATCH = "key_mismatch"
    KEY_MISSING = "key_missing"
    KEY_READABLE = "key_readable"
    KEY_ENCRYPTED = "key_encrypted"
    NAMES_MISSING = "names_missing"
    USAGE = "usage"
    WEAK_KEY = "weak_key"
    WEAK_SIGNATURE = "weak_signature"
    NOT_LOADED = "not_loaded"
    NOT_SERVED = "not_served"
    CA_KEY_ON_HOST = "ca_key_on_host"
    CLOCK_OFF = "clock_off"
    UNREADABLE = "unreadable"
    KUBECONFIG = "kubeconfig"
    MISSING = "missing"
    HOSTS_DIFFER = "hosts_differ"
    NOT_LOOKED_AT = "not_looked_at"


@dataclasses.dataclass(frozen=True)
class Certificate:
    """One X.509 certificate (RFC 5280)."""

    subject: str
    """RFC 4514, as in `CN=kube-apiserver`."""
    issuer: str
    common_name: str
    serial: str
    """Hex, lower case."""
    dns_names: tuple[str, ...]
    addresses: tuple[str, ...]
    not_before: dt.datetime
    not_after: dt.datetime
    is_ca: bool
    usages: tuple[str, ...] | None
    """Extended key usages, `server`, `client` or a dotted OID; None: the extension is absent."""
    key_algorithm: str
    """`RSA`, `EC`, `Ed25519`, or another name that cryptography gives."""
    key_bits: int | None
    signature_hash: str | None
    """`sha256`; None where the algorithm has none of its own (Ed25519), or it is unknown."""
    fingerprint: str
    """sha256 of the DER, hex."""
    public_key: str
    """sha256 of the SubjectPublicKeyInfo, hex: equal to its key's."""
    der: bytes = dataclasses.field(repr=False)

    @property
    def self_signed(self) -> bool:
        """Whether it names itself as its issuer."""
        return self.subject == self.issuer


@dataclasses.dataclass(frozen=True)
class PrivateKey:
    """A private key, told without it."""

    algorithm: str | None
    public_key: str | None
    """As a certificate's; None where the key is encrypted."""
    encrypted: bool = False
    bits: int | None = None


@dataclasses.dataclass(frozen=True)
class Contents:
    """What one file, or one field of a kubeconfig, holds."""

    certificates: tuple[Certificate, ...] = ()
    keys: tuple[PrivateKey, ...] = ()
    public_keys: tuple[str, ...] = ()
    """sha256 of each bare public key (sa.pub)."""
    problems: tuple[str, ...] = ()
    """What could not be read, in words that quote nothing of it."""
    is_der: bool = False
    """It is not PEM, which is all that etcd and Kubernetes read."""


@dataclasses.dataclass(frozen=True)
class Carrier:
    """A file of the host, or a field inside a kubeconfig, with what it holds."""

    path: str
    """The host's path, as messages show it."""
    name: str | None
    """Its standard name (kubeadm's words: `apiserver.crt`, `admin.conf`); None: somebody made it up."""
    contents: Contents
    mode: int = 0o600
    uid: int = 0
    field: str | None = None
    """`users[kubernetes-admin].client-certificate-data` and the like; None: the file itself."""
    gid: int = 0
    named: bool = False
    """Something that was found on the host names it as what a program reads."""

    @property
    def where(self) -> str:
        """Its path, with the field."""
        return f"{self.path} {self.field}" if self.field else self.path


@dataclasses.dataclass(frozen=True)
class Pair:
    """A certificate with the place that its key belongs, and the authorities it should chain to."""

    certificate: Carrier
    key: Carrier | None
    authorities: tuple[Certificate, ...]
    role: str | None
    """The name in kubeadm's table, as in `etcd/server`, `admin.conf`; None: unknown to it."""


@dataclasses.dataclass(frozen=True)
class Handshake:
    """What an endpoint showed."""

    endpoint: str
    """`https://10.0.0.11:2379`, IPv6 in brackets."""
    role: str
    """Whose certificate is expected there: `etcd/server`, `etcd/peer`, `apiserver`, `kubelet`."""
    served: Certificate | None
    problem: str | None = None
    """Why nothing was seen: refused, timed out, speaks no TLS, …"""


@dataclasses.dataclass(frozen=True)
class Limits:
    """From when on what counts."""

    now: dt.datetime
    warn_days: int = 30
    fail_days: int = 7
    ca_key_forbidden: bool = False


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or could not be looked at, and what to do."""

    kind: Kind
    severity: Severity
    subject: str
    """The certificate's subject, or the name of what it is about."""
    where: str
    """A path of the host (with a field), or an endpoint."""
    message: str
    """What is wrong: got against expected; one or two sentences."""
    action: str
    """What to do: `kubeadm certs renew apiserver`, restart what; empty only for INFO."""
    name: str | None = None
    """The standard name of the file."""
    days_left: int | None = None

    def as_dict(self) -> dict[str, t.Any]:
        """Return it as JSON."""
        return {
            **dataclasses.asdict(self),
            "kind": self.kind.value,
            "severity": self.severity.value,
        }
