# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A drill: deliver's files in, a verdict out, and nothing left behind."""

from __future__ import annotations

import contextlib
import secrets
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _time
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ApiServerFailed,
    CageRefused,
    DatabaseInvalid,
    EndpointError,
    EndpointTimeout,
    KitError,
    NoQuorum,
    RestoreFailed,
    SealDamaged,
    SnapshotInvalid,
    TrustError,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd import etcdutl
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.client import Client
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.keyspace import Keyspace
from ansible_collections.controlplane.etcd.plugins.module_utils._node.cage import cage as cages
from ansible_collections.controlplane.etcd.plugins.module_utils._node.cage.leavings import (
    Leavings,
    clear,
)

from . import image, throwaway, with_api
from .compare import compare
from .delivered import Plan, plan, removable
from .model import Course, Running, Wish

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.hashing import Batch

__all__ = ["drill", "planned"]

# What is the archive's own fault, and not this node's.
_WRONG_ARCHIVE = (
    ApiServerFailed,
    DatabaseInvalid,
    KitError,
    RestoreFailed,
    SealDamaged,
    SnapshotInvalid,
    TrustError,
)
# What one member that is alive says only where it has no time.
_SLOW = (EndpointTimeout, NoQuorum)
_CANARY = b"/controlplane.etcd/drill/"
# How fast a disk is at least: what the tool may take for a restore beside start_seconds.
_RESTORE_BYTES_A_SECOND = 10e6


def planned(wish: Wish) -> dict[str, t.Any]:
    """Return what a drill would do here, without starting anything.

    :raises EtcdToolError: it could not.
    """
    removable(wish)
    found = plan(wish)
    isolation = cages.isolation_here(wish.isolation)
    programs = (found.etcd, found.restorer, found.apiserver)
    return {
        "entry": found.manifest.id,
        "delivery": wish.delivery,
        "work_dir": wish.work_dir,
        "isolation": isolation.value,
        "need_bytes": found.need_bytes,
        "free_bytes": found.free_bytes,
        "tools": [
            {"name": each.name, "path": each.path, "sha256": each.sha256}
            for each in programs
            if each
        ],
    }


def drill(wish: Wish) -> dict[str, t.Any]:
    """Restore what was delivered, compare it with its manifest, remove everything.

    Returns the record as `drill`, and as `extracted` what was written of objects that were chosen.
    A wrong archive gives a record that says so.

    :raises EtcdToolError: this node lacks something, or could not be cleaned: nothing is proven.
    """
    course = Course()
    remove = removable(wish)
    ended = _time.monotonic()
    with contextlib.ExitStack() as stack:
        # Where it comes to no cage, which would see to it.
        stack.callback(clear, Leavings(paths=remove))
        made = plan(wish)
        cage = stack.enter_context(
            cages.opened(wish.work_dir, isolation=wish.isolation, limits=wish.limits, remove=remove)
        )
        course.isolation = cage.isolation.value
        try:
            _steps(cage, made, wish, course)
        except _WRONG_ARCHIVE as exc:
            course.fail(exc.message)
        finally:
            ended = _time.monotonic()
    course.phases.append(("remove", round(_time.monotonic() - ended, 3)))
    return {"drill": course.record(made.manifest), "extracted": course.extracted}


def _steps(cage: cages.Cage, made: Plan, wish: Wish, course: Course) -> None:
    manifest = made.manifest
    etcd_program = cage.bring(made.etcd.path, "etcd", sha256=made.etcd.sha256)
    etcd_version = throwaway.probe_etcd(etcd_program, wanted=manifest.etcd.server_version)
    restorer = cage.bring(made.restorer.path, made.restorer.name, sha256=made.restorer.sha256)
    tool = throwaway.probe_restorer(restorer, wanted=manifest.etcd.server_version)
    course.versions.update(etcd=etcd_version, etcdutl=tool.version)
    with_server = with_api.prepare(cage, made, wish) if made.apiserver else None
    visit = with_server.picks.visit_batch if with_server else None
    if with_server is None:
        course.skip(
            "decoding",
            "objects were counted and hashed; no API server read them, no Secret was decrypted",
        )
    data_dir, held = _restored(cage, made, wish, course, tool, etcd_version, visit)
    with course.phase("start"):
        server, connection = throwaway.start(cage, etcd_program, data_dir)
        throwaway.wait(server, connection, seconds=wish.start_seconds)
    running = Running(
        cage=cage,
        etcd=server,
        etcd_version=etcd_version,
        connection=connection,
        manifest=manifest,
        held=held,
        revision=held.summary.current_revision,
        wish=wish,
    )
    try:
        with course.phase("compare"):
            compare(running, course)
        with course.phase("canary"):
            _canary(running, course)
    except EndpointError as exc:
        throwaway.check_alive(server, wait=True)
        why = f"etcd runs on the restored data, but fails: {exc.message}"
        # What it has answered wrongly before stays wrong.
        if isinstance(exc, _SLOW) and not course.reason:
            raise throwaway.too_slow(why) from exc
        course.fail(why)
        return
    if with_server is not None:
        try:
            course.extracted = with_api.look(running, course, with_server)
        except (ApiServerFailed, CageRefused) as exc:
            throwaway.check_alive(server, wait=True)
            if isinstance(exc, ApiServerFailed) or not course.reason:
                raise


def _restored(
    cage: cages.Cage,
    made: Plan,
    wish: Wish,
    course: Course,
    tool: etcdutl.Tool,
    etcd_version: str,
    visit: t.Callable[[Batch], None] | None,
) -> tuple[str, image.Held]:
    """Open, verify and restore; the clear image is gone when this returns."""
    manifest = made.manifest
    start = _time.monotonic()
    with image.open_image(made.data_path, wish, manifest) as opened:
        course.phases.append(("open", round(_time.monotonic() - start, 3)))
        with course.phase("verify"):
            held = image.verify(opened, manifest, course, etcd_version=etcd_version, visit=visit)
        course.db_size_bytes = held.db_size_bytes
        with course.phase("restore"):
            seconds = wish.start_seconds + held.db_size_bytes / _RESTORE_BYTES_A_SECOND
            data_dir = throwaway.restore(cage, tool, opened, seconds=seconds)
    return data_dir, held


def _canary(running: Running, course: Course) -> None:
    """Write, read and delete a key of our own; alarms that forbid it are taken back, and told."""
    key = _CANARY + secrets.token_hex(8).encode()
    value = secrets.token_bytes(64)
    with Client(running.connection, running.connection.endpoints[0]) as client:
        keys = Keyspace(client)
        alarms = sorted({(each.member_id, each.alarm) for each in running.held.summary.alarms})
        for member_id, alarm in alarms:
            keys.disarm(member_id, alarm)
        keys.put(key, value)
        read = keys.get(key)
        deleted, left = keys.delete(key), keys.get(key)
    told = {alarm for _member, alarm in alarms}
    detail = f"alarm {', '.join(sorted(told))} of the snapshot was disarmed first" if told else ""
    done = (read == value, deleted == 1, left is None)
    words = ("written and read", "deleted", "gone")
    found = ", ".join(word for word, right in zip(words, done) if right) or "nothing"
    course.compare("canary", expected=", ".join(words), found=found, detail=detail)
