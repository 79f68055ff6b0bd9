# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A cage: a folder, a network and a user of their own for servers that live for minutes.

    with opened("/var/tmp", isolation=Isolation.AUTO, limits=Limits()) as cage:
        etcd = cage.start("etcd", [cage.bring("/opt/etcd"), "--data-dir", ...])

The process that opens a cage is inside its network from then on, and so are its own clients.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import os
import pwd
import random
import stat
import tempfile
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _files
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    CageRefused,
    Locked,
    ToolUnusable,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._node.locks import host_lock

from . import leavings, network
from .keeper import Keeper
from .leavings import Leavings
from .servers import ChildServer, Limits, Room, Server
from .units import UnitServer, scope_of, systemd_obstacle, unit_name

__all__ = ["Cage", "Isolation", "Limits", "Server", "isolation_here", "opened", "sweep"]

_PREFIX = "controlplane-etcd-drill."
# Numbers that neither people nor packages nor systemd nor /etc/subuid hand out (systemd,
# UIDS-GIDS.md; shadow, SUB_UID_MIN); else those of systemd's short-lived users.
_USERS = ((65536, 99999), (61184, 65519))


class Isolation(str, enum.Enum):
    """How servers are run apart."""

    AUTO = "auto"
    SYSTEMD = "systemd"
    NAMESPACE = "namespace"


def isolation_here(asked: Isolation) -> Isolation:
    """Return what AUTO means on this host.

    :raises CageRefused: systemd is asked for, and can't be used.
    """
    obstacle = systemd_obstacle()
    if asked is Isolation.SYSTEMD and obstacle:
        raise CageRefused(
            f"A throw-away server cannot be run as a unit of systemd on this host: {obstacle}.",
            hint="Set isolation to namespace or auto.",
        )
    if asked is Isolation.AUTO:
        return Isolation.NAMESPACE if obstacle else Isolation.SYSTEMD
    return asked


class Cage:
    """What servers are started in; made by `opened`.

    :param folder: their working directory, which nobody else can enter; gone with the cage. They can
        write into what was given to them alone: no name in the folder itself is theirs to change.
    """

    def __init__(self, room: Room, isolation: Isolation, keeper: Keeper, left: Leavings) -> None:
        self.folder = room.folder
        self.isolation = isolation
        self.user = room.user
        self._room = room
        self._keeper = keeper
        self._left = left
        self._servers: list[Server] = []
        self._first_unit: str | None = None
        self._tell()

    @property
    def left(self) -> Leavings:
        """What must be gone when the cage is closed."""
        return self._left

    def remove_with_it(self, path: str) -> None:
        """Have one more file or folder removed when the cage goes, whatever happens."""
        self._left = self._left.with_path(path)
        self._tell()

    def bring(self, path: str, name: str, *, sha256: str | None = None) -> str:
        """Copy a program into the cage, where its user can run it; return its path there.

        :raises ToolUnusable: its bytes are not those of `sha256`, or it can't be read.
        """
        target = os.path.join(self.folder, "bin", name)
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        try:
            new = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(path, "rb") as source, open(os.open(target, new, 0o700), "wb") as raw:
                copy = _files.HashingWriter(raw)
                for piece in _files.chunks(source):
                    copy.write(piece)
        except OSError as exc:
            raise _no_program(path, f"it cannot be copied: {exc.strerror}") from exc
        if sha256 is not None and copy.sha256 != sha256:
            raise _no_program(path, f"its sha256 is {copy.sha256}, not {sha256}")
        self.give(os.path.dirname(target))
        return target

    def give(self, path: str) -> None:
        """Make a file, or a folder with all in it, the cage user's; links are not followed."""
        if self.user is None:
            return
        os.chown(path, self.user, self.user, follow_symlinks=False)
        if os.path.isdir(path) and not os.path.islink(path):
            for folder, folders, files in os.walk(path):
                for name in (*folders, *files):
                    at = os.path.join(folder, name)
                    os.chown(at, self.user, self.user, follow_symlinks=False)

    def start(
        self, name: str, argv: t.Sequence[str], *, env: t.Mapping[str, str] | None = None
    ) -> Server:
        """Start a server; argv[0] lies in the cage (`bring`), and argv holds no secret.

        It listens on loopback, where all ports are free but those of the cage's other servers. Its
        output goes to NAME.log in the cage.

        :raises CageRefused: systemd does not start it.
        """
        log = os.path.join(self.folder, f"{name}.log")
        started: Server
        if self.isolation is Isolation.SYSTEMD:
            unit = unit_name(self._room.token, name)
            self._left = self._left.with_unit(unit)
            self._tell()
            started = UnitServer(
                name, argv, env=env or {}, log=log, room=self._room, after=self._first_unit
            )
            self._first_unit = self._first_unit or unit
        else:
            started = ChildServer(name, argv, env=env or {}, log=log, room=self._room)
        self._servers.append(started)
        return started

    def close(self) -> None:
        """Stop the servers, the last one first, and remove all that is the cage's."""
        for server in reversed(self._servers):
            server.stop()
        leavings.clear(self._left)

    def remains(self) -> list[str]:
        """Say what is still there of it."""
        return leavings.remains(self._left)

    def _tell(self) -> None:
        self._keeper.note(self._left)


