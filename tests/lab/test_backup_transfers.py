# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd_fetch over real ssh: by sftp, by scp, in slices; in constant memory, with become too."""

from __future__ import annotations

import contextlib
import time
import typing as t
from pathlib import Path

import pytest
import yaml

from lab.backup_run import Bastion, Running, bastion, left_on
from lab.hosts.host import Host
from lab.hosts.lab import Lab

BIG_MIB = 300
LARGEST_GROWTH_KIB = 40 << 10


@pytest.fixture(scope="module")
def fetcher(lab: Lab) -> t.Iterator[Bastion]:
    with bastion(lab) as found:
        yield found


@pytest.fixture(scope="module")
def scratch(lab: Lab) -> t.Iterator[Host]:
    host = lab.host("scratch")
    yield host
    host.exec(["sh", "-c", "rm -f /srv/blob-*"])


def blob(host: Host, name: str, mib: int, *, owner: str = "root") -> tuple[str, str]:
    """Make a file that doesn't compress, its owner's alone; return path and sha256."""
    path = f"/srv/blob-{name}"
    make = f"umask 077; head -c {mib}M /dev/urandom > {path}; chown {owner} {path}"
    shown = host.exec(["sh", "-c", f"{make}; sha256sum {path}"]).stdout.decode()
    return path, shown.split()[0]


def fetch(fetcher: Bastion, src: str, dest: Path, *, become: bool, **variables: t.Any) -> Running:
    """Start a play that fetches one file from the scratch host."""
    playbook = fetcher.folder / "fetch.yml"
    task = {
        "name": "Fetch it",
        "controlplane.etcd.etcd_fetch": {"src": src, "dest": str(dest)},
        "vars": {"ansible_become": become},
    }
    play = {"name": "Fetch", "hosts": "scratch", "gather_facts": False, "tasks": [task]}
    playbook.write_text(yaml.safe_dump([play]))
    return fetcher.begin(str(playbook), "-vvv", **variables)


def transfers(output: str) -> list[str]:
    """Return the commands that carried files from the host, as -vvv shows them."""
    lines = [line for line in output.splitlines() if "SSH: EXEC" in line]
    return [line for line in lines if "EXEC sftp" in line or "EXEC scp" in line]


@contextlib.contextmanager
def without_sftp(host: Host) -> t.Iterator[None]:
    """Have an sshd that knows no sftp; today's scp speaks nothing else."""
    config = "/etc/ssh/sshd_config"
    host.exec(["sed", "-i.kept", "s/^Subsystem/#Subsystem/", config])
    host.exec(["systemctl", "restart", "ssh"])
    try:
        yield
    finally:
        host.exec(["mv", f"{config}.kept", config])
        host.exec(["systemctl", "restart", "ssh"])


@pytest.mark.parametrize("become", [False, True], ids=["user", "become"])
def test_big_file_takes_no_memory_on_the_controller(
    fetcher: Bastion, scratch: Host, become: bool, tmp_path: Path
) -> None:
    peaks = {}
    for mib in (1, BIG_MIB):
        owner = "root" if become else "ops"
        path, digest = blob(scratch, f"{mib}-{owner}", mib, owner=owner)
        target = tmp_path / f"{mib}"
        running = fetch(fetcher, path, target, become=become)
        peak = 0
        while running.process.poll() is None:
            peak = max(peak, running.peak_kib())
            time.sleep(0.05)
        done = running.wait()
        assert done.code == 0, done.output
        assert f'"sha256": "{digest}"' in done.output
        assert target.stat().st_size == mib << 20
        assert target.stat().st_mode & 0o777 == 0o600
        peaks[mib] = peak
    assert peaks[BIG_MIB] - peaks[1] < LARGEST_GROWTH_KIB, peaks
    assert left_on(scratch) == ""


@pytest.mark.parametrize("method", ["sftp", "scp", "smart"])
def test_transfer_has_its_own_uncompressed_connection(
    fetcher: Bastion, scratch: Host, method: str, tmp_path: Path
) -> None:
    path, digest = blob(scratch, method, 3)
    target = tmp_path / "blob"
    done = fetch(fetcher, path, target, become=True, ansible_ssh_transfer_method=method).wait()
    assert done.code == 0, done.output
    assert f'"sha256": "{digest}"' in done.output
    commands = [line for line in transfers(done.output) if str(target) in line or "sftp" in line]
    carried = [line for line in commands if "Compression=no" in line]
    assert carried, done.output
    for line in carried:
        assert " -C " not in line
        assert "ControlMaster=no" in line
        assert f"EXEC {'sftp' if method == 'smart' else method} " in line
    assert left_on(scratch) == ""


def test_host_without_sftp_is_fetched_from_in_slices(
    fetcher: Bastion, scratch: Host, tmp_path: Path, reliability: t.Callable[..., None]
) -> None:
    path, digest = blob(scratch, "slices", 9)
    target = tmp_path / "blob"
    with without_sftp(scratch):
        # modules travel by pipes, as a user of such hosts has it set
        done = fetch(fetcher, path, target, become=True, ansible_pipelining=True).wait()
    assert done.code == 0, done.output
    assert f'"sha256": "{digest}"' in done.output
    assert target.stat().st_size == 9 << 20
    assert left_on(scratch) == ""
    reliability("a host whose sshd has no sftp", "fetched in slices", area="ssh")
