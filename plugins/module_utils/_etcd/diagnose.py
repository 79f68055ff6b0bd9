# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Why an endpoint can't be spoken to: gRPC only says UNAVAILABLE, so ask with sockets and TLS.

Only ever called after a failure; reads what the other side shows, sends no more than a TLS hello
and the HTTP/2 preface (RFC 9113, section 3.4).
"""

from __future__ import annotations

import contextlib
import socket
import ssl

from ansible_collections.controlplane.etcd.plugins.module_utils import _time
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    CertificateRejected,
    EndpointError,
    EndpointTimeout,
    EndpointUnreachable,
    NotEtcd,
)

from .certificates import Certificate
from .connection import Connection, Endpoint, client_context, reason

__all__ = ["diagnose"]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_SETTINGS_FRAME = 4
_HOSTNAME_CODES = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_EXPIRED_CODE = 10  # X509_V_ERR_CERT_HAS_EXPIRED
_NOT_YET_CODE = 9  # X509_V_ERR_CERT_NOT_YET_VALID


def diagnose(connection: Connection, endpoint: Endpoint) -> EndpointError | None:
    """Return why `endpoint` can't be used, or None where sockets and TLS find nothing wrong."""
    try:
        raw = _connect(connection, endpoint)
    except EndpointError as exc:
        return exc
    with raw:
        if endpoint.tls:
            return _diagnose_tls(raw, connection, endpoint)
        return _diagnose_plain(raw, connection, endpoint)


def _connect(connection: Connection, endpoint: Endpoint) -> socket.socket:
    """Open a TCP connection, bounded by dial_timeout."""
    url = endpoint.url
    try:
        return socket.create_connection(
            (endpoint.host, endpoint.port), timeout=connection.dial_timeout
        )
    except socket.gaierror as exc:
        raise EndpointUnreachable(
            f"Cannot reach etcd {url}: this host cannot resolve the name {endpoint.host} "
            f"({exc.strerror}).",
            hint="Correct the endpoint, or the host's DNS or /etc/hosts.",
            endpoint=url,
        ) from exc
    except socket.timeout as exc:  # an alias of TimeoutError from Python 3.10 on only
        raise EndpointUnreachable(
            f"Cannot reach etcd {url}: no TCP connection within {connection.dial_timeout:g} s.",
            hint="A firewall or a host that is down does that; dial_timeout sets the limit.",
            endpoint=url,
        ) from exc
    except ConnectionRefusedError as exc:
        raise EndpointUnreachable(
            f"Cannot reach etcd {url}: connection refused, nothing listens on port "
            f"{endpoint.port} there.",
            hint="Look whether etcd runs on that host (crictl ps -a, or systemctl status etcd) "
            "and on which client URL.",
            endpoint=url,
        ) from exc
    except OSError as exc:
        raise EndpointUnreachable(
            f"Cannot reach etcd {url}: {exc.strerror or exc}.",
            hint="Look at the route to that host and its firewall.",
            endpoint=url,
        ) from exc


def _diagnose_tls(
    raw: socket.socket, connection: Connection, endpoint: Endpoint
) -> EndpointError | None:
    context = client_context(verify=True)
    if connection.cacert:
        context.load_verify_locations(cafile=connection.cacert)
    else:
        context.load_default_certs()
    if connection.cert:
        context.load_cert_chain(connection.cert, connection.key, password="")
    try:
        with context.wrap_socket(raw, server_hostname=endpoint.host) as tls:
            if tls.selected_alpn_protocol() != "h2":
                return _not_etcd(endpoint, "it speaks TLS, but not HTTP/2")
            return _first_reply(tls, connection, endpoint)
    except ssl.SSLCertVerificationError as exc:
        return _server_refused(exc, connection, endpoint)
    except socket.timeout:
        return _hangs(connection, endpoint, "no TLS handshake")
    except ssl.SSLError as exc:
        alert = reason(exc)
        if "ALERT" in alert.upper() and "PROTOCOL_VERSION" not in alert.upper():
            return _client_refused(alert, connection, endpoint)
        return _not_tls(exc, connection, endpoint)
    except OSError as exc:
        return _not_tls(exc, connection, endpoint)


