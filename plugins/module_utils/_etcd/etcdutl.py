# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""etcd's own tool that makes a data folder from a snapshot: etcdutl, up to 3.4 etcdctl.

What a version takes is read from its own help, not guessed from its number: --bump-revision came
into 3.4.27, 3.5.10 and 3.6.0, --initial-memory-map-size later still.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import re
import signal
import subprocess
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    RestoreFailed,
    RestoreRefused,
    SpaceMissing,
    ToolUnusable,
)

__all__ = ["NewMember", "Tool", "probe", "restore"]

_VERSION = re.compile(r"^(etcdutl|etcdctl) version:\s*v?((\d+\.\d+)\.\d+\S*)", re.M)
_FLAG = re.compile(r"^\s+--([a-z-]+)[ =\[]", re.M)
_NEEDED = frozenset({"data-dir", "initial-cluster", "initial-cluster-token", "name"})
_BUMP = frozenset({"bump-revision", "mark-compacted"})
_MAP = "initial-memory-map-size"
# What the map holds at first; bbolt grows it by itself (bbolt, db.go, mmapSize).
_MAP_BYTES = 64 << 20
_PROBE_SECONDS = 20
_WORDS = 400
_PR_SET_PDEATHSIG = 1
_TELLING = ("Error: ", "panic: ", "fatal error: ", "runtime: ")


@dataclasses.dataclass(frozen=True)
class Tool:
    """A program that can restore snapshots: which one, of which etcd, and what it takes."""

    path: str
    name: str
    """`etcdutl`, or `etcdctl` for an older one."""
    version: str
    minor: str
    flags: frozenset[str]

    @property
    def can_bump(self) -> bool:
        """Tell whether it can raise the revision and mark what was before as compacted."""
        return self.flags >= _BUMP

    def check_bump(self) -> None:
        """Have it be one that can bump.

        :raises ToolUnusable: it is none.
        """
        if not self.can_bump:
            raise ToolUnusable(
                f"{self.path} is {self.name} {self.version}, which knows no --bump-revision.",
                hint="3.4.27, 3.5.10 and 3.6.0 and later do: name one of those, of the same minor.",
                path=self.path,
            )

    @property
    def wants_absent(self) -> bool:
        """Tell whether the data folder must not exist (3.4), or may be there empty."""
        return self.minor == "3.4"


@dataclasses.dataclass(frozen=True)
class NewMember:
    """Who the restored member is, in etcd's words.

    A token that was used before, with the same peer URLs, gives the old cluster's IDs again.
    """

    name: str
    initial_cluster: str
    initial_advertise_peer_urls: str
    initial_cluster_token: str


def probe(path: str) -> Tool:
    """Ask a program what it is.

    :raises ToolUnusable: it can't be run here, or restores no snapshots.
    """
    shown = _ask(path, "version")
    found = _VERSION.search(shown)
    if found is None:
        raise ToolUnusable(
            f"{path} is not etcdutl or etcdctl: asked for its version, it says "
            f"{_cut(shown.strip())!r}.",
            hint="Name the etcdutl of the cluster's etcd (up to 3.4: its etcdctl).",
            path=path,
        )
    flags = frozenset(_FLAG.findall(_ask(path, "snapshot", "restore", "--help")))
    if not flags >= _NEEDED:
        raise ToolUnusable(
            f"{path} is {found.group(1)} {found.group(2)}, which restores no snapshots.",
            hint="From etcd 3.6 on that is done by etcdutl alone: name that.",
            path=path,
        )
    return Tool(path, found.group(1), found.group(2), found.group(3), flags)