@contextlib.contextmanager
def opened(
    work_dir: str,
    *,
    isolation: Isolation,
    limits: Limits,
    remove: t.Sequence[str] = (),
) -> t.Iterator[Cage]:
    """Give a cage; at the end all of it is removed, and `remove` too, even if this process is killed.

    Leaves this process in the cage's network. What killed runs left in `work_dir` is removed first.

    :raises CageRefused: the host does not allow it, or something could not be removed in the end.
    """
    isolation = isolation_here(isolation)
    sweep(work_dir)
    keeper = Keeper.start()
    try:
        with contextlib.ExitStack() as stack:
            left = Leavings(paths=tuple(remove))
            keeper.note(left)
            net = network.enter()
            if net.own_users:
                isolation = Isolation.NAMESPACE
            user = None if net.own_users else stack.enter_context(_own_user())
            folder, lock = _locked_folder(work_dir)
            stack.callback(os.close, lock)
            left = Leavings(net.inode, os.getpid(), (), (folder, *left.paths))
            keeper.note(left)
            _check_runs_programs(folder, user)
            if user is not None:
                os.fchown(lock, -1, user)
                os.fchmod(lock, 0o710)
            token = folder.rpartition(".")[2]
            scope = None
            if isolation is Isolation.SYSTEMD:
                scope = scope_of(token, [os.getpid(), keeper.pid])
            room = Room(folder, token, user, limits, scope)
            cage = Cage(room, isolation, keeper, left)
            try:
                yield cage
            finally:
                cage.close()
            _check_gone(cage)
        keeper.dismiss()
    except BaseException:
        keeper.take_over()
        raise


def _locked_folder(work_dir: str) -> tuple[str, int]:
    """Make a folder that no sweep takes; return it, and the descriptor of its lock."""
    while True:
        folder = tempfile.mkdtemp(prefix=_PREFIX, dir=work_dir)
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            fcntl.flock(lock, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), os.lstat(folder)):
                    return folder, lock
            os.close(lock)
        # Another drill's sweep took it before it was locked.


def sweep(work_dir: str) -> None:
    """Remove cages whose runs are dead: nobody holds their lock any more."""
    with os.scandir(work_dir) as found:
        mine = [
            entry.path
            for entry in found
            if entry.name.startswith(_PREFIX) and entry.is_dir(follow_symlinks=False)
        ]
    for path in mine:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue  # it is just being removed
        try:
            if not _is_ours(os.fstat(descriptor).st_uid):
                continue
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            units = (unit_name(path.rpartition(".")[2], "*"),) if not systemd_obstacle() else ()
            leavings.clear(Leavings(units=units, paths=(path,)))
        except BlockingIOError:
            pass
        finally:
            os.close(descriptor)


def _is_ours(uid: int) -> bool:
    me = os.geteuid()
    return uid == me or (me == 0 and any(low <= uid <= high for low, high in _USERS))


@contextlib.contextmanager
def _own_user() -> t.Iterator[int]:
    """Hold a user number that nothing else on the host has."""
    taken = {os.stat(f"/proc/{name}").st_uid for name in _running()}
    low, high = next((each for each in _USERS if _is_mapped(each)), _USERS[-1])
    for uid in random.sample(range(low, high), 20):
        if uid in taken or _has_name(uid):
            continue
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(host_lock(f"drill-user-{uid}"))
            except Locked:
                continue
            yield uid
            return
    raise CageRefused("No free user number was found on this host.", hint="Run it again.")


def _has_name(uid: int) -> bool:
    """Tell whether somebody's account has the number, in whatever directory it is."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _running() -> t.Iterator[str]:
    for name in os.listdir("/proc"):
        if name.isdigit() and os.path.isdir(f"/proc/{name}"):
            yield name


def _is_mapped(numbers: tuple[int, int]) -> bool:
    """Tell whether this user namespace knows these numbers (user_namespaces(7))."""
    with open("/proc/self/uid_map", encoding="ascii") as source:
        spans = [list(map(int, line.split())) for line in source]
    return any(first <= numbers[0] and numbers[1] < first + count for first, _out, count in spans)


def _check_runs_programs(folder: str, user: int | None) -> None:
    """Have programs run in the cage's folder, and its user get there."""
    if os.statvfs(folder).f_flag & os.ST_NOEXEC:
        raise CageRefused(
            f"No program can be run in {folder}: its file system is mounted noexec.",
            hint="Set work_dir to a folder on a file system without noexec.",
            path=folder,
        )
    above = os.path.dirname(os.path.realpath(folder))
    while user is not None and above != "/":
        if not os.stat(above).st_mode & stat.S_IXOTH:
            raise CageRefused(
                f"No user but its owner can get to {folder}: {above} is closed to others.",
                hint="Set work_dir to a folder that others may pass through, such as /var/tmp.",
                path=above,
            )
        above = os.path.dirname(above)


def _no_program(path: str, why: str) -> ToolUnusable:
    return ToolUnusable(
        f"Program {path} cannot be run in a drill: {why}.",
        hint="Deliver the entry again, or name another program with tools.",
        path=path,
    )


def _check_gone(cage: Cage) -> None:
    found = cage.remains()
    if found:
        raise CageRefused(
            f"Not all of the drill could be removed from this host: {', '.join(found[:10])}.",
            hint="Remove it by hand: it may hold what the archive holds, in clear.",
            path=cage.folder,
        )
