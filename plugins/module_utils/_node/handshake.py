# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""See which certificate an endpoint serves: a TLS handshake that verifies nothing and sends nothing."""

from __future__ import annotations

import dataclasses
import errno
import queue
import socket
import ssl
import threading
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _time
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import EtcdToolError

__all__ = ["Request", "Seen", "Target", "see", "see_all"]

_HANDSHAKE_RECORD = 22  # RFC 5246, 6.2.1
_CERTIFICATE_MESSAGE = 11  # RFC 5246, 7.4
_MAX_BYTES = 1 << 20
_LAST_PORT = 65535
_PIECE = 16384
_WRONG = "-"
# Beyond an endpoint's own time: for a name that nobody resolves.
_GRACE_SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class Target:
    """Where to look: a name or an address (IPv6 without brackets), and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}"


@dataclasses.dataclass(frozen=True)
class Request:
    """A target, and the paths of a certificate and its key to show where one is wanted."""

    target: Target
    client_certificate: tuple[str, str] | None = None


@dataclasses.dataclass(frozen=True)
class Seen:
    """What was served: the leaf's DER, or why none was seen."""

    der: bytes | None
    problem: str | None = None


class _Unseen(EtcdToolError):
    """No certificate was seen; says why."""


def see_all(requests: t.Iterable[Request], *, timeout: float) -> dict[Target, Seen]:
    """Look at every target at the same time: the slowest one takes `timeout` seconds.

    A thread that the system's name resolution holds is left behind; it ends with the process.
    """
    wanted = {request.target: request for request in requests}
    answers: queue.SimpleQueue[tuple[Target, Seen]] = queue.SimpleQueue()

    def work(request: Request) -> None:
        client = request.client_certificate
        answers.put(
            (request.target, see(request.target, timeout=timeout, client_certificate=client))
        )

    deadline = _time.monotonic() + timeout + _GRACE_SECONDS
    for request in wanted.values():
        threading.Thread(target=work, args=(request,), daemon=True).start()
    found: dict[Target, Seen] = {}
    while len(found) < len(wanted):
        try:
            target, seen = answers.get(timeout=max(0.0, deadline - _time.monotonic()))
        except queue.Empty:
            break
        found[target] = seen
    late = Seen(None, f"its name was not resolved within {timeout:g} s")
    return {target: found.get(target, late) for target in wanted}


def see(
    target: Target, *, timeout: float, client_certificate: tuple[str, str] | None = None
) -> Seen:
    """Return the certificate that an endpoint shows, whoever issued it, or why there is none.

    An endpoint that wants a client certificate shows its own first: in TLS 1.3 the handshake is
    over by then, in TLS 1.2 the certificate came in clear. No name is asked for (SNI), so that a
    server shows the certificate that it serves by default.

    :param timeout: seconds for all of it.
    :param client_certificate: as in Request.
    """
    deadline = _time.monotonic() + timeout
    try:
        with _connected(target, deadline) as stream:
            return Seen(_shown_by(stream, deadline, client_certificate))
    except _Unseen as exc:
        return Seen(None, str(exc))
    except TimeoutError:  # socket.timeout is the same class from Python 3.10 on only
        return Seen(None, f"it accepted the connection and did not answer within {timeout:g} s")


def _connected(target: Target, deadline: float) -> socket.socket:
    if not 0 < target.port <= _LAST_PORT:  # the system's library takes what is left of it by 65536
        raise _Unseen(f"there is no port {target.port}")
    try:
        addresses = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as exc:  # a NUL, a label that is too long
        raise _Unseen("its name cannot be resolved") from exc
    problem = "it has no address"
    for family, kind, protocol, _name, address in addresses:
        stream = socket.socket(family, kind, protocol)
        try:
            stream.settimeout(_left(deadline))
            stream.connect(address)
            return stream
        except (TimeoutError, socket.timeout):
            stream.close()
            problem = "the connection was not accepted in time"
        except OSError as exc:
            stream.close()
            problem = _words(exc)
        except BaseException:
            stream.close()
            raise
    raise _Unseen(problem)


