# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the environment, its wheelhouse, or fetch what a host needs for it.

Started as `python runtime.py environment|wheelhouse|pip` with its settings as JSON on standard
input (an index's address may hold a password: not in argv, not in a file). Prints one JSON object.
Standard library only, Python 3.9 and later: it runs before there is anything else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import platform
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
import typing as t
import venv
from pathlib import Path

import probe
import wheels
from wheels import RuntimeFailure

_LOCK_WAIT_SECONDS = 900
# Imported once in a new environment before it is put in place: a binary wheel that this machine
# can't load is found here and not in the middle of a backup.
_IMPORTS = (
    "cryptography.x509, etcd3.etcdrpc, google.protobuf, google_crc32c, grpc, jmespath, pyrage, "
    "six, tenacity, yaml, zstandard"
)
# etcd3 0.12's stubs import with today's protobuf in its pure Python implementation only.
_IMPORT_ENVIRONMENT = {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the role asked for; paths are on the machine this runs on."""

    path: str  # where the environment goes; for wheelhouse and pip: the folder to write into
    lock: str
    digest: str
    name: str  # of the wheelhouse
    wheelhouse: str = ""  # a tar that the controller brought; empty: from an index
    pip_wheel: str = ""  # where this Python has no pip of its own
    index_url: str = ""
    environment: dict[str, str] = dataclasses.field(default_factory=dict)

    def hide(self, text: str) -> str:
        """Return `text` without passwords in addresses and values of the environment."""
        for value in self.environment.values():
            if len(value) > 3:
                text = text.replace(value, "***")
        return re.sub(r"://[^/@\s]+@", "://***@", text)


class Pip:
    """A pip started from its wheel, or the interpreter's own."""

    def __init__(self, settings: Settings, *, python: str, wheel: Path | None) -> None:
        self._settings = settings
        self._python = python
        self._wheel = wheel

    def run(self, *arguments: str, offline: bool = False) -> None:
        """Run pip; the index's address goes by the environment, never by argv.

        Offline, nothing configured on the host (pip.conf, PIP_*) has a say.

        :raises RuntimeFailure: pip failed; the last lines of what it said are in the message.
        """
        variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        variables.update(self._settings.environment)
        if offline:
            variables = {key: v for key, v in variables.items() if not key.startswith("PIP_")}
        elif self._settings.index_url:
            variables["PIP_INDEX_URL"] = self._settings.index_url
        variables["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
        if self._wheel:
            variables["PYTHONPATH"] = str(self._wheel)
        isolated = ("--isolated",) if offline else ()
        argv = [self._python, "-m", "pip", *isolated, "--no-cache-dir", "--no-input", *arguments]
        done = subprocess.run(
            argv, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False, close_fds=False,
        )  # fmt: skip
        if done.returncode:
            said = " ".join((done.stderr or done.stdout).split())[-1500:]
            raise RuntimeFailure(f"pip {arguments[0]} failed with status {done.returncode}: {said}")


def main(argv: t.Sequence[str]) -> int:
    """Do one of the verbs and print its answer or its error."""
    signal.signal(signal.SIGTERM, _exit)
    signal.signal(signal.SIGHUP, _exit)
    os.umask(0o022)
    settings = Settings(**json.load(sys.stdin))
    verbs = {"environment": _environment, "wheelhouse": _wheelhouse, "pip": _pip}
    try:
        answer = verbs[argv[1]](settings)
    except (RuntimeFailure, OSError) as exc:
        sys.stdout.write(json.dumps({"error": settings.hide(str(exc))}))
        return 1
    sys.stdout.write(json.dumps(answer))
    return 0


def _exit(number: int, frame: object) -> None:
    sys.exit(128 + number)


def _environment(settings: Settings) -> dict[str, t.Any]:
    """Make the environment under `path` and put it in place."""
    path = Path(settings.path)
    path.mkdir(mode=0o755, parents=True, exist_ok=True)
    with _host_lock(path / ".lock"):
        why = probe.reasons(path, settings.digest)
        if why:
            _clean(path)
        if probe.reasons(path, settings.digest):
            with _work(path) as work:
                _install(settings, _tar(settings, work), work)
        environment = t.cast(Path, probe.current(path))
        return {
            "changed": bool(why),
            "python": str(environment / "bin" / "python"),
            "wheelhouse": str(path / "wheelhouse" / f"{settings.name}.tar"),
        }


def _wheelhouse(settings: Settings) -> dict[str, t.Any]:
    """Write the wheelhouse for any Python and machine into a folder, from an index."""
    path = Path(settings.path)
    path.mkdir(mode=0o755, parents=True, exist_ok=True)
    tar = path / f"{settings.name}.tar"
    lock = _lock(settings)
    with contextlib.suppress(RuntimeFailure, OSError):
        wheels.check(tar, lock)
        return {"changed": False, "wheelhouse": str(tar)}
    with _host_lock(path / ".lock"), _work(path) as work:
        _collect(settings, lock, work, tar)
    return {"changed": True, "wheelhouse": str(tar)}


def _pip(settings: Settings) -> dict[str, t.Any]:
    """Fetch the pinned pip into a folder, for hosts that have none."""
    folder = Path(settings.path)
    pinned = folder / "pip.txt"
    pinned.write_text(_lock(settings).only("pip"), encoding="utf-8")
    _own_pip(settings).run(*_download(pinned, folder))
    return {"changed": False, "pip_wheel": str(next(folder.glob("pip-*.whl")))}


def _tar(settings: Settings, work: Path) -> Path:
    """Return a checked wheelhouse: the one brought, the one kept, or a new one from the index."""
    lock = _lock(settings)
    kept = Path(settings.path) / "wheelhouse" / f"{settings.name}.tar"
    if settings.wheelhouse:
        brought = Path(settings.wheelhouse)
        wheels.check(brought, lock)
        copied = Path(shutil.copyfile(brought, work / brought.name))
        kept.parent.mkdir(mode=0o755, exist_ok=True)
        wheels.settle(copied, kept)
        return kept
    with contextlib.suppress(RuntimeFailure, OSError):
        wheels.check(kept, lock)
        return kept
    _collect(settings, lock, work, kept)
    return kept


def _collect(settings: Settings, lock: wheels.Lock, work: Path, tar: Path) -> None:
    """Download what the lock lists, build etcd3's wheel, and write them as one tar."""
    folder, pinned = work / "wheels", work / "pinned.txt"
    folder.mkdir()
    pinned.write_text(lock.only("pip"), encoding="utf-8")
    _own_pip(settings).run(*_download(pinned, folder))
    pip_wheel = next(folder.glob("pip-*.whl"))
    pip = Pip(settings, python=sys.executable, wheel=pip_wheel)
    pinned.write_text(lock.without("pip", "setuptools", "etcd3"), encoding="utf-8")
    pip.run(*_download(pinned, folder), *_target(settings.name))
    _build_etcd3(settings, lock, work, pip_wheel)
    packed = work / tar.name
    wheels.pack(sorted(folder.glob("*.whl")), settings.name, lock, packed)
    wheels.check(packed, lock)
    tar.parent.mkdir(mode=0o755, exist_ok=True)
    wheels.settle(packed, tar)


def _download(requirements: Path, folder: Path) -> list[str]:
    return [
        "download", "--quiet", "--require-hashes", "--no-deps", "--only-binary=:all:",
        "--dest", str(folder), "--requirement", str(requirements),
    ]  # fmt: skip


def _target(name: str) -> list[str]:
    """Return pip's options for another Python and machine than this one, none for this one."""
    tag, _system, machine, _digest = name.split("-")
    if (tag, machine) == (probe.tag(), platform.machine()):
        return []
    # In pip's order of preference: the wheel for the oldest glibc (2.28 is the newest asked for).
    platforms = [f"manylinux{old}_{machine}" for old in ("1", "2010", "2014")]
    platforms += [f"manylinux_2_{minor}_{machine}" for minor in range(5, 29)]
    arguments = ["--implementation", "cp", "--python-version", python_version(tag)]
    for abi in (tag, "abi3", "none"):
        arguments += ["--abi", abi]
    for one in platforms:
        arguments += ["--platform", one]
    return arguments


def python_version(tag: str) -> str:
    """Return a release of the minor that a tag names; not .0, which cryptography excludes."""
    return f"{tag[2]}.{tag[3:]}.2"


def _build_etcd3(settings: Settings, lock: wheels.Lock, work: Path, pip_wheel: Path) -> None:
    """Build the wheel of etcd3, which is published as source only, with the pinned setuptools."""
    tools, pinned = work / "build", work / "etcd3.txt"
    venv.EnvBuilder(with_pip=False, symlinks=True).create(tools)
    pip = Pip(settings, python=str(tools / "bin" / "python"), wheel=pip_wheel)
    pinned.write_text(lock.only("setuptools"), encoding="utf-8")
    pip.run(
        "install", "--quiet", "--require-hashes", "--no-deps", "--only-binary=:all:",
        "--requirement", str(pinned),
    )  # fmt: skip
    pinned.write_text(lock.only("etcd3"), encoding="utf-8")
    pip.run(
        "wheel", "--quiet", "--require-hashes", "--no-deps", "--no-build-isolation",
        "--no-binary=etcd3", "--wheel-dir", str(work), "--requirement", str(pinned),
    )  # fmt: skip
    built = next(work.glob("etcd3-*.whl"))
    wheels.normalise(built, work / "wheels" / built.name)


def _install(settings: Settings, tar: Path, work: Path) -> None:
    """Make an environment from a checked wheelhouse; the link to it comes last."""
    lock, path = _lock(settings), Path(settings.path)
    folder, pinned = work / "install", work / "install.txt"
    wheels.unpack(tar, folder)
    environment = path / "environments" / f"{settings.name}-{secrets.token_hex(4)}"
    environment.parent.mkdir(mode=0o755, exist_ok=True)
    replaced = probe.current(path)
    try:
        venv.EnvBuilder(with_pip=False, symlinks=True).create(environment)
        python = environment / "bin" / "python"
        pinned.write_text(lock.without("pip", "setuptools"), encoding="utf-8")
        pip = Pip(settings, python=str(python), wheel=next(folder.glob("pip-*.whl")))
        pip.run(
            "install", "--quiet", "--no-index", "--require-hashes", "--no-deps",
            "--only-binary=:all:", "--find-links", str(folder), "--requirement", str(pinned),
            offline=True,
        )  # fmt: skip
        _try(python)
        marker = {
            "name": settings.name,
            "lock_sha256": settings.digest,
            "python": {"executable": probe.executable(), "version": platform.python_version()},
            "distributions": probe.distributions(environment),
            "wheelhouse_sha256": wheels.sha256(tar),
            "previous": replaced.name if replaced and replaced.is_dir() else "",
        }
        text = json.dumps(marker, indent=2, sort_keys=True) + "\n"
        (environment / probe.MARKER).write_text(text, encoding="utf-8")
        os.sync()
        link = work / "venv"
        link.symlink_to(f"environments/{environment.name}")
        link.replace(path / "venv")
    except BaseException:
        shutil.rmtree(environment, ignore_errors=True)
        raise
    _clean(path, but=work.name)


def _try(python: Path) -> None:
    """Import everything once.

    :raises RuntimeFailure: a library doesn't load on this machine.
    """
    done = subprocess.run(
        [str(python), "-c", f"import {_IMPORTS}"],
        env={**os.environ, **_IMPORT_ENVIRONMENT},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeFailure(
            f"The new environment {python.parent.parent} was thrown away: its libraries do not "
            f"load: {done.stderr.strip()[-600:]}. The one before stays in use."
        )


def _clean(path: Path, *, but: str = "") -> None:
    """Remove what interrupted runs left, and environments older than the one before."""
    for entry in probe.leftovers(path):
        if entry != but:
            shutil.rmtree(path / entry)


def _own_pip(settings: Settings) -> Pip:
    """Return the pip to start with: brought by the controller, ensurepip's, or the Python's own."""
    wheel = Path(settings.pip_wheel) if settings.pip_wheel else probe.bundled_pip()
    return Pip(settings, python=sys.executable, wheel=wheel)


def _lock(settings: Settings) -> wheels.Lock:
    return wheels.Lock.read(Path(settings.lock), digest=settings.digest)


@contextlib.contextmanager
def _work(path: Path) -> t.Iterator[Path]:
    """Lend a folder for work in progress; a later run removes it if this one is killed."""
    work = path / f".work-{secrets.token_hex(4)}"
    work.mkdir(mode=0o700)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def _host_lock(path: Path) -> t.Iterator[None]:
    """Hold the folder for one run at a time; the kernel lets go when a run dies.

    Its pip holds the lock too: one that outlives a killed run is waited for, not raced with.

    :raises RuntimeFailure: another run held it for too long.
    """
    end = time.monotonic() + _LOCK_WAIT_SECONDS
    with path.open("w", encoding="utf-8") as handle:
        os.set_inheritable(handle.fileno(), True)
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise RuntimeFailure(
                        f"Another run has held {path} for {_LOCK_WAIT_SECONDS} seconds. Look for "
                        f"it with `fuser {path}`, and run again when it is done."
                    ) from None
                time.sleep(0.2)
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv))
