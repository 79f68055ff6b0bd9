# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The part of a drill with an API server: start it in the cage, compare, extract."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _files, _time
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.sealing import (
    load_identities,
    unseal,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ApiServerFailed,
    CageRefused,
    KeyMissing,
    SealDamaged,
    SealError,
    ToolUnusable,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._node.cage.servers import end_of

from . import apiserver, extract, served
from .api_client import Api, ApiServerSlow, Files
from .discovery import definitions, discover
from .encryption import NO_ENCRYPTION, EncryptionConfig, read
from .picks import Picks
from .throwaway import too_slow

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._node.cage.cage import (
        Cage,
        Server,
    )

    from .delivered import Plan
    from .model import Course, Running, Wish

__all__ = ["ApiDrill", "look", "prepare", "read_config"]

_PORT = 6443
_NAME = "kube-apiserver"
_KILLED = ("signal 9", "signal 15")
# Errors of the system (errno(3), as Go writes them) that are no archive's fault.
_OF_HOST = (
    "permission denied",
    "operation not permitted",
    "no space left on device",
    "address already in use",
    "cannot allocate memory",
    "resource temporarily unavailable",
    "too many open files",
    "exec format error",
)
_PART = ("encryption.tar.zst.age", "encryption.tar.zst")


@dataclasses.dataclass(frozen=True)
class ApiDrill:
    """What an API server is started from, and what is asked of it.

    :param picks: what was seen of the image while it was verified.
    :param selection: what is to be extracted.
    """

    program: apiserver.Program
    picks: Picks
    config: EncryptionConfig = NO_ENCRYPTION
    selection: extract.Selection | None = None


def read_config(delivery: str, identity: str) -> EncryptionConfig:
    """Return the encryption configuration that was delivered; none where the archive has none.

    :raises KitError: it can't be used. SealDamaged: nor opened, for damage. KeyMissing: nor opened,
        for want of the delivery's key.
    """
    path = next((at for each in _PART if os.path.isfile(at := os.path.join(delivery, each))), None)
    if path is None:
        return NO_ENCRYPTION
    clear = io.BytesIO()
    try:
        keys = load_identities([identity]) if path.endswith(".age") else ()
        with _files.open_regular(path) as source:
            unseal(source, clear, keys)
    except SealDamaged as exc:
        name = os.path.basename(path)
        raise SealDamaged(
            f"The archive's part {name} is damaged: {exc.message}", hint=exc.hint, path=path
        ) from exc
    except SealError as exc:
        # Of the delivery, not of the archive: what it is sealed to was made for this drill.
        raise KeyMissing(
            f"Key {identity} of delivery {delivery} cannot open it on this node: {exc.message}",
            hint="Deliver the entry again.",
            path=identity,
        ) from exc
    clear.seek(0)
    return read(clear)


def prepare(cage: Cage, made: Plan, wish: Wish) -> ApiDrill:
    """Return what an API server will be started from, before anything is restored.

    :raises ToolUnusable: this host can't run the program, or it is another minor than the cluster's.
    :raises KitError: the encryption configuration can't be used. SealDamaged: nor opened, for damage.
    """
    if made.apiserver is None:
        raise AssertionError("no kube-apiserver was planned for")
    brought = cage.bring(made.apiserver.path, _NAME, sha256=made.apiserver.sha256)
    program = apiserver.probe(brought)
    _check_minor(program, made.apiserver.path, made.manifest.kubernetes.version)
    return ApiDrill(
        program=program,
        picks=Picks(made.manifest.kubernetes.etcd_prefix or "/registry"),
        config=read_config(wish.delivery, wish.identity),
        selection=wish.selection,
    )


def look(running: Running, course: Course, wanted: ApiDrill) -> dict[str, t.Any] | None:
    """Start an API server on the drill's etcd, compare what it can read, extract what is chosen.

    :raises ApiServerFailed: the server died, or can't read what is to be extracted: the archive's
        fault, for all that can be known.
    :raises CageRefused: it took more than the cage's limits, or more time than it had.
    """
    with course.phase("api_start"):
        program = wanted.program
        course.versions["kube_apiserver"] = program.version
        connection = running.connection
        files = Files(connection.cacert or "", connection.cert or "", connection.key or "")
        with _placed(running, wanted.config) as config_path:
            settings = apiserver.Settings(
                port=_PORT,
                etcd=connection.endpoints[0],
                files=files,
                etcd_prefix=running.held.etcd_prefix,
                service_range=wanted.picks.service_range,
                config_path=config_path,
            )
            server = running.cage.start(_NAME, apiserver.argv(program, settings))
            with _explained(server, wanted.config), contextlib.closing(Api(_PORT, files)) as api:
                failing = apiserver.wait_until_ready(
                    api,
                    server,
                    deadline=_time.monotonic() + running.wish.start_seconds,
                    config=wanted.config,
                )
    with _explained(server, wanted.config), contextlib.closing(Api(_PORT, files)) as api:
        with course.phase("api_compare"):
            _compare(api, running, course, wanted, failing)
        if wanted.selection is None:
            return None
        with course.phase("extract"):
            extracted = extract.extract(
                api,
                discover(api, definitions(api)),
                wanted.selection,
                revision=running.revision,
                encrypted=running.held.catalogue.encrypted_by_resource,
            )
        return dataclasses.asdict(extracted)


def _compare(
    api: Api, running: Running, course: Course, wanted: ApiDrill, failing: t.Sequence[str]
) -> None:
    catalogue = running.held.catalogue
    held = served.Held(
        revision=running.revision,
        counts=catalogue.counts,
        encrypted=catalogue.encrypted_by_resource,
        by_key=wanted.picks.by_key,
    )
    found = served.compare(api, held, wanted.config)
    for each in found.comparisons:
        course.compare(each.name, expected=each.expected, found=each.found, detail=each.detail)
        if each.result == "failed" and each.expected == each.found:
            course.differ(each.name, each.detail)
    if failing and not course.reason:
        # All that it reads is right: the host may be slow, the archive may be at fault.
        raise too_slow(
            f"The drill's kube-apiserver serves, but after {running.wish.start_seconds:g} s it "
            f"lacks {', '.join(failing[:5])}."
        )
    if failing:
        course.compare(
            "api_ready",
            expected="ready",
            found="not ready",
            detail=f"after {running.wish.start_seconds:g} s, it lacks {', '.join(failing[:5])}",
        )
    for skipped in found.not_checked:
        course.skip(skipped.name, skipped.why)
    for plugin in wanted.config.kms:
        course.skip(plugin, "a KMS plugin: it was taken out of the encryption configuration")


@contextlib.contextmanager
def _explained(server: Server, config: EncryptionConfig) -> t.Iterator[None]:
    """Tell the end of a server that just stopped answering by its own words."""
    try:
        yield
    except ApiServerFailed as exc:
        ended = end_of(server)
        if ended is None and isinstance(exc, ApiServerSlow):
            raise too_slow(exc.message) from exc
        if ended is None:
            raise
        if server.starved:
            raise CageRefused(
                "The drill's kube-apiserver reached the limits of its cage.",
                hint="Raise memory_max: it takes 400 MB, and more where objects are large.",
            ) from exc
        if any(text in ended for text in _KILLED):
            raise CageRefused(
                f"The drill's kube-apiserver {ended}: something on this host killed it.",
                hint="Look for the out-of-memory killer in the kernel's log; then run it again.",
            ) from exc
        words = server.last_words().lower()
        why = next((each for each in _OF_HOST if each in words), None)
        if why is not None:
            raise CageRefused(
                f"The drill's kube-apiserver {ended}, for what this host lacks: {why}.",
                hint="Look at the work folder's rights and room, and at the limits of processes.",
            ) from exc
        raise apiserver.died(server, ended, config) from exc


@contextlib.contextmanager
def _placed(running: Running, config: EncryptionConfig) -> t.Iterator[str]:
    """Give the path of the encryption configuration, which is read once, at the start."""
    if not config.text:
        yield ""
        return
    path = os.path.join(running.cage.folder, "encryption.yaml")
    try:
        _files.atomic_write(path, config.text)
        running.cage.give(path)
        yield path
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _check_minor(program: apiserver.Program, path: str, version: str | None) -> None:
    wanted = ".".join((version or "").lstrip("v").split(".")[:2])
    if wanted and wanted != program.minor:
        raise ToolUnusable(
            f"{path} is kube-apiserver {program.version}; the cluster's was {version}.",
            hint="Name one of that minor with tools, or let the backup take its own along.",
            path=path,
        )
