# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A file mapped into memory, of which a part that can't be read is an error like any other.

Where a mapped file got shorter, or its disk has a bad sector, the kernel ends who reads there by
SIGBUS (mmap(2)). A handler of Python's own runs only after the access, which never ends; so one is
called by the kernel itself, which puts zeros into the place of the whole file and lets the access
go on. What comes of zeros doesn't matter: the end of the reading says what happened.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import signal
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    EtcdToolError,
    SnapshotInvalid,
)

__all__ = ["Mapped", "mapped"]

_MAP_FIXED = 0x10  # Linux, on all processors that there are wheels for
_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int)


class _Buffer(ctypes.Structure):
    """Py_buffer (docs.python.org/3/c-api/buffer.html)."""

    _fields_: t.ClassVar = [
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    ]


class Mapped:
    """The bytes of a file, read-only, in `memory`.

    They are not unmapped by name: what was read may be views of them, and they go with the last.
    """

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        self.memory = mmap.mmap(descriptor, size_bytes, access=mmap.ACCESS_READ)
        self.is_broken = False

    def check(self) -> None:
        """Refuse what was read if a part of it could not be.

        :raises SnapshotInvalid: with what may have happened; it names no file.
        """
        if self.is_broken:
            raise SnapshotInvalid(
                "A part of the file cannot be read: it got shorter meanwhile, or its disk has a bad "
                "sector, of which the kernel's log tells.",
                hint="Copy it first, once nobody writes to it, then read the copy.",
            )


@contextlib.contextmanager
def mapped(descriptor: int, size_bytes: int) -> t.Iterator[Mapped]:
    """Map the first `size_bytes` of an open file, for one thread to read.

    :raises SnapshotInvalid: a part of it could not be read, whatever else came of that.
    :raises ValueError: the file is empty, or shorter.
    """
    mapping = Mapped(descriptor, size_bytes)
    with _guarded(mapping):
        try:
            yield mapping
        except EtcdToolError:
            mapping.check()
            raise
        mapping.check()


@contextlib.contextmanager
def _guarded(mapping: Mapped) -> t.Iterator[None]:
    """Handle SIGBUS while the context lasts; where the host forbids such handlers, don't."""
    address, size = _address(mapping.memory), len(mapping.memory)
    libc = ctypes.CDLL(None)
    libc.mmap.restype = libc.signal.restype = ctypes.c_void_p
    libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    libc.mmap.argtypes = (
        *(ctypes.c_void_p, ctypes.c_size_t),
        *(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_longlong),
    )
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED
    before: list[int | None] = []

    def handle(_number: int) -> None:
        if mapping.is_broken:  # so this one is not of ours: as before, when it is tried again
            libc.signal(signal.SIGBUS, before[0])
            return
        mapping.is_broken = True
        libc.mmap(address, size, mmap.PROT_READ, flags, -1, 0)

    try:
        handler = _Handler(handle)
    except (MemoryError, OSError):  # no memory may be written and executed here
        yield
        return
    before.append(libc.signal(signal.SIGBUS, ctypes.cast(handler, ctypes.c_void_p)))
    try:
        yield
    finally:
        libc.signal(signal.SIGBUS, before[0])


def _address(memory: mmap.mmap) -> int:
    buffer = _Buffer()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(memory), ctypes.byref(buffer), 0)
    address = t.cast(int, buffer.buf)
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(buffer))
    return address
