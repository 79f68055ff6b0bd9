# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands between a module and its etcd, or in its place: proxies, small disks, other servers."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import threading
import typing as t
from pathlib import Path

if t.TYPE_CHECKING:
    from lab.loopback import Cluster

_PIECE = 16384
# More than a module's questions take, less than the image of any filled cluster.
_QUESTIONS_BYTES = 400_000


class Proxy:
    """A TCP proxy before an etcd; per connection it lets `after` bytes of answers through.

    Then it cuts the connection (`hold=False`) or says nothing more until `release` is called.
    A module's questions stay below `after`; a snapshot's stream does not.
    """

    def __init__(self, endpoint: str, *, hold: bool, after: int = _QUESTIONS_BYTES) -> None:
        self.held = threading.Event()
        self._released = threading.Event()
        self._target = int(endpoint.rpartition(":")[2])
        self._after, self.holds = after, hold
        self._server = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"https://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def release(self) -> None:
        """Let everything through from now on."""
        self._released.set()

    def close(self) -> None:
        self.release()
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _address = self._server.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                for ends, limit in (((client, server), None), ((server, client), self._after)):
                    threading.Thread(target=self._pump, args=(*ends, limit), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while True:
                data = source.recv(_PIECE)
                if not data:
                    break
                if limit is not None and passed + len(data) > limit and not self._released.is_set():
                    self.held.set()
                    if not self.holds:
                        break
                    self._released.wait()
                target.sendall(data)
                passed += len(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class NotEtcd:
    """A web server with a certificate of the cluster's own CA."""

    def __init__(self, cluster: Cluster) -> None:
        pki = next(iter(cluster.members.values())).certificates_dir / "etcd"
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pki / "server.crt", pki / "server.key")
        self._server = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"https://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _address = self._server.accept()
                with contextlib.suppress(OSError), client:
                    client.settimeout(10)
                    with self._context.wrap_socket(client, server_side=True) as stream:
                        stream.recv(_PIECE)
                        stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi\n")


class SmallDisk:
    """A file system of its own that can be filled to the byte; needs root."""

    def __init__(self, folder: Path, *, mib: int, kind: str = "ext4") -> None:
        folder.mkdir(parents=True)
        self.path = folder / "mount"
        self.path.mkdir()
        image = folder / "image"
        with image.open("wb") as target:
            target.truncate(mib << 20)
        run(f"mkfs.{kind}", "-q", "-F", "-b", "1024", "-m", "0", image)
        run("mount", "-o", "loop", image, self.path)
        self.path.chmod(0o755)

    @property
    def free_bytes(self) -> int:
        facts = os.statvfs(self.path)
        return facts.f_bavail * facts.f_frsize

    def fill(self, *, leave: int = 0) -> None:
        """Take all room but `leave` bytes, as somebody else's log would."""
        with (self.path / "lost+found" / "filler").open("ab", buffering=0) as target:
            while self.free_bytes > leave:
                size = self.free_bytes - leave
                try:  # by single blocks in the end: what says where they lie takes room, too
                    target.write(bytes(size // 2 if size > 1 << 16 else 1024))
                except OSError:
                    break
                os.fsync(target.fileno())
            while leave - self.free_bytes >= 1024:
                target.truncate(target.tell() - 1024)
                target.seek(0, os.SEEK_END)
                os.fsync(target.fileno())

    def drain(self) -> None:
        """Give the room back."""
        with contextlib.suppress(FileNotFoundError):
            (self.path / "lost+found" / "filler").unlink()

    def close(self) -> None:
        run("umount", "--lazy", self.path)
        shutil.rmtree(self.path.parent, ignore_errors=True)


def why_no_small_disks() -> str:
    """Return why this machine mounts no file system of ours; empty if it does."""
    if os.geteuid() != 0:
        return "mounting a small file system takes root"
    if shutil.which("mkfs.ext4") is None:
        return "there is no mkfs.ext4 (Debian: e2fsprogs)"
    if not os.path.exists("/dev/loop-control"):
        return "there are no loop devices here"
    return ""


def run(*argv: str | Path) -> None:
    """Run a program, and say what it said if it fails."""
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