def _first_reply(
    stream: socket.socket, connection: Connection, endpoint: Endpoint
) -> EndpointError | None:
    """Send the HTTP/2 preface and judge what comes back; TLS 1.3 refuses certificates here."""
    stream.settimeout(connection.dial_timeout)
    try:
        stream.sendall(_PREFACE)
        answer = stream.recv(64)
    except socket.timeout:
        return _hangs(connection, endpoint, "no HTTP/2 answer")
    except ssl.SSLError as exc:
        return _client_refused(reason(exc), connection, endpoint)
    except OSError as exc:
        return EndpointUnreachable(
            f"Cannot speak with etcd {endpoint.url}: it hung up ({exc.strerror}).",
            hint="Look at the member's log.",
            endpoint=endpoint.url,
        )
    if len(answer) >= 9 and answer[3] == _SETTINGS_FRAME:
        return None
    if not answer:
        return EndpointUnreachable(
            f"Cannot speak with etcd {endpoint.url}: it hung up without an answer.",
            hint="Look at the member's log; a server that wants TLS, or another program on that "
            "port, does that too.",
            endpoint=endpoint.url,
        )
    return _not_etcd(endpoint, f"its answer starts with {answer[:40]!r}")


def _diagnose_plain(
    raw: socket.socket, connection: Connection, endpoint: Endpoint
) -> EndpointError | None:
    if _offers_tls(connection, endpoint):
        return CertificateRejected(
            f"Cannot speak with etcd {endpoint.url}: the server wants TLS, the endpoint says "
            "plain HTTP.",
            hint=f"Write the endpoint as https://{endpoint.target}, and set cacert, cert and key.",
            endpoint=endpoint.url,
        )
    return _first_reply(raw, connection, endpoint)


def _offers_tls(connection: Connection, endpoint: Endpoint) -> bool:
    """Tell whether a TLS handshake succeeds, or fails over our missing certificate only."""
    try:
        with (
            _connect(connection, endpoint) as raw,
            client_context(verify=False).wrap_socket(raw, server_hostname=endpoint.host),
        ):
            return True
    except ssl.SSLError as exc:
        return "ALERT" in reason(exc).upper()
    except (OSError, EndpointError):
        return False


def _not_tls(exc: OSError, connection: Connection, endpoint: Endpoint) -> EndpointError:
    """Say what a server speaks that answered a TLS hello with something else."""
    banner = b""
    with contextlib.suppress(OSError, EndpointError), _connect(connection, endpoint) as raw:
        raw.settimeout(min(connection.dial_timeout, 1.0))
        with contextlib.suppress(socket.timeout):
            banner = raw.recv(64)  # ssh and mail servers speak first
        if not banner:
            raw.sendall(_PREFACE)
            banner = raw.recv(64)
    if len(banner) >= 9 and banner[3] == _SETTINGS_FRAME:
        return CertificateRejected(
            f"Cannot speak TLS with etcd {endpoint.url}: the server speaks plain HTTP/2.",
            hint=f"Write the endpoint as http://{endpoint.target} if it is meant to be unencrypted.",
            endpoint=endpoint.url,
        )
    if banner:
        return _not_etcd(endpoint, f"it speaks no TLS, its answer starts with {banner[:40]!r}")
    return NotEtcd(
        f"Cannot speak TLS with {endpoint.url}: the server ended the handshake ({reason(exc)}).",
        hint="Look what listens on that port; etcd's client port is usually 2379.",
        endpoint=endpoint.url,
    )


def _not_etcd(endpoint: Endpoint, seen: str) -> NotEtcd:
    return NotEtcd(
        f"What answers at {endpoint.url} is not etcd: {seen}.",
        hint="Name etcd's client URL, usually port 2379.",
        endpoint=endpoint.url,
    )


def _hangs(connection: Connection, endpoint: Endpoint, what: str) -> EndpointTimeout:
    return EndpointTimeout(
        f"etcd {endpoint.url} hangs: it took the TCP connection, but {what} within "
        f"{connection.dial_timeout:g} s.",
        hint="Look whether the process is stopped or its host is overloaded; dial_timeout sets "
        "the limit.",
        endpoint=endpoint.url,
    )


