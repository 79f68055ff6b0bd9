# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one etcd on loopback out of the host tree that it lives in."""

from __future__ import annotations

import ctypes
import json
import random
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import yaml

from lab import binaries, static_pods

PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class LoopbackError(Exception):
    """A loopback cluster did not do what it should."""


def free_port(taken: set[int]) -> int:
    """Return a port that nobody listens on, below the range that the kernel hands out."""
    while True:
        port = random.randint(12000, 31999)
        if port in taken:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        taken.add(port)
        return port


def _die_with_parent() -> None:
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Member:
    """One etcd and the host tree that it lives in."""

    def __init__(self, node: static_pods.Node, settings: static_pods.EtcdSettings) -> None:
        self.node = node
        self.settings = settings
        self.binaries = binaries.get(node.etcd_version)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def root(self) -> Path:
        """The host tree: root / "etc/kubernetes", root / "var/lib/etcd"."""
        return self.node.root

    @property
    def endpoint(self) -> str:
        return f"https://127.0.0.1:{self.node.client_port}"

    @property
    def certificates_dir(self) -> Path:
        return self.root / "etc" / "kubernetes" / "pki"

    @property
    def static_pod_path(self) -> Path:
        return self.root / "etc" / "kubernetes" / "manifests"

    @property
    def data_dir(self) -> Path:
        return self.root / "var" / "lib" / "etcd"

    @property
    def db(self) -> Path:
        return self.data_dir / "member" / "snap" / "db"

    @property
    def log(self) -> Path:
        return self.root / "etcd.log"

    @property
    def pid(self) -> int:
        if self.process is None:
            raise LoopbackError(f"{self.name}: etcd is not running.")
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def healthy(self) -> bool:
        """Say whether the member answers a linearizable read."""
        url = f"http://127.0.0.1:{self.node.metrics_port}/health"
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bool(json.load(answer)["health"] == "true")
        except (OSError, urllib.error.URLError):
            return False

    def spawn(self) -> None:
        """Start etcd with the command that the manifest holds."""
        if self.running:
            raise LoopbackError(f"{self.name}: etcd runs already.")
        manifest = yaml.safe_load((self.static_pod_path / "etcd.yaml").read_text())
        command = manifest["spec"]["containers"][0]["command"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.binaries.etcd), *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent,
                start_new_session=True,
            )

    def stop(self, *, kill: bool = False) -> None:
        """Stop etcd with SIGTERM, or SIGKILL, and wait for its end."""
        if self.process is None:
            return
        if self.running:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None
