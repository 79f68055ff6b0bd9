# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Issue the certificates of a kubeadm control plane, with kubeadm's names, SANs and usages.

The table is kubeadm's (cmd/kubeadm/app/phases/certs/certlist.go); its `encryptionAlgorithm:
ECDSA-P256` is what we use, because twelve RSA keys a host take seconds.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

YEAR = dt.timedelta(days=365)
SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
Key = ec.EllipticCurvePrivateKey


def now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc).replace(microsecond=0)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return private_pem(self.key)

    def write(self, base: Path) -> None:
        """Write BASE.crt and BASE.key with kubeadm's modes."""
        base.parent.mkdir(parents=True, exist_ok=True)
        write(base.with_name(base.name + ".crt"), self.certificate_pem, 0o644)
        write(base.with_name(base.name + ".key"), self.key_pem, 0o600)


@dataclass(frozen=True)
class CertificateFiles:
    """A client certificate that lies in files."""

    cert: Path
    key: Path
    ca: Path


def write(path: Path, data: bytes | str, mode: int = 0o600) -> None:
    """Write a file that has its mode from the start."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.touch(mode=mode)
    path.chmod(mode)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def private_pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def public_pem(key: Key) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def _subject(common_name: str, organization: str | None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(parts)


def authority(common_name: str) -> Pair:
    """Return a self-signed CA that lives ten years."""
    key = new_key()
    name = _subject(common_name, None)
    usage = x509.KeyUsage(True, False, True, False, False, True, False, False, False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - dt.timedelta(minutes=5))
        .not_valid_after(now() + 10 * YEAR)
        .add_extension(usage, critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(common_name)]), critical=False)
    )
    return Pair(builder.sign(key, hashes.SHA256()), key)


def issue(
    ca: Pair,
    common_name: str,
    *,
    organization: str | None = None,
    usages: t.Sequence[x509.ObjectIdentifier] = (CLIENT,),
    names: t.Iterable[str] = (),
    not_before: dt.datetime | None = None,
    not_after: dt.datetime | None = None,
) -> Pair:
    """Return a leaf of `ca`; `names` are DNS names and IP addresses."""
    key = new_key()
    start = not_before or now() - dt.timedelta(minutes=5)
    end = not_after or now() + YEAR
    if end <= start:
        start = end - YEAR
    usage = x509.KeyUsage(True, False, True, False, False, False, False, False, False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_subject(common_name, organization))
        .issuer_name(ca.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False
        )
    )
    general = [_general_name(name) for name in dict.fromkeys(names)]
    if general:
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    return Pair(builder.sign(ca.key, hashes.SHA256()), key)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@dataclass(frozen=True)
class ClusterPki:
    """What kubeadm shares over a cluster's control-plane hosts: three CAs and the sa key pair."""

    etcd_ca: Pair = field(default_factory=lambda: authority("etcd-ca"))
    ca: Pair = field(default_factory=lambda: authority("kubernetes"))
    front_proxy_ca: Pair = field(default_factory=lambda: authority("front-proxy-ca"))
    sa: Key = field(default_factory=new_key)

    def write_host(
        self,
        folder: Path,
        *,
        node: str,
        addresses: t.Sequence[str],
        endpoint: str,
        etcd_not_after: dt.datetime | None = None,
    ) -> None:
        """Write everything that kubeadm leaves in /etc/kubernetes/pki of one host to `folder`."""
        self.etcd_ca.write(folder / "etcd" / "ca")
        self.ca.write(folder / "ca")
        self.front_proxy_ca.write(folder / "front-proxy-ca")
        write(folder / "sa.key", private_pem(self.sa), 0o600)
        write(folder / "sa.pub", public_pem(self.sa), 0o600)
        local = [node, "localhost", *addresses, "127.0.0.1", "::1"]
        for name in ("server", "peer"):
            issue(
                self.etcd_ca,
                node,
                usages=(SERVER, CLIENT),
                names=local,
                not_after=etcd_not_after,
            ).write(folder / "etcd" / name)
        for name, common_name in (
            ("etcd/healthcheck-client", "kube-etcd-healthcheck-client"),
            ("apiserver-etcd-client", "kube-apiserver-etcd-client"),
        ):
            issue(self.etcd_ca, common_name).write(folder / name)
        service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        names = [node, *service, "kubernetes.default.svc.cluster.local", "10.96.0.1"]
        issue(
            self.ca, "kube-apiserver", usages=(SERVER,), names=[*names, *addresses, endpoint]
        ).write(folder / "apiserver")
        issue(
            self.ca, "kube-apiserver-kubelet-client", organization="kubeadm:cluster-admins"
        ).write(folder / "apiserver-kubelet-client")
        issue(self.front_proxy_ca, "front-proxy-client").write(folder / "front-proxy-client")
