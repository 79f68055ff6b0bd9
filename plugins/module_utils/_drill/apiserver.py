# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A throw-away kube-apiserver: what it is called with, and the wait until it serves.

It writes as any API server does (its own defaults, its lease): what is compared is a revision before
that. Nothing in it calls out: no webhook, no aggregated API, no controller; where it runs, there is
no network to call into.
"""

from __future__ import annotations

import ipaddress
import re
import subprocess
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.controlplane.etcd.plugins.module_utils import _time
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ApiServerFailed,
    ToolUnusable,
)

from .api_client import ApiServerSlow
from .encryption import NO_ENCRYPTION, EncryptionConfig

if t.TYPE_CHECKING:
    from .api_client import Api, Files

__all__ = ["Process", "Program", "Settings", "argv", "died", "probe", "wait_until_ready"]

_PROBE_SECONDS = 60
_LOOK_SECONDS = 0.1
_ASK_SECONDS = 10.0
_WORDS = 600
# klog: errors and fatal ones.
_ERROR = re.compile(r"\s*[EF]\d{4} ")
# apiserver, pkg/server/healthz: the caches of its own informers.
_FILLING = ("informer-sync",)
_FILL_SECONDS = 3.0
_VERSION = re.compile(r"Kubernetes v(\d+\.\d+\.\d+\S*)")
_FLAG = re.compile(r"^\s+(?:-\w, )?--([a-z0-9][a-z0-9-]*)", re.MULTILINE)
# apiserver pkg/server/options/admission.go and kubernetes pkg/kubeapiserver/options/admission.go
_DEFAULT_PLUGINS = re.compile(r"although they are in the default enabled plugins list \(([^)]*)\)")
_CALLING_OUT = ("MutatingAdmissionWebhook", "ValidatingAdmissionWebhook")


class Process(t.Protocol):
    """A server that was started somewhere safe."""

    def poll(self) -> str | None:
        """Say how it ended; None while it runs."""

    def last_words(self) -> str:
        """Return the end of what it said."""


@dataclass(frozen=True)
class Program:
    """A kube-apiserver, as it tells of itself."""

    path: str
    version: str
    flags: frozenset[str]
    plugins: tuple[str, ...]
    """The admission plugins that run if nobody says otherwise."""

    @property
    def minor(self) -> str:
        """`1.36` of 1.36.3."""
        return ".".join(self.version.split(".")[:2])


@dataclass(frozen=True)
class Settings:
    """How one is started."""

    port: int
    etcd: str
    """Its endpoint, https://127.0.0.1:PORT."""
    files: Files
    etcd_prefix: str = "/registry"
    service_range: str = "10.96.0.0/12"
    config_path: str = ""
    """The encryption configuration; empty: none."""


def probe(path: str) -> Program:
    """Ask a program for its version and what flags it takes.

    :raises ToolUnusable: it is no kube-apiserver that this host can run.
    """
    found = _VERSION.search(_said(path, "--version"))
    if found is None:
        raise _unusable(path, "it does not say its version")
    text = _said(path, "--help")
    plugins = _DEFAULT_PLUGINS.search(text)
    names = [each.strip() for each in plugins.group(1).split(",")] if plugins else []
    return Program(
        path=path,
        version=found.group(1),
        flags=frozenset(_FLAG.findall(text)),
        plugins=tuple(each for each in names if each) or _CALLING_OUT,
    )


