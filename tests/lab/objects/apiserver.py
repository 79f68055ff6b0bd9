# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real kube-apiserver: built from Go modules, started on a given etcd, spoken to with JSON."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import time
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

STAGING = re.compile(r"^\t(\S+) => \./staging/src/\S+$", re.MULTILINE)


def build(version: str, folder: Path, *, command: str = "kube-apiserver") -> Path:
    """Build one Kubernetes command of `version` (1.36.3) into `folder`, unless it is there.

    k8s.io/kubernetes replaces its staging modules by folders that its zip lacks: each is replaced
    by the published module of the same version instead.
    """
    binary = folder / f"{command}-{version}"
    if binary.exists():
        return binary
    module = folder / f"module-{version}"
    module.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod -buildvcs=false"}

    def go(*args: str) -> str:
        done = subprocess.run(
            ["nice", "-n", "10", "go", *args],
            cwd=module,
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        return done.stdout

    (module / "go.mod").write_text("module recorder\n\ngo 1.26\n")
    found = json.loads(go("mod", "download", "-json", f"k8s.io/kubernetes@v{version}"))
    upstream = Path(found["GoMod"]).read_text()
    staging = "v0." + version.split(".", 1)[1]
    lines = ["module recorder", "", "go " + upstream.split("\ngo ", 1)[1].split("\n", 1)[0], ""]
    lines += [f"require k8s.io/kubernetes v{version}", "", "replace ("]
    lines += [f"\t{name} => {name} {staging}" for name in STAGING.findall(upstream)]
    (module / "go.mod").write_text("\n".join([*lines, ")", ""]))
    major, minor, _patch = version.split(".")
    package = "k8s.io/component-base/version"
    stamps = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor}
    stamps["gitTreeState"] = "clean"
    flags = " ".join(f"-X {package}.{name}={value}" for name, value in stamps.items())
    go(
        *("build", "-trimpath", "-ldflags", f"-s -w {flags}", "-o", str(binary)),
        f"k8s.io/kubernetes/cmd/{command}",
    )
    return binary


class Server:
    """A running kube-apiserver and a JSON client of it; a context manager that stops it."""

    def __init__(self, binary: Path, folder: Path, *, etcd: str, port: int, encryption: Path):
        self.folder = folder
        self.url = f"https://127.0.0.1:{port}"
        self._token = "recorder-token"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokens.csv").write_text(f"{self._token},recorder,recorder,system:masters\n")
        key, public = folder / "sa.key", folder / "sa.pub"
        if not key.exists():
            subprocess.run(
                ["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True
            )
            subprocess.run(
                ["openssl", "rsa", "-in", str(key), "-pubout", "-out", str(public)],
                check=True,
                capture_output=True,
            )
        self._arguments = [
            str(binary),
            f"--etcd-servers={etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=10.11.0.11",
            f"--secure-port={port}",
            f"--cert-dir={folder / 'served'}",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--service-cluster-ip-range=10.96.0.0/12",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={public}",
            f"--service-account-signing-key-file={key}",
            f"--encryption-provider-config={encryption}",
            "--allow-privileged=true",
            "--etcd-compaction-interval=0",
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        with (self.folder / "kube-apiserver.log").open("ab") as log:
            self._process = subprocess.Popen(self._arguments, stdout=log, stderr=log)
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_rest: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def _wait_until_ready(self, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                break
            try:
                self.call("GET", "/readyz")
            except OSError:
                time.sleep(0.5)
            else:
                return
        log = (self.folder / "kube-apiserver.log").read_text(errors="replace")
        raise RuntimeError(f"kube-apiserver was not ready in {seconds:g} s:\n{log[-4000:]}")

    def call(self, method: str, path: str, body: object = None, *, patch: bool = False) -> t.Any:
        """Send one request; return the decoded JSON, or text. Raise HTTPError with its body."""
        content = "application/merge-patch+json" if patch else "application/json"
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": content},
        )
        # the server made its own certificate a moment ago, on this machine's loopback
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            with urllib.request.urlopen(request, context=context, timeout=30) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as exc:
            if path == "/readyz":
                raise
            raise RuntimeError(f"{method} {path}: {exc.code} {exc.read().decode()}") from exc
        return json.loads(text) if text.startswith("{") else text