def restore(
    tool: Tool,
    snapshot_path: str,
    member: NewMember,
    *,
    data_dir: str,
    wal_dir: str | None = None,
    bump: int | None = None,
    skip_hash_check: bool = False,
    deadline: float,
    pass_fds: t.Sequence[int] = (),
    named: str | None = None,
) -> None:
    """Make `data_dir` from a snapshot; the tool ends with this process, whatever ends that.

    What it has written of `data_dir` and `wal_dir` when it fails stays: it is the caller's.

    :param snapshot_path: a file with its 32-byte trailer, unless `skip_hash_check`;
        `/proc/self/fd/N` with N in `pass_fds` for one without a name.
    :param wal_dir: absent, in a folder that exists; None for the one in `data_dir`.
    :param bump: how far the revision is raised; everything before counts as compacted then.
    :param deadline: seconds that it may take.
    :param named: what messages call the snapshot, if not by `snapshot_path`.
    :raises RestoreRefused: `data_dir` holds something, or for 3.4 exists.
    :raises ToolUnusable: the tool knows no bump.
    :raises SpaceMissing: the file system filled up.
    :raises RestoreFailed: the tool refused, broke off or took too long; says its own last words.
    """
    _check_folder(tool, data_dir)
    argv = [tool.path, "snapshot", "restore", snapshot_path, f"--data-dir={data_dir}"]
    argv += [
        f"--name={member.name}",
        f"--initial-cluster={member.initial_cluster}",
        f"--initial-advertise-peer-urls={member.initial_advertise_peer_urls}",
        f"--initial-cluster-token={member.initial_cluster_token}",
    ]
    if wal_dir:
        argv.append(f"--wal-dir={wal_dir}")
    if bump:
        tool.check_bump()
        argv += [f"--bump-revision={bump}", "--mark-compacted"]
    if skip_hash_check:
        argv.append("--skip-hash-check")
    if _MAP in tool.flags:
        argv.append(f"--{_MAP}={_MAP_BYTES}")
    _run(tool, argv, named or snapshot_path, data_dir, deadline=deadline, pass_fds=pass_fds)


def _check_folder(tool: Tool, data_dir: str) -> None:
    if os.path.lexists(data_dir) and (tool.wants_absent or os.listdir(data_dir)):
        raise RestoreRefused(
            f"{data_dir} is there already, and {tool.name} {tool.version} restores into a new "
            f"{'folder' if tool.wants_absent else 'or an empty folder'} only.",
            hint="Name another folder, or move that one away.",
            path=data_dir,
        )


def _run(
    tool: Tool,
    argv: list[str],
    snapshot: str,
    data_dir: str,
    *,
    deadline: float,
    pass_fds: t.Sequence[int],
) -> None:
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            argv,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=deadline,
            pass_fds=tuple(pass_fds),
            preexec_fn=_dying_with_us(),
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise RestoreFailed(
            f"{tool.name} {tool.version} did not restore {snapshot} into {data_dir} within "
            f"{deadline:g} s.",
            hint="Look at that disk; raise the timeout if it is merely slow.",
            path=data_dir,
        ) from exc
    except OSError as exc:
        raise _cannot_run(tool.path, exc) from exc
    if not done.returncode:
        return
    words = _last_words(done.stdout.decode("utf-8", "replace"), done.returncode)
    if "no space left on device" in words or "disk quota exceeded" in words:
        raise SpaceMissing(
            f"{data_dir} filled up while {tool.name} {tool.version} restored {snapshot} "
            f"into it: {words}.",
            hint="It takes the size of the database and 64 MiB: free that there.",
            path=data_dir,
        )
    raise RestoreFailed(
        f"{tool.name} {tool.version} did not restore {snapshot} into {data_dir}: {words}.",
        hint="etcd_snapshot_info tells what is wrong with a snapshot.",
        path=data_dir,
    )


def _ask(path: str, *words: str) -> str:
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            [path, *words],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise ToolUnusable(
            f"{path} {' '.join(words)} did not answer within {_PROBE_SECONDS} s.",
            hint="Name the etcdutl of the cluster's etcd.",
            path=path,
        ) from exc
    except OSError as exc:
        raise _cannot_run(path, exc) from exc
    return done.stdout.decode("utf-8", "replace")


def _cannot_run(path: str, exc: OSError) -> ToolUnusable:
    return ToolUnusable(
        f"{path} can't be run on this host: {exc.strerror}.",
        hint="Name an etcdutl for this platform, on a file system that is not mounted noexec.",
        path=path,
    )


def _environment() -> dict[str, str]:
    # etcdctl 3.4 and older speak v2 unless told so; ETCDCTL_* of ours would be taken for flags.
    return {"PATH": os.defpath, "ETCDCTL_API": "3"}


def _dying_with_us() -> t.Callable[[], None]:
    """Return what a child does first: have the kernel end it with us, kill -9 included."""
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def ask_for_death() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return ask_for_death


def _last_words(output: str, code: int) -> str:
    """Return what a Go program that failed says of it; a panic's trace comes after its reason."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if code < 0:
        with contextlib.suppress(ValueError):
            lines.append(f"ended by {signal.Signals(-code).name}")
    telling = [line for line in lines if line.startswith(_TELLING)]
    chosen = telling[0] if telling else (lines[-1] if lines else f"exit status {code}, no words")
    if chosen.startswith(_TELLING[0]):
        chosen = chosen[len(_TELLING[0]) :]
    return _cut(chosen).rstrip(".")


def _cut(text: str) -> str:
    return text if len(text) <= _WORDS else text[:_WORDS] + "…"