def argv(program: Program, settings: Settings) -> list[str]:
    """Return the command for a server that reads, on loopback; flags it doesn't know are left out."""
    files = settings.files
    # It must have a Service range's family, and is told to nobody (RFC 5737, RFC 3849).
    is_v6 = ipaddress.ip_network(settings.service_range, strict=False).version == 6
    wanted = {
        "etcd-servers": settings.etcd,
        "etcd-cafile": files.ca,
        "etcd-certfile": files.cert,
        "etcd-keyfile": files.key,
        "etcd-prefix": settings.etcd_prefix,
        # The revision that is compared must not be compacted away.
        "etcd-compaction-interval": "0",
        "etcd-count-metric-poll-period": "0",
        "etcd-db-metric-poll-interval": "0",
        "bind-address": "127.0.0.1",
        "secure-port": str(settings.port),
        # Until 1.19 it would serve everybody on 8080.
        "insecure-port": "0",
        "advertise-address": "2001:db8::1" if is_v6 else "192.0.2.1",
        "endpoint-reconciler-type": "none",
        "service-cluster-ip-range": settings.service_range,
        "tls-cert-file": files.cert,
        "tls-private-key-file": files.key,
        "client-ca-file": files.ca,
        "anonymous-auth": "false",
        "authorization-mode": "AlwaysAllow",
        "service-account-issuer": "https://drill.invalid",
        # client-go, util/keyutil: a certificate gives its public key.
        "service-account-key-file": files.cert,
        "service-account-signing-key-file": files.key,
        # None at all: nothing is written by a person, and each keeps whole resources in memory.
        "disable-admission-plugins": ",".join(program.plugins),
        # Every list is read from etcd and decoded, once; none is kept.
        "watch-cache": "false",
        "enable-priority-and-fairness": "false",
        "profiling": "false",
    }
    if settings.config_path:
        wanted["encryption-provider-config"] = settings.config_path
    command = [f"--{flag}={value}" for flag, value in wanted.items() if flag in program.flags]
    return [program.path, *command]


def wait_until_ready(
    api: Api,
    process: Process,
    *,
    deadline: float,
    config: EncryptionConfig = NO_ENCRYPTION,
) -> tuple[str, ...]:
    """Wait until the server is ready; return its own checks that still fail at the deadline.

    What it serves by then is looked at all the same. One Secret that cannot be read (by KMS, too)
    keeps its caches from filling for ever: that is not waited for, the lists say what it is.

    :param deadline: as `_time.monotonic` counts.
    :raises ApiServerFailed: it ended. ApiServerSlow: it answers nothing at all by the deadline.
    """
    failing: tuple[str, ...] = ()
    filling_since: float | None = None
    path = "/readyz"
    why = "it does not answer"
    while True:
        ended = process.poll()
        if ended is not None:
            raise died(process, f"{ended} at its start", config)
        try:
            answer = api.get(path, timeout=_ASK_SECONDS)
        except ApiServerFailed:
            failing = ()
        else:
            if answer.status == 200:
                return ()
            if answer.status == 404 and path == "/readyz":  # until Kubernetes 1.15
                path = "/healthz"
                continue
            failing = failing_checks(answer.data)
            why = f"it answers {answer.status} to {path}"
        now = _time.monotonic()
        filling_since = (filling_since or now) if failing == _FILLING else None
        if filling_since is not None and now - filling_since > _FILL_SECONDS:
            return ()
        if now >= deadline:
            if failing and api.get("/version").status == 200:
                return failing
            told = died(process, f"was not ready in time ({why})", config)
            raise ApiServerSlow(told.message)
        time.sleep(_LOOK_SECONDS)


def failing_checks(data: bytes) -> tuple[str, ...]:
    """Return the names that a /readyz marks with `[-]`."""
    text = data.decode("utf-8", "replace")
    return tuple(re.findall(r"^\[-\](\S+)", text, re.MULTILINE))


def died(process: Process, what: str, config: EncryptionConfig) -> ApiServerFailed:
    """Return the error that tells a server's end by its own last words."""
    lines = re.split(r"\n| / ", config.scrub(process.last_words()))
    errors = [line for line in lines if _ERROR.match(line)]
    words = " / ".join(line.strip() for line in errors or lines if line.strip())[-_WORDS:]
    return ApiServerFailed(
        f"The drill's kube-apiserver {what}. "
        + (f"It said: {words}" if words else "It said nothing."),
        hint="Is it the version of the cluster that was backed up?",
    )


def _said(path: str, flag: str) -> str:
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            [path, flag],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except OSError as exc:
        raise _unusable(path, exc.strerror or type(exc).__name__) from exc
    except subprocess.TimeoutExpired as exc:
        raise _unusable(path, f"it does not answer {flag} in {_PROBE_SECONDS} s") from exc
    return done.stdout.decode("utf-8", "replace")


def _unusable(path: str, why: str) -> ToolUnusable:
    return ToolUnusable(
        f"{path} cannot be used as kube-apiserver on this host: {why}.",
        hint="Give one that is built for this host's platform, with the option tools.",
        path=path,
    )
