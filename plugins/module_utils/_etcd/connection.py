# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Where and how to reach etcd: endpoints, certificates, user."""

from __future__ import annotations

import dataclasses
import grp
import os
import pwd
import ssl
import stat
import urllib.parse

from ansible_collections.controlplane.etcd.plugins.module_utils import _files
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    CertificateRejected,
    OptionInvalid,
)

__all__ = ["Connection", "Endpoint", "TlsFiles", "describe_access"]

_DEFAULT_PORT = 2379


@dataclasses.dataclass(frozen=True)
class Connection:
    """How a client reaches etcd; `endpoints` are tried in their order."""

    endpoints: tuple[str, ...]
    cacert: str | None = None
    cert: str | None = None
    key: str | None = None
    user: str | None = None
    password: str | None = dataclasses.field(default=None, repr=False)
    dial_timeout: float = 2.0
    command_timeout: float = 5.0

    @property
    def asked(self) -> tuple[str, ...]:
        """The endpoints, one at least.

        :raises OptionInvalid: there is none.
        """
        if not self.endpoints:
            raise OptionInvalid(
                "No etcd endpoint to ask: none is set and no layout names one.",
                hint="Set endpoints, as in https://127.0.0.1:2379.",
            )
        return self.endpoints


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """One client URL, taken apart."""

    url: str
    tls: bool
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Read `https://HOST:PORT`; without a scheme it is plain HTTP, as for etcdctl.

        :raises OptionInvalid: it is no URL of etcd's client port.
        """
        text = url if "://" in url else f"http://{url}"
        try:
            parts = urllib.parse.urlsplit(text)
            port = parts.port or _DEFAULT_PORT
        except ValueError as exc:
            raise _invalid(url, str(exc)) from exc
        if parts.scheme not in ("http", "https"):
            raise _invalid(url, f"scheme {parts.scheme!r} is neither http nor https")
        if not parts.hostname:
            raise _invalid(url, "it names no host")
        return cls(url=url, tls=parts.scheme == "https", host=parts.hostname, port=port)

    @property
    def target(self) -> str:
        """What gRPC dials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def _invalid(url: str, why: str) -> OptionInvalid:
    return OptionInvalid(
        f"Endpoint {url!r} cannot be used: {why}.", hint="Write it as https://HOST:2379."
    )


@dataclasses.dataclass(frozen=True)
class TlsFiles:
    """The contents of a connection's certificate files, checked to belong together."""

    cacert: bytes | None
    cert: bytes | None
    key: bytes | None = dataclasses.field(repr=False)

    @classmethod
    def read(cls, connection: Connection, endpoint: str) -> TlsFiles:
        """Read the files, and have OpenSSL load them once.

        :raises CertificateRejected: one can't be read, is no PEM, or key and certificate differ;
            names the file.
        :raises OptionInvalid: a certificate without its key, or the reverse.
        """
        if bool(connection.cert) != bool(connection.key):
            given, missing = ("cert", "key") if connection.cert else ("key", "cert")
            raise OptionInvalid(
                f"Option {given} is set to {connection.cert or connection.key}, but {missing} is "
                "not: a client certificate needs both.",
                hint=f"Set {missing} too.",
            )
        files = cls(
            cacert=_read(connection.cacert, "certificate authority", "cacert", endpoint),
            cert=_read(connection.cert, "client certificate", "cert", endpoint),
            key=_read(connection.key, "private key", "key", endpoint),
        )
        _load(connection, endpoint)
        return files


def _read(path: str | None, what: str, option: str, endpoint: str) -> bytes | None:
    if path is None:
        return None
    try:
        with _files.open_regular(path) as source:
            return source.read()
    except FileNotFoundError as exc:
        raise CertificateRejected(
            f"The {what} {path} for etcd {endpoint} does not exist on this host.",
            hint=f"Set {option} to where it lies, or certificates_dir if all of them lie elsewhere.",
            endpoint=endpoint,
            path=path,
        ) from exc
    except OSError as exc:
        raise CertificateRejected(
            f"Cannot read the {what} {path} on this host for etcd {endpoint}: {exc.strerror} "
            f"({describe_access(path)}).",
            hint=f"Run the task with become, or name a file that this user can read in {option}.",
            endpoint=endpoint,
            path=path,
        ) from exc


def _load(connection: Connection, endpoint: str) -> None:
    context = client_context(verify=False)
    if connection.cacert:
        try:
            context.load_verify_locations(cafile=connection.cacert)
        except (ssl.SSLError, OSError) as exc:
            raise CertificateRejected(
                f"File {connection.cacert} (cacert) holds no certificate authority in PEM form: "
                f"{reason(exc)}.",
                hint="For kubeadm it is /etc/kubernetes/pki/etcd/ca.crt.",
                endpoint=endpoint,
                path=connection.cacert,
            ) from exc
    if connection.cert:
        try:
            # An empty password instead of a question on the terminal.
            context.load_cert_chain(connection.cert, connection.key, password="")
        except (ssl.SSLError, OSError) as exc:
            if "MISMATCH" in reason(exc).upper():
                raise CertificateRejected(
                    f"Private key {connection.key} does not belong to certificate "
                    f"{connection.cert}: their public keys differ.",
                    hint="Name the key that was made for this certificate.",
                    endpoint=endpoint,
                    path=connection.key,
                ) from exc
            raise CertificateRejected(
                f"Certificate {connection.cert} with private key {connection.key} cannot be "
                f"loaded: {reason(exc)}.",
                hint="Both must be PEM files, the key without a passphrase.",
                endpoint=endpoint,
                path=connection.cert,
            ) from exc


def client_context(*, verify: bool) -> ssl.SSLContext:
    """Return a TLS client context that offers HTTP/2, as gRPC does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = verify
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def reason(exc: OSError) -> str:
    """Return OpenSSL's or the system's short reason, without its file names."""
    return getattr(exc, "reason", None) or exc.strerror or type(exc).__name__


def describe_access(path: str) -> str:
    """Say who owns the first part of `path` that stops this user, its mode, and who we are."""
    me = f"running as {_user_name(os.geteuid())}"
    seen = path
    while True:
        try:
            facts = os.stat(seen)
            break
        except OSError:
            parent = os.path.dirname(seen)
            if parent == seen or not parent:
                return me
            seen = parent
    owner = f"{_user_name(facts.st_uid)}:{_group_name(facts.st_gid)}"
    mode = f"{stat.S_IMODE(facts.st_mode):04o}"
    where = "it" if seen == path else f"folder {seen}"
    return f"{where} belongs to {owner} with mode {mode}; {me}"


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"gid {gid}"
