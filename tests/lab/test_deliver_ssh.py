# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd_deliver over real ssh, to a host that has nothing: with become and without, cut off, in slices."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml

from lab.backup_run import Bastion, Run, left_of_ours, left_on
from lab.hosts.host import Host
from lab.hosts.lab import Lab

Delivered = dict[str, t.Any]
AREA = "deliver"
# More than modules and shared connections carry, less than etcd's own program.
MID_STREAM = 8_000_000


@pytest.fixture(scope="module")
def keeper(lab: Lab, first_backup: tuple[Bastion, Run]) -> Bastion:
    """The bastion with its archive; the scratch host has the modules' environment."""
    found, _run = first_backup
    playbook = found.folder / "runtime.yml"
    role = {"ansible.builtin.import_role": {"name": "controlplane.etcd.etcd_runtime"}}
    play = {"name": "Runtime", "hosts": "scratch", "gather_facts": False, "become": True}
    playbook.write_text(yaml.safe_dump([{**play, "tasks": [{"name": "Make it", **role}]}]))
    run = found.play(str(playbook))
    assert run.code == 0, run.output
    return found


@pytest.fixture(scope="module")
def scratch(lab: Lab) -> Host:
    return lab.host("scratch")


def written(keeper: Bastion, *, become: bool, **changes: t.Any) -> Path:
    """Write a play that delivers to the scratch host and tells what the module answered."""
    options = {
        "archive": str(keeper.archive),
        "etcd_cluster": "alpha",
        "signing_key": str(keeper.signing_key),
        "identities": [str(keeper.identity)],
        **changes,
    }
    told = keeper.folder / "told.json"
    told.unlink(missing_ok=True)
    tasks = [
        {
            "name": "Deliver",
            "controlplane.etcd.etcd_deliver": options,
            "register": "delivered",
            "ignore_errors": True,
            "ignore_unreachable": True,
        },
        {
            "name": "Tell",
            "ansible.builtin.copy": {"content": "{{ delivered | to_json }}", "dest": str(told)},
            "delegate_to": "localhost",
            "become": False,
        },
    ]
    play = {"name": "Deliver", "hosts": "scratch", "gather_facts": False, "become": become}
    playbook = keeper.folder / "deliver.yml"
    playbook.write_text(yaml.safe_dump([{**play, "tasks": tasks}]))
    return playbook


def deliver(
    keeper: Bastion,
    *,
    become: bool = True,
    words: t.Sequence[str] = (),
    variables: dict[str, t.Any] | None = None,
    **changes: t.Any,
) -> tuple[Delivered, str]:
    """Deliver to the scratch host; return what the module answered, and all that was shown."""
    playbook = written(keeper, become=become, **changes)
    done = keeper.play(str(playbook), *words, **(variables or {}))
    told = keeper.folder / "told.json"
    assert told.exists(), done.output
    return json.loads(told.read_text()), done.output


def remove(keeper: Bastion, delivered: Delivered, *, become: bool = True) -> None:
    answer, output = deliver(keeper, become=become, state="absent", delivery=delivered["delivery"])
    assert answer.get("changed"), output


def listing(host: Host, folder: str) -> dict[str, tuple[str, str]]:
    """Return mode and owner of all that lies below a folder."""
    shown = host.exec(["find", folder, "-printf", "%P %m %u\\n"]).stdout.decode()
    return {
        name: (mode, user) for name, mode, user in (line.split(" ") for line in shown.splitlines())
    }


def opened(host: Host, delivered: Delivered, name: str, tmp_path: Path) -> bytes:
    """Open a delivered file as anybody could, with the one-time key."""
    for key, path in (("key", delivered["identity"]), ("file", f"{delivered['delivery']}/{name}")):
        (tmp_path / key).write_bytes(host.exec(["cat", path]).stdout)
    script = 'age -d -i "$1" "$2" | zstd -d -c'
    argv = [
        "bash",
        "-o",
        "pipefail",
        "-c",
        script,
        "_",
        str(tmp_path / "key"),
        str(tmp_path / "file"),
    ]
    return subprocess.run(argv, capture_output=True, check=True).stdout


def test_delivery_is_roots_alone_and_opens_there_only(
    keeper: Bastion, scratch: Host, tmp_path: Path
) -> None:
    answer, output = deliver(
        keeper, parts=["data", "encryption"], tools=["etcd", "etcdutl"], words=["-vvv"]
    )
    assert answer.get("changed"), output
    entry = keeper.entries("alpha")[-1]
    assert answer["entry"]["id"] == entry.name
    manifest = keeper.manifest(entry)
    found = listing(scratch, answer["delivery"])
    assert found == {
        "": ("700", "root"),
        ".owner.json": ("600", "root"),
        "manifest.json": ("600", "root"),
        "catalog.json.zst.age": ("600", "root"),
        "data.db.zst.age": ("600", "root"),
        "encryption.tar.zst.age": ("600", "root"),
        "tools": ("700", "root"),
        "tools/etcd": ("755", "root"),
        "tools/etcdutl": ("755", "root"),
    }
    assert listing(scratch, answer["identity"]) == {"": ("600", "root")}
    kind = scratch.exec(["stat", "-f", "-c", "%T", answer["identity"]]).stdout.decode().strip()
    assert kind == "tmpfs"
    clear = opened(scratch, answer, "data.db.zst.age", tmp_path)
    assert hashlib.sha256(clear[:-32]).hexdigest() == manifest["snapshot"]["sha256"]
    assert opened(scratch, answer, "encryption.tar.zst.age", tmp_path)
    said = scratch.exec([f"{answer['delivery']}/tools/etcdutl", "version"]).stdout.decode()
    assert manifest["etcd"]["server_version"] in said
    carried = [line for line in output.splitlines() if "EXEC sftp" in line and ".incoming" in line]
    sent = [
        line for line in output.splitlines() if "EXEC sftp" in line and "Compression=no" in line
    ]
    assert sent or carried, output
    identity = keeper.identity.read_text().strip()
    assert identity not in output
    remove(keeper, answer)
    assert left_on(scratch) == ""


