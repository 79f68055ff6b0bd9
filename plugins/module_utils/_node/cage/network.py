# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A network of this process's own: loopback, and no way out (network_namespaces(7))."""

from __future__ import annotations

import ctypes
import dataclasses
import errno
import fcntl
import os
import socket
import struct

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import CageRefused

__all__ = ["Network", "enter", "users"]

# linux/sched.h, linux/sockios.h, linux/if.h
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1
_IFREQ = struct.Struct("16sh22x")

_HINT = (
    "Run the task with become; or let users make namespaces of their own: "
    "sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone and "
    "kernel.apparmor_restrict_unprivileged_userns."
)


@dataclasses.dataclass(frozen=True)
class Network:
    """The namespace that this process is in."""

    inode: int
    own_users: bool
    """Whether it took a user namespace to make it: then no other user can be switched to."""


def enter() -> Network:
    """Move this process, and what it starts from now on, into a network of its own.

    Only the calling thread moves, so no other may run yet: call it before gRPC makes a channel.

    :raises CageRefused: the kernel does not let this user.
    """
    if len(os.listdir("/proc/self/task")) > 1:
        raise AssertionError("threads that run already would stay outside")
    if os.geteuid() == 0:
        try:
            _unshare(_CLONE_NEWNET)
            _bring_up("lo")
            return Network(_inode(), own_users=False)
        except OSError as exc:
            # As in a container that lacks CAP_SYS_ADMIN or CAP_NET_ADMIN: a user namespace has both.
            if exc.errno not in (errno.EPERM, errno.EACCES):
                raise _refused(exc) from exc
    uid, gid = os.geteuid(), os.getegid()
    try:
        _unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
        # user_namespaces(7): a group may be mapped only once setgroups() is given up.
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{uid} {uid} 1"),
            ("gid_map", f"{gid} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as target:
                target.write(text)
        _bring_up("lo")
    except OSError as exc:
        raise _refused(exc) from exc
    return Network(_inode(), own_users=True)


def users(inode: int) -> list[int]:
    """Return the other processes in a network, as far as they can be seen."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            if os.stat(f"/proc/{name}/ns/net").st_ino == inode:
                found.append(int(name))
        except OSError:
            continue  # it has ended, or is another user's
    return found


def _refused(exc: OSError) -> CageRefused:
    return CageRefused(
        "A throw-away server cannot be run apart on this host: a network namespace is refused to "
        f"uid {os.geteuid()}: {exc.strerror}.",
        hint=_HINT,
    )


def _inode() -> int:
    return os.stat("/proc/self/ns/net").st_ino


def _unshare(flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _bring_up(name: str) -> None:
    """Set an interface up (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        asked = _IFREQ.pack(name.encode(), 0)
        _name, flags = _IFREQ.unpack(fcntl.ioctl(handle, _SIOCGIFFLAGS, asked))
        fcntl.ioctl(handle, _SIOCSIFFLAGS, _IFREQ.pack(name.encode(), flags | _IFF_UP))
