# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which running program was told of which file, and when it was started."""

from __future__ import annotations

import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._node import processes

FLAGS = {"kube-scheduler": ("kubeconfig",), "etcd": ("trusted-ca-file",)}


@pytest.fixture
def start() -> t.Iterator[t.Callable[..., int]]:
    """Start a process under another program's name, and wait until it runs."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(name: str, *words: str) -> int:
        argv = [name, "-c", "print(flush=True); import time; time.sleep(600)", *words]
        process = subprocess.Popen(argv, executable=sys.executable, stdout=subprocess.PIPE)
        running.append(process)
        assert process.stdout is not None
        process.stdout.read(1)
        return process.pid

    yield begin
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "scheduler.conf"
    path.write_text("kind: Config\n")
    return path


@pytest.mark.parametrize("form", ["--kubeconfig={}", "-kubeconfig={}", "--kubeconfig {}"])
def test_find_started_program_is_known_by_its_flag_and_file(
    start: t.Callable[..., int], file: Path, form: str
) -> None:
    pid = start("kube-scheduler", *form.format(file).split())
    [found] = processes.find_started(FLAGS, [str(file)])[str(file)]
    assert (found.component, found.pid, found.flag) == ("kube-scheduler", pid, "kubeconfig")
    assert abs(found.started_at - time.time()) < 300


def test_find_started_file_is_what_the_process_finds_not_how_it_is_called(
    start: t.Callable[..., int], file: Path
) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    pid = start("kube-scheduler", f"--kubeconfig={link}")
    [found] = processes.find_started(FLAGS, [str(file)])[str(file)]
    assert found.pid == pid


def test_find_started_passes_over_other_programs_files_and_flags(
    start: t.Callable[..., int], file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.conf"
    other.write_text("kind: Config\n")
    start("kube-scheduler", f"--kubeconfig={other}")
    start("kube-scheduler", f"--config={file}")
    start("another-program", f"--kubeconfig={file}")
    start("etcd", f"--kubeconfig={file}")
    start("kube-scheduler", f"--kubeconfig={tmp_path}/nowhere")
    assert processes.find_started(FLAGS, [str(file)]) == {}
