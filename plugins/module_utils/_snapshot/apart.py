# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A reading in a process of its own: what ends that one by a signal is told, and ends nothing else.

A mapped file that gets shorter, or whose disk has a bad sector, ends who reads it by SIGBUS
(mmap(2)), and no handler in Python can come back from that.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import signal
import traceback
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    EtcdToolError,
    SnapshotInvalid,
)

__all__ = ["apart"]

T = t.TypeVar("T")

_HINTS = {
    signal.SIGBUS: "The file got shorter meanwhile, or its disk has a bad sector, of which the "
    "kernel's log tells. Copy it first, then read the copy.",
    signal.SIGKILL: "Memory ran out, if nobody did that: see the kernel's log.",
}


def apart(work: t.Callable[[], T], *, reads: t.Sequence[str]) -> T:
    """Return what `work` returns in a forked process, or raise what it raises of ours.

    Call it before there are threads. `reads` are the snapshots that `work` reads.

    :raises SnapshotInvalid: that process was ended by a signal.
    """
    reader, writer = os.pipe()
    alive, held = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        os.close(held)
        _answer(work, writer, alive)
    try:
        os.close(writer)
        os.close(alive)
        with os.fdopen(reader, "rb") as source:
            data = source.read()
    except BaseException:
        os.kill(pid, signal.SIGTERM)
        raise
    finally:
        status = os.waitpid(pid, 0)[1]
        os.close(held)
    if os.WIFSIGNALED(status):
        number = signal.Signals(os.WTERMSIG(status))
        raise SnapshotInvalid(
            f"Snapshot {' or '.join(reads)} was not read to its end: the reading was ended by "
            f"{number.name}.",
            hint=_HINTS.get(number, "Read it again."),
            path=reads[0],
        )
    if status:
        # Its traceback stands on stderr: this ends as if it had been raised here.
        raise SystemExit(os.WEXITSTATUS(status))
    answer = pickle.loads(data)
    if isinstance(answer, EtcdToolError):
        raise answer
    return t.cast(T, answer)


def _answer(work: t.Callable[[], object], writer: int, alive: int) -> t.NoReturn:
    status = 1
    try:
        # The end of who waits, even by SIGKILL, closes the other end: SIGIO ends this one, too.
        fcntl.fcntl(alive, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(alive, fcntl.F_SETFL, fcntl.fcntl(alive, fcntl.F_GETFL) | os.O_ASYNC)
        try:
            answer = work()
        except EtcdToolError as exc:
            answer = exc
        with os.fdopen(writer, "wb") as target:
            pickle.dump(answer, target)
        status = 0
    except SystemExit as exc:  # who waits was told to end, and told this process
        status = exc.code if isinstance(exc.code, int) and exc.code else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