def test_delivery_without_become_is_the_users_alone(
    keeper: Bastion, scratch: Host, tmp_path: Path
) -> None:
    answer, output = deliver(keeper, become=False)
    assert answer.get("changed"), output
    assert answer["identity"] == f"{answer['delivery']}/identity"
    found = listing(scratch, answer["delivery"])
    assert set(found.values()) == {("700", "ops"), ("600", "ops")}
    clear = opened(scratch, answer, "data.db.zst.age", tmp_path)
    assert hashlib.sha256(clear[:-32]).hexdigest() == answer["entry"]["sha256"]
    remove(keeper, answer, become=False)
    assert left_on(scratch) == ""


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


def test_host_without_sftp_gets_it_in_slices(
    keeper: Bastion, scratch: Host, reliability: t.Callable[..., None]
) -> None:
    with without_sftp(scratch):
        # modules travel by pipes, as a user of such hosts has it set
        answer, output = deliver(keeper, tools=["etcdutl"], variables={"ansible_pipelining": True})
        assert answer.get("changed"), output
        program = f"{answer['delivery']}/tools/etcdutl"
        shown = scratch.exec(["sha256sum", program]).stdout.decode()
        assert shown.split()[0] == answer["tools"][0]["sha256"]
        absent, output = deliver(
            keeper,
            state="absent",
            delivery=answer["delivery"],
            variables={"ansible_pipelining": True},
        )
    assert absent.get("changed"), output
    assert left_on(scratch) == ""
    reliability("a host to deliver to whose sshd has no sftp", "delivered in slices", area="ssh")


def test_connection_cut_in_mid_stream_leaves_nothing(
    keeper: Bastion, scratch: Host, reliability: t.Callable[..., None]
) -> None:
    scratch.faults.cut_after(22, MID_STREAM)
    try:
        answer, output = deliver(keeper, tools=["etcd"])
    finally:
        scratch.faults.heal()
    assert answer.get("failed"), output
    assert answer["error"]["kind"] == "transfer", output
    assert "The transfer of tools/etcd to scratch was cut off" in answer["msg"]
    assert answer["entry"]["id"] == keeper.entries("alpha")[-1].name
    end_sftp(scratch)
    assert left_on(scratch) == ""
    again, output = deliver(keeper, tools=["etcd"])
    assert again.get("changed"), output
    assert again["plan"]["removed"] == []
    remove(keeper, again)
    reliability(
        "ssh is cut off in the middle of a delivery",
        "refused; nothing is left on the host, and the next run delivers",
        area=AREA,
        message=answer["msg"],
    )


def test_host_lost_for_good_in_mid_stream_is_swept_by_the_next_run(
    keeper: Bastion, scratch: Host, reliability: t.Callable[..., None]
) -> None:
    scratch.faults.slow("4mbit")  # what it acknowledges: enough to be seen in the middle
    found: list[str] = []
    running = None
    try:
        running = keeper.begin(str(written(keeper, become=True, tools=["etcd"])))
        running.until(lambda: incoming(scratch, found), "file on its way")
        with scratch.faults.disconnected():
            running.kill()
    finally:
        scratch.faults.heal()
        if running is not None:
            running.kill()
    (old,) = {name.partition(".incoming")[0] for name in found}
    assert old in left_on(scratch)
    end_sftp(scratch)
    answer, output = deliver(keeper, tools=["etcd"])
    assert answer.get("changed"), output
    assert old in answer["plan"]["removed"]
    remove(keeper, answer)
    assert left_of_ours(scratch) == []
    reliability(
        "controller and host lose each other for good in the middle of a delivery",
        "the next run removes what is left on the host, the key with it",
        area=AREA,
    )


def end_sftp(host: Host) -> None:
    """End the halves of dead connections, as sshd does when it notices, after hours."""
    host.exec(["pkill", "-x", "sftp-server"], check=False)


def incoming(host: Host, found: list[str]) -> bool:
    """Tell whether a file is on its way; put its delivery into `found`."""
    script = "ls -d /var/tmp/controlplane-etcd-delivery-*.incoming/* 2>/dev/null; true"
    shown = host.exec(["sh", "-c", script]).stdout.decode().split()
    found[:] = [name.rpartition("/")[0] for name in shown]
    return bool(found)
