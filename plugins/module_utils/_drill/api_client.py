# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A client of a kube-apiserver on loopback: GET with a client certificate, and nothing else."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import typing as t
import urllib.parse
from dataclasses import dataclass

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import ApiServerFailed

__all__ = ["JSON", "METADATA", "METADATA_LIST", "Answer", "Api", "ApiServerSlow", "Files"]

JSON = "application/json"
# apimachinery, pkg/apis/meta/v1: the server reads and decodes the whole object and hands out its
# metadata alone, so that no value of a Secret leaves it. Since Kubernetes 1.15.
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class ApiServerSlow(ApiServerFailed):
    """It did not answer in time, which tells nothing of the archive while it is alive."""


@dataclass(frozen=True)
class Files:
    """A throw-away authority, and one certificate of it for both sides."""

    ca: str
    cert: str
    key: str


@dataclass(frozen=True)
class Answer:
    """What the API server answered."""

    status: int
    data: bytes

    @property
    def document(self) -> dict[str, t.Any]:
        """The JSON object inside; empty if it is none."""
        try:
            found = json.loads(self.data)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def message(self) -> str:
        """What a Status (or a plain text) says, on one line."""
        said = self.document.get("message")
        text = said if isinstance(said, str) else self.data[:500].decode("utf-8", "replace")
        return " ".join(text.split())


class Api:
    """Speaks to one API server; keeps a connection, closes it at the end of its context."""

    def __init__(self, port: int, files: Files, *, timeout: float = 70.0) -> None:
        self._port = port
        self._timeout = timeout
        self._context = ssl.create_default_context(cafile=files.ca)
        self._context.load_cert_chain(files.cert, files.key)
        self._connection: http.client.HTTPSConnection | None = None

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_rest: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next request opens another one."""
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
            self._connection = None

    def get(
        self,
        path: str,
        query: t.Mapping[str, str | int] | None = None,
        *,
        accept: str = JSON,
        timeout: float | None = None,
    ) -> Answer:
        """Return what the server answers, whatever its status.

        :raises ApiServerFailed: no answer comes. ApiServerSlow: none in time.
        """
        target = f"{path}?{urllib.parse.urlencode(query)}" if query else path
        for attempt in (1, 2):
            try:
                return self._ask(target, accept, timeout or self._timeout)
            # A server may close a kept connection just as it is used again.
            except (http.client.HTTPException, ConnectionError) as exc:
                self.close()
                if attempt == 2:
                    raise _silent(path, exc) from exc
            except OSError as exc:
                self.close()
                raise _silent(path, exc) from exc
        raise AssertionError("two attempts neither returned nor raised")

    def document(self, path: str) -> dict[str, t.Any]:
        """Return a document that the server must have.

        :raises ApiServerFailed: it answers with anything else.
        """
        answer = self.get(path)
        if answer.status != 200:
            raise ApiServerFailed(
                f"The drill's kube-apiserver answered {answer.status} to GET {path}, not 200."
            )
        return answer.document

    def _ask(self, target: str, accept: str, timeout: float) -> Answer:
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(
                "127.0.0.1", self._port, context=self._context, timeout=timeout
            )
        if self._connection.sock is not None:
            self._connection.sock.settimeout(timeout)
        self._connection.request("GET", target, headers={"Accept": accept})
        response = self._connection.getresponse()
        return Answer(response.status, response.read())


def _silent(path: str, exc: Exception) -> ApiServerFailed:
    why = getattr(exc, "strerror", None) or type(exc).__name__
    kind = ApiServerSlow if isinstance(exc, socket.timeout) else ApiServerFailed
    return kind(
        f"The drill's kube-apiserver did not answer GET {path}: {why}.",
        hint="It may have died, or run out of memory: see its last words, or raise memory_max.",
    )
