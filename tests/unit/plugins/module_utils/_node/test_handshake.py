# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Handshakes with real sockets: TLS of each kind, no TLS, and silence."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
import threading
import time
import typing as t
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ansible_collections.controlplane.etcd.plugins.module_utils._node import handshake
from ansible_collections.controlplane.etcd.plugins.module_utils._node.handshake import Target
from lab.pki import CLIENT, SERVER, Pair, authority, issue

Talk = t.Callable[[socket.socket], None]


class Issued(t.NamedTuple):
    """What the servers of this file serve."""

    ca: Path
    cert: Path
    key: Path
    der: bytes


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    folder = tmp_path_factory.mktemp("issued")
    ca = authority("etcd-ca")
    ca.write(folder / "ca")
    pair = issue(ca, "cp1", usages=(SERVER, CLIENT), names=["127.0.0.1"])
    pair.write(folder / "server")
    der = ssl.PEM_cert_to_DER_cert(pair.certificate_pem.decode())
    return Issued(folder / "ca.crt", folder / "server.crt", folder / "server.key", der)


@contextlib.contextmanager
def listening(talk: Talk, *, host: str = "127.0.0.1") -> t.Iterator[Target]:
    """Serve every connection with `talk` in a thread of its own."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind((host, 0))
        listener.listen()
        streams: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    stream, _address = listener.accept()
                except OSError:
                    return
                streams.append(stream)
                threading.Thread(target=_quietly, args=(talk, stream), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield Target(host, listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        for stream in streams:
            stream.close()


def _quietly(talk: Talk, stream: socket.socket) -> None:
    with contextlib.suppress(OSError):
        talk(stream)


class TlsServer:
    """Talks TLS; keeps what became of each handshake."""

    def __init__(self, issued: Issued, **versions: ssl.TLSVersion) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(issued.cert, issued.key)
        for name, version in versions.items():
            setattr(self.context, name, version)
        self.outcomes: list[str] = []

    def __call__(self, stream: socket.socket) -> None:
        try:
            with self.context.wrap_socket(stream, server_side=True) as tls:
                self.outcomes.append(tls.version() or "")
                tls.recv(1)
        except OSError as exc:
            self.outcomes.append(str(exc))

    def wait_for(self, count: int) -> None:
        """Wait until so many handshakes ended, or for 5 seconds."""
        end = time.monotonic() + 5
        while len(self.outcomes) < count and time.monotonic() < end:
            time.sleep(0.01)


def see(target: Target, timeout: float = 30, **options: t.Any) -> handshake.Seen:
    return handshake.see(target, timeout=timeout, **options)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("wanted", [ssl.CERT_NONE, ssl.CERT_REQUIRED], ids=["open", "mutual"])
def test_see_returns_what_is_served(
    issued: Issued, version: ssl.TLSVersion, wanted: ssl.VerifyMode
) -> None:
    server = TlsServer(issued, minimum_version=version, maximum_version=version)
    server.context.verify_mode = wanted
    server.context.load_verify_locations(issued.ca)
    with listening(server) as target:
        assert see(target) == handshake.Seen(issued.der)


def test_see_shows_a_client_certificate_where_it_has_one(issued: Issued, tmp_path: Path) -> None:
    server = TlsServer(issued)
    server.context.verify_mode = ssl.CERT_REQUIRED
    server.context.load_verify_locations(issued.ca)
    with listening(server) as target:
        seen = see(target, client_certificate=(str(issued.cert), str(issued.key)))
        assert seen.der == issued.der
        server.wait_for(1)
        broken = tmp_path / "broken.crt"
        broken.write_text("no certificate")
        assert see(target, client_certificate=(str(broken), str(issued.key))).der == issued.der
        server.wait_for(2)
    assert server.outcomes[0] == "TLSv1.3"
    # Or the client, which has seen what it wanted, hung up first.
    refused = ("peer did not return a certificate", "connection reset by peer")
    assert any(words in server.outcomes[1].lower() for words in refused), server.outcomes


def test_see_asks_nobody_for_the_password_of_a_key(issued: Issued, tmp_path: Path) -> None:
    plain = serialization.load_pem_private_key(issued.key.read_bytes(), None)
    encrypted = tmp_path / "encrypted.key"
    for form in (
        serialization.PrivateFormat.PKCS8,
        serialization.PrivateFormat.TraditionalOpenSSL,
    ):
        secret = serialization.BestAvailableEncryption(b"s3cret")
        encrypted.write_bytes(plain.private_bytes(serialization.Encoding.PEM, form, secret))
        with listening(TlsServer(issued)) as target:
            client = (str(issued.cert), str(encrypted))
            assert see(target, client_certificate=client).der == issued.der


def test_see_returns_the_leaf_of_a_chain(issued: Issued, tmp_path: Path) -> None:
    chain = tmp_path / "chain.crt"
    chain.write_bytes(issued.cert.read_bytes() + issued.ca.read_bytes())
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        server = TlsServer(issued._replace(cert=chain), maximum_version=version)
        server.context.verify_mode = ssl.CERT_REQUIRED
        with listening(server) as target:
            assert see(target).der == issued.der


def test_see_takes_a_weak_certificate(tmp_path: Path) -> None:
    pair: Pair = authority("weak")
    key = rsa.generate_private_key(65537, 1024)
    builder = _like(pair).public_key(key.public_key())
    certificate = builder.sign(key, hashes.SHA256())
    (tmp_path / "weak.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "weak.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.load_cert_chain(tmp_path / "weak.crt", tmp_path / "weak.key")

    def talk(stream: socket.socket) -> None:
        with context.wrap_socket(stream, server_side=True) as tls:
            tls.recv(1)

    with listening(talk) as target:
        der = see(target).der
    assert der and hashlib.sha256(der).digest() == certificate.fingerprint(hashes.SHA256())


def _like(pair: Pair) -> t.Any:
    found = pair.certificate
    return (
        x509.CertificateBuilder()
        .subject_name(found.subject)
        .issuer_name(found.subject)
        .serial_number(7)
        .not_valid_before(found.not_valid_before_utc)
        .not_valid_after(found.not_valid_after_utc)
    )


def test_see_ipv6(issued: Issued) -> None:
    with listening(TlsServer(issued), host="::1") as target:
        assert see(target).der == issued.der
        assert str(target) == f"https://[::1]:{target.port}"


def test_see_localhost_tries_each_of_its_addresses(issued: Issued) -> None:
    with listening(TlsServer(issued)) as target:
        assert see(Target("localhost", target.port)).der == issued.der


def _http(stream: socket.socket) -> None:
    stream.recv(100)
    stream.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request.\n")


def _ssh(stream: socket.socket) -> None:
    stream.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    stream.recv(100)


def _hang_up(stream: socket.socket) -> None:
    stream.recv(1)
    stream.close()


def _half(stream: socket.socket) -> None:
    stream.recv(1000)
    stream.sendall(b"\x16\x03\x03\x00\x40\x02\x00")
    stream.close()


@pytest.mark.parametrize(
    ("talk", "words"),
    [
        (_http, "plain HTTP, no TLS"),
        (_ssh, "speaks no TLS"),
        (_hang_up, "hung up before it said anything"),
        (_half, "hung up during the TLS handshake"),
    ],
)
def test_see_tells_what_answers_instead(talk: Talk, words: str) -> None:
    with listening(talk) as target:
        seen = see(target)
    assert seen.der is None
    assert words in (seen.problem or "")


def test_see_closed_port_is_refused() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        seen = see(Target("127.0.0.1", held.getsockname()[1]))
    assert seen == handshake.Seen(None, "nothing listens there: connection refused")


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 70])
def test_see_unresolved_name(host: str) -> None:
    assert see(Target(host, 1)).problem == "its name cannot be resolved"


def test_see_all_waits_once_for_all_that_hang(issued: Issued) -> None:
    def never(stream: socket.socket) -> None:
        stream.recv(1000)
        time.sleep(20)

    def drip(stream: socket.socket) -> None:
        stream.recv(1000)
        for _turn in range(200):  # each byte in time: the deadline is for all of them
            stream.sendall(b"\x16")
            time.sleep(0.1)

    with (
        listening(never) as first,
        listening(never) as second,
        listening(drip) as third,
        listening(TlsServer(issued)) as good,
    ):
        began = time.monotonic()
        seen = handshake.see_all(
            [handshake.Request(each) for each in (first, second, third, good, good)], timeout=3
        )
        took = time.monotonic() - began
    assert took < 6
    assert seen[good].der == issued.der
    assert list(seen) == [first, second, third, good]
    for target in (first, second):
        assert seen[target].problem == "it accepted the connection and did not answer within 3 s"
    assert seen[third].der is None and seen[third].problem


def test_see_tells_a_server_without_a_certificate_it_can_use() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # no certificate: no shared cipher

    def talk(stream: socket.socket) -> None:
        with context.wrap_socket(stream, server_side=True):
            pass

    with listening(talk) as target:
        assert "the TLS handshake failed" in (see(target).problem or "")


@pytest.mark.parametrize("port", [0, -1, 65536, 65536 + 443, 10**23, 10**30])
def test_see_a_port_that_is_none(port: int) -> None:
    target = handshake.Target("127.0.0.1", port)
    seen = handshake.see_all([handshake.Request(target)], timeout=5)
    assert seen[target].problem == f"there is no port {port}"


@pytest.mark.parametrize("name", ["a\0b", "x" * 70 + ".example", "..", ""])
def test_see_a_name_that_is_none_is_a_problem(name: str) -> None:
    assert see(handshake.Target(name, 1)).der is None