def _shown_by(
    stream: socket.socket, deadline: float, client_certificate: tuple[str, str] | None
) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = _context(client_certificate).wrap_bio(incoming, outgoing)
    received = bytearray()
    while True:
        try:
            tls.do_handshake()
            # The server's side of TLS 1.3 ends with this: without it, it would log a broken one.
            _send(stream, outgoing, deadline)
            der = tls.getpeercert(binary_form=True)
            if der is None:
                raise _Unseen("it speaks TLS without a certificate")
            return der
        except ssl.SSLWantReadError:
            _send(stream, outgoing, deadline)
        except ssl.SSLError as exc:
            der = _clear_certificate(bytes(received))
            if der is not None:
                return der
            raise _Unseen(_tls_words(exc, bytes(received))) from exc
        piece = _receive(stream, deadline)
        received += piece
        if not piece or len(received) > _MAX_BYTES:
            der = _clear_certificate(bytes(received))
            if der is not None:
                return der
            raise _Unseen(_end_words(bytes(received)))
        incoming.write(piece)


def _context(client_certificate: tuple[str, str] | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # A weak certificate is to be seen, not refused.
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    if client_certificate:
        try:
            # Without one, OpenSSL asks the terminal for the password of an encrypted key.
            context.load_cert_chain(*client_certificate, password=_WRONG)
        except (OSError, ssl.SSLError):
            return _context(None)  # its own findings tell that it can't be used
    return context


def _left(deadline: float) -> float:
    left = deadline - _time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _send(stream: socket.socket, outgoing: ssl.MemoryBIO, deadline: float) -> None:
    data = outgoing.read()
    if not data:
        return
    try:
        stream.settimeout(_left(deadline))
        stream.sendall(data)
    except socket.timeout as exc:
        raise TimeoutError from exc
    except OSError:
        return  # what it has said so far tells why it hung up


def _receive(stream: socket.socket, deadline: float) -> bytes:
    try:
        stream.settimeout(_left(deadline))
        return stream.recv(_PIECE)
    except socket.timeout as exc:
        raise TimeoutError from exc
    except ConnectionError:
        return b""
    except OSError as exc:
        raise _Unseen(_words(exc)) from exc


def _clear_certificate(data: bytes) -> bytes | None:
    """Find the server's leaf in what it sent in clear, as TLS up to 1.2 does."""
    messages = bytearray()
    while len(data) >= 5:
        kind, length = data[0], int.from_bytes(data[3:5], "big")
        if kind != _HANDSHAKE_RECORD or data[1] != 3:
            break
        messages += data[5 : 5 + length]
        data = data[5 + length :]
    while len(messages) >= 4:
        length = int.from_bytes(messages[1:4], "big")
        body = bytes(messages[4 : 4 + length])
        if messages[0] == _CERTIFICATE_MESSAGE and len(body) == length > 6:
            size = int.from_bytes(body[3:6], "big")
            return body[6 : 6 + size] if len(body) >= 6 + size else None
        del messages[: 4 + length]
    return None


def _words(exc: OSError) -> str:
    if exc.errno == errno.ECONNREFUSED:
        return "nothing listens there: connection refused"
    return f"it cannot be reached: {exc.strerror or 'unknown error'}"


def _tls_words(exc: ssl.SSLError, received: bytes) -> str:
    if received.startswith(b"HTTP/"):
        return "it speaks plain HTTP, no TLS"
    if received and received[0] not in (20, 21, 22, 23):
        return "it speaks no TLS"
    reason = (exc.reason or "unknown error").replace("_", " ").lower()
    return f"the TLS handshake failed: {reason}"


def _end_words(received: bytes) -> str:
    if not received:
        return "it hung up before it said anything: it speaks no TLS, or serves no certificate"
    if received.startswith(b"HTTP/"):
        return "it speaks plain HTTP, no TLS"
    return "it hung up during the TLS handshake"
