# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The part of a drill with an API server: start it in the cage, compare, extract."""

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import dataclass, field

from ansible_collections.controlplane.etcd.plugins.module_utils import _files, _time
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ApiServerFailed,
    CageRefused,
    ToolUnusable,
)

from . import apiserver, extract, served
from .api_client import Api, Files
from .discovery import definitions, discover
from .encryption import NO_ENCRYPTION, EncryptionConfig

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._node.cage.cage import (
        Cage,
        Server,
    )

__all__ = ["Asked", "Looked", "look"]

_PORT = 6443
_NAME = "kube-apiserver"


@dataclass(frozen=True)
class Asked:
    """What an API server is started on, and what is asked of it."""

    program: str
    """Its path on this host; it is brought into the cage."""
    sha256: str | None
    etcd: str
    """etcd's endpoint inside the cage."""
    files: Files
    """The throw-away authority and certificate that etcd runs with: the API server's, too."""
    held: served.Held
    etcd_prefix: str = "/registry"
    service_range: str = "10.96.0.0/12"
    config: EncryptionConfig = NO_ENCRYPTION
    kubernetes_version: str | None = None
    """The cluster's, as the manifest has it."""
    start_seconds: float = 120.0
    wish: extract.Wish | None = None


@dataclass
class Looked:
    """What came of it; filled as it goes, so that a drill that fails half-way has the rest."""

    version: str | None = None
    comparisons: list[served.Comparison] = field(default_factory=list)
    not_checked: list[served.NotChecked] = field(default_factory=list)
    extracted: extract.Extracted | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    """Of the phases api_start, api_compare and extract."""

    @contextlib.contextmanager
    def phase(self, name: str) -> t.Iterator[None]:
        """Measure a phase, however it ends."""
        start = _time.monotonic()
        try:
            yield
        finally:
            spent = _time.monotonic() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + spent


def look(cage: Cage, asked: Asked, looked: Looked) -> None:
    """Start an API server on the drill's etcd, compare what it can read, extract what is wished.

    :raises ApiServerFailed: the server died, hangs, or can't read what is to be extracted: the
        archive's fault, for all that can be known.
    :raises ToolUnusable: this host can't run the program, or it is another minor than the cluster's.
    :raises CageRefused: it took more than the cage's limits.
    """
    with looked.phase("api_start"):
        program = apiserver.probe(cage.bring(asked.program, _NAME, sha256=asked.sha256))
        looked.version = program.version
        _check_minor(program, asked)
        config_path = _place(cage, asked.config)
        settings = apiserver.Settings(
            port=_PORT,
            etcd=asked.etcd,
            files=asked.files,
            etcd_prefix=asked.etcd_prefix,
            service_range=asked.service_range,
            config_path=config_path,
        )
        server = cage.start(_NAME, apiserver.argv(program, settings))
    try:
        with contextlib.closing(Api(_PORT, asked.files)) as api, _explained(server, asked.config):
            _ask(api, server, asked, looked, config_path)
    finally:
        server.stop()
        _forget(config_path)


def _ask(api: Api, server: Server, asked: Asked, looked: Looked, config_path: str) -> None:
    with looked.phase("api_start"):
        failing = apiserver.wait_until_ready(
            api, server, deadline=_time.monotonic() + asked.start_seconds, config=asked.config
        )
        # It was read once, at the start.
        _forget(config_path)
    with looked.phase("api_compare"):
        found = served.compare(api, asked.held, asked.config)
    looked.comparisons += found.comparisons
    if failing:
        named = ", ".join(failing[:5])
        looked.comparisons.append(
            served.Comparison(
                name="api_ready",
                result="failed",
                expected=0,
                found=len(failing),
                detail=f"the API server is not ready for {asked.start_seconds:g} s: {named}",
            )
        )
    looked.not_checked += found.not_checked
    for plugin in asked.config.kms:
        looked.not_checked.append(
            served.NotChecked(plugin, "a KMS plugin: taken out of the encryption configuration")
        )
    if asked.wish is not None:
        with looked.phase("extract"):
            looked.extracted = extract.extract(
                api,
                discover(api, definitions(api)),
                asked.wish,
                revision=asked.held.revision,
                encrypted=asked.held.encrypted,
            )


@contextlib.contextmanager
def _explained(server: Server, config: EncryptionConfig) -> t.Iterator[None]:
    """Tell the end of a server that just stopped answering by its own words."""
    try:
        yield
    except ApiServerFailed as exc:
        if server.starved:
            raise CageRefused(
                "The drill's kube-apiserver reached the limits of its cage.",
                hint="Raise memory_max: it takes 400 MB, and more where objects are large.",
            ) from exc
        ended = server.poll()
        if ended is None:
            raise
        raise apiserver.died(server, ended, config) from exc


def _place(cage: Cage, config: EncryptionConfig) -> str:
    if not config.text:
        return ""
    path = os.path.join(cage.folder, "encryption.yaml")
    _files.atomic_write(path, config.text)
    cage.give(path)
    return path


def _forget(path: str) -> None:
    if path:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _check_minor(program: apiserver.Program, asked: Asked) -> None:
    wanted = ".".join((asked.kubernetes_version or "").lstrip("v").split(".")[:2])
    if wanted and wanted != program.minor:
        raise ToolUnusable(
            f"{asked.program} is kube-apiserver {program.version}; the cluster's was {wanted}.",
            hint="Name one of that minor with tools, or let the backup take its own along.",
            path=asked.program,
        )
