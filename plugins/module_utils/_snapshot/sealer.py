# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Sealing in a process of its own, beside the stream and the checks of the same file.

A thread would take the interpreter's lock from the stream, and so slow it; a process at the lowest
priority has what nobody else wants. It is given two descriptors, public keys, and how far the file
is written; it names no file and removes none, so whatever happens to it is its starter's to mend.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import signal
import subprocess
import sys
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._archive.sealing import Sealed, seal
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import SealError
from ansible_collections.controlplane.etcd.plugins.module_utils._node.priority import stand_back

__all__ = ["Sealer", "main"]

_PR_SET_PDEATHSIG = 1
# The fresh interpreter imports from where this file lies: a folder, or the zip file of a module.
_ROOT = __file__.rpartition(f"{os.sep}ansible_collections{os.sep}")[0]
_START = (
    "import json, sys; order = json.loads(sys.stdin.buffer.readline()); sys.path[:] = order['path'];"
    f" from {__name__} import main; raise SystemExit(main(order))"
)


class Sealer:
    """Seal the file `source` into `target`, both descriptors, while `source` is still written.

    Leaving its `with` block ends the process, whatever it was doing.
    """

    def __init__(self, source: int, target: int, recipients: t.Sequence[str]) -> None:
        self._order: dict[str, t.Any] = {
            "source": source,
            "target": target,
            "recipients": list(recipients),
            "starter": os.getpid(),
            "path": [_ROOT, *(each for each in sys.path if each != _ROOT)],
        }

    def __enter__(self) -> Sealer:
        self._process = subprocess.Popen(  # pylint: disable=ansible-bad-function
            [sys.executable, "-I", "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            pass_fds=(self._order["source"], self._order["target"]),
        )
        self._tell(self._order)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._process.kill()
        self._process.__exit__(None, None, None)

    def reached(self, size_bytes: int) -> None:
        """Let it read the first `size_bytes` of the source, which are written; never waits.

        :raises SealError, OSError: it failed already.
        """
        if self._process.poll() is not None:
            self.answer()
        self._tell({"reached": size_bytes})

    def whole(self, size_bytes: int) -> None:
        """Let it read the source to its end; never waits."""
        self._tell({"reached": size_bytes, "whole": True})

    def answer(self) -> Sealed:
        """Wait until the whole source is sealed.

        :raises SealError: a recipient can't be used, or the process was killed.
        :raises OSError: the file system of the target is full, or either failed.
        """
        answer = t.cast("t.IO[bytes]", self._process.stdout).read()
        status = self._process.wait()
        if not answer:
            how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            raise SealError(
                f"Sealing broke off: its process {how}. Nothing was kept.",
                hint="Run again; dmesg on the host tells if it was for want of memory.",
            )
        said = json.loads(answer)
        if "errno" in said:
            raise OSError(said["errno"], os.strerror(said["errno"]))
        if "message" in said:
            raise SealError(said["message"], hint=said["hint"])
        return Sealed(**said)

    def _tell(self, message: t.Mapping[str, t.Any]) -> None:
        # A pipe holds thousands of these lines, each worth 32 MiB.
        try:
            line = json.dumps(message).encode() + b"\n"
            t.cast("t.IO[bytes]", self._process.stdin).write(line)
        except BrokenPipeError:
            self.answer()


def main(order: t.Mapping[str, t.Any]) -> int:
    """Do what the process is for: seal, and answer in one line of JSON."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's is for the starter
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != order["starter"]:
        return 1  # it died before
    stand_back()
    answer: dict[str, t.Any]
    try:
        with open(order["target"], "wb") as target:
            source = _Growing(order["source"], sys.stdin.buffer)
            answer = dataclasses.asdict(seal(source, target, order["recipients"]))
    except SealError as exc:
        answer = {"message": exc.message, "hint": exc.hint}
    except OSError as exc:
        answer = {"errno": exc.errno}
    sys.stdout.write(f"{json.dumps(answer)}\n")
    return 0


class _Growing:
    """A file that is read as far as it is said to be written, to its end and not further."""

    def __init__(self, descriptor: int, told: t.IO[bytes]) -> None:
        self._descriptor = descriptor
        self._told = told
        self._position = self._reached = 0
        self._whole = False

    def read(self, size: int) -> bytes:
        while self._position >= self._reached and not self._whole:
            line = self._told.readline()
            if not line:
                raise SystemExit("The process that writes the file is gone.")
            message = json.loads(line)
            self._reached = message["reached"]
            self._whole = message.get("whole", False)
        size = min(size, self._reached - self._position)
        # by position: whoever writes the file shares the descriptor's own
        data = os.pread(self._descriptor, size, self._position)
        self._position += len(data)
        return data