def _server_refused(
    exc: ssl.SSLCertVerificationError, connection: Connection, endpoint: Endpoint
) -> CertificateRejected:
    """Say why the server's certificate is not accepted here."""
    served = _served_certificate(connection, endpoint)
    shown = served.describe() if served else "its certificate"
    start = f"Server certificate of etcd {endpoint.url} is refused"
    if exc.verify_code in _HOSTNAME_CODES:
        names = ", ".join(served.names) if served and served.names else "no name at all"
        return CertificateRejected(
            f"{start}: it is valid for {names}, not for {endpoint.host}.",
            hint="Use an endpoint that the certificate names, or renew the certificate with "
            "this name.",
            endpoint=endpoint.url,
        )
    if exc.verify_code in (_EXPIRED_CODE, _NOT_YET_CODE):
        window = _time.rfc3339(_time.now())
        return CertificateRejected(
            f"{start}: {shown} is outside its validity by this host's clock ({window}): "
            f"{exc.verify_message}.",
            hint="Renew etcd's server certificate (kubeadm certs renew etcd-server) and restart "
            "etcd, or correct the clock.",
            endpoint=endpoint.url,
        )
    trusted = connection.cacert or "the system's certificate authorities (no cacert is set)"
    authority = Certificate.from_file(connection.cacert) if connection.cacert else None
    subject = f" ({authority.subject})" if authority else ""
    return CertificateRejected(
        f"{start}: {shown} is not signed by {trusted}{subject}: {exc.verify_message}.",
        hint="Set cacert to the authority that signed etcd's certificates, for kubeadm "
        "/etc/kubernetes/pki/etcd/ca.crt (not /etc/kubernetes/pki/ca.crt).",
        endpoint=endpoint.url,
        path=connection.cacert,
    )


def _served_certificate(connection: Connection, endpoint: Endpoint) -> Certificate | None:
    """Read the certificate that the server shows, without trusting it."""
    with (
        contextlib.suppress(OSError, EndpointError),
        _connect(connection, endpoint) as raw,
        client_context(verify=False).wrap_socket(raw, server_hostname=endpoint.host) as tls,
    ):
        shown = tls.getpeercert(binary_form=True)
        return Certificate.from_der(shown) if shown else None
    return None


def _client_refused(alert: str, connection: Connection, endpoint: Endpoint) -> CertificateRejected:
    """Say why the server refused what we showed, as far as the certificate itself tells."""
    said = f"the server's answer was {alert.lower().replace('_', ' ')}"
    if not connection.cert:
        return CertificateRejected(
            f"etcd {endpoint.url} wants a client certificate, and none is set ({said}).",
            hint="Set cert and key, for kubeadm /etc/kubernetes/pki/etcd/server.crt and "
            "server.key.",
            endpoint=endpoint.url,
        )
    path = connection.cert
    start = f"etcd {endpoint.url} refused client certificate {path}"
    own = Certificate.from_file(path)
    if own is None:
        return CertificateRejected(f"{start} ({said}).", endpoint=endpoint.url, path=path)
    now = _time.now()
    if own.not_after < now:
        return CertificateRejected(
            f"{start}: it expired at {_time.rfc3339(own.not_after)}, this host's clock says "
            f"{_time.rfc3339(now)} ({said}).",
            hint="Renew it (kubeadm certs renew all), or name one that is still valid in cert "
            "and key.",
            endpoint=endpoint.url,
            path=path,
        )
    if own.not_before > now:
        return CertificateRejected(
            f"{start}: it is valid from {_time.rfc3339(own.not_before)} on only, this host's "
            f"clock says {_time.rfc3339(now)} ({said}).",
            hint="Correct the host's clock.",
            endpoint=endpoint.url,
            path=path,
        )
    if not own.for_clients:
        return CertificateRejected(
            f"{start}: it is not made for clients (its extended key usage lacks client "
            f"authentication; {said}).",
            hint="Name a client certificate, for kubeadm etcd/server.crt or "
            "etcd/healthcheck-client.crt.",
            endpoint=endpoint.url,
            path=path,
        )
    return CertificateRejected(
        f"{start}: {own.describe()} is not signed by the authority that etcd trusts ({said}).",
        hint="Name a certificate that etcd's own authority signed, for kubeadm "
        "/etc/kubernetes/pki/etcd/server.crt.",
        endpoint=endpoint.url,
        path=path,
    )
