# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd_drill with a wrong archive, a poor scratch node, and parts of it killed: never a passed drill.

After each: no process, no file, no clear byte, no key.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import threading
import typing as t
from pathlib import Path

import pyrage.x25519
import pytest

from lab import binaries, objects, versions
from lab.archived import ask
from lab.delivered import Delivery, image_of
from lab.drilled import drilled, leavings, result_of

if t.TYPE_CHECKING:
    from conftest import Reliability

PLANTED = [b"a value after it", *(text.encode() for text in objects.planted_forms())]
AREA = "drill"
ETCD = versions.ETCD_DEFAULT


@pytest.fixture
def delivery(shelf: t.Any, tmp_path: Path) -> Delivery:
    return t.cast("Delivery", shelf.delivery(tmp_path))


@pytest.fixture
def open_dir() -> t.Iterator[Path]:
    """A folder whose programs the cage's user can run, unlike those in root's own cache."""
    path = Path(
        subprocess.check_output(
            ["mktemp", "-d", "/var/tmp/etcd-drill-tools-XXXXXX"], text=True
        ).strip()
    )
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def drill(delivery: Delivery, work_dir: Path, **more: t.Any) -> dict[str, t.Any]:
    return ask("etcd_drill", work_dir=str(work_dir), **delivery.options(**more))


def nothing_left(delivery: Delivery, work_dir: Path) -> None:
    assert delivery.gone
    assert leavings(work_dir, planted=PLANTED) == []


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def real(name: str, into: Path) -> Path:
    """Return a copy of a real program where the cage's user can run it."""
    found = binaries.get(ETCD)
    return Path(
        shutil.copy(found.etcd if name == "etcd" else found.snapshot_tool, into / f"{name}.real")
    )


def tool(name: str, path: str | Path) -> dict[str, t.Any]:
    return {"tools": [{"name": name, "path": str(path)}]}


# -- a wrong archive: the drill fails, the module tells so ------------------------------------------


def flipped(image: bytes, at: int) -> bytes:
    return image[:at] + bytes([image[at] ^ 0x20]) + image[at + 1 :]


def with_trailer(image: bytes) -> bytes:
    return image[:-32] + hashlib.sha256(image[:-32]).digest()


DAMAGED: dict[str, t.Callable[[bytes], bytes]] = {
    "cut in half": lambda image: image[: len(image) // 2],
    "one byte flipped": lambda image: flipped(image, image.index(PLANTED[0])),
    "one byte flipped, and the trailer made to fit": lambda image: with_trailer(
        flipped(image, image.index(PLANTED[0]))
    ),
    "nothing": lambda image: b"",
    "no database": lambda image: os.urandom(65536),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_image_is_a_failed_drill(
    damage: str, shelf: t.Any, work_dir: Path, tmp_path: Path, reliability: Reliability
) -> None:
    image = DAMAGED[damage](image_of(shelf.entry(), shelf.keys))
    delivery = shelf.delivery(tmp_path, image=image)
    record = drilled(drill(delivery, work_dir))
    assert record["verdict"] == "failed" and record["reason"]
    assert "start" not in [phase["name"] for phase in record["phases"]]
    nothing_left(delivery, work_dir)
    reliability(
        f"a drill of an image with {damage}", "verdict failed", area=AREA, message=record["reason"]
    )


def test_another_entrys_image_is_a_failed_drill(
    shelf: t.Any, work_dir: Path, tmp_path: Path, reliability: Reliability
) -> None:
    other = image_of(shelf.entry(ETCD, "empty"), shelf.keys)
    delivery = shelf.delivery(tmp_path, image=other)
    record = drilled(drill(delivery, work_dir))
    assert record["verdict"] == "failed" and "sha256" in record["reason"]
    nothing_left(delivery, work_dir)
    reliability(
        "a drill of another entry's image", "verdict failed", area=AREA, message=record["reason"]
    )


def test_a_damaged_sealed_file_is_a_failed_drill(
    delivery: Delivery, work_dir: Path, reliability: Reliability
) -> None:
    path = delivery.folder / "data.db.zst.age"
    data = path.read_bytes()
    path.write_bytes(flipped(data, len(data) - 100))
    record = drilled(drill(delivery, work_dir))
    assert record["verdict"] == "failed"
    nothing_left(delivery, work_dir)
    reliability(
        "a drill of a sealed file with a byte flipped",
        "verdict failed",
        area=AREA,
        message=record["reason"],
    )


WRONG_FIGURES: dict[str, t.Callable[[dict[str, t.Any]], None]] = {
    "revision": lambda m: m["snapshot"].update(revision=m["snapshot"]["revision"] + 1),
    "hash_kv": lambda m: m["snapshot"].update(hash_kv="00000000"),
    "compact_revision": lambda m: m["snapshot"].update(compact_revision=1),
    "key_count": lambda m: m["snapshot"].update(key_count=1),
    "objects": lambda m: m["kubernetes"]["resources"].update(pods=1, configmaps=1),
    "secrets": lambda m: m["kubernetes"].update(secrets={"identity": 7}),
}


@pytest.mark.parametrize("figure", WRONG_FIGURES)
def test_a_manifest_of_other_data_is_a_failed_drill(
    figure: str, shelf: t.Any, work_dir: Path, tmp_path: Path, reliability: Reliability
) -> None:
    manifest = json.loads((shelf.entry() / "manifest.json").read_text())
    WRONG_FIGURES[figure](manifest)
    delivery = shelf.delivery(tmp_path, manifest=manifest)
    record = drilled(drill(delivery, work_dir))
    assert record["verdict"] == "failed"
    assert result_of(record, figure) == "failed"
    assert result_of(record, "canary") == "passed"
    nothing_left(delivery, work_dir)
    reliability(
        f"a manifest whose {figure} is another",
        "verdict failed",
        area=AREA,
        message=record["reason"],
    )


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        ("data.replace(b'a value after it', b'A value after it')", "hash_kv_newest"),
        (
            "data.replace(b'/configmaps/default/later', b'/configmaps/default/latex')",
            "hash_kv_newest",
        ),
    ],
    ids=["value", "name"],
)
def test_what_is_changed_after_the_restore_is_caught(
    change: str,
    failed: str,
    delivery: Delivery,
    work_dir: Path,
    open_dir: Path,
    reliability: Reliability,
    request: pytest.FixtureRequest,
) -> None:
    """Only what the running etcd itself says can tell: image and manifest are right."""
    utl = real("etcdutl", open_dir)
    flip = open_dir / "flip.py"
    flip.write_text(
        "import sys, pathlib\n"
        "for word in sys.argv:\n"
        "    if word.startswith('--data-dir='):\n"
        "        path = pathlib.Path(word.partition('=')[2]) / 'member/snap/db'\n"
        f"        data = path.read_bytes(); new = {change}\n"
        "        assert new != data and len(new) == len(data); path.write_bytes(new)\n"
    )
    wrapper = script(
        open_dir / "etcdutl",
        f'{utl} "$@" || exit 1\ncase "$*" in *--data-dir=*) python3 {flip} "$@";; esac',
    )
    record = drilled(drill(delivery, work_dir, **tool("etcdutl", wrapper)))
    assert record["verdict"] == "failed"
    assert result_of(record, failed) == "failed"
    assert result_of(record, "image_sha256") == "passed"
    nothing_left(delivery, work_dir)
    what = request.node.callspec.id
    reliability(
        f"a key's {what} changed in the data folder after the restore",
        "verdict failed: HashKV",
        area=AREA,
        message=record["reason"],
    )


# -- etcd and its tool ------------------------------------------------------------------------------


STARTS = {
    "ends at once": (
        "echo 'panic: it is broken' >&2; exit 3",
        "ended with status 3",
        "it is broken",
    ),
    "is ended by a fault of its own": ("kill -SEGV $$", "signal 11", ""),
}


@pytest.mark.parametrize("how", STARTS)
def test_an_etcd_that_does_not_serve_is_a_failed_drill(
    how: str, delivery: Delivery, work_dir: Path, open_dir: Path, reliability: Reliability
) -> None:
    etcd = real("etcd", open_dir)
    does, told, said = STARTS[how]
    wrapper = script(open_dir / "etcd", f'[ "$*" = --version ] && exec {etcd} --version\n{does}')
    record = drilled(drill(delivery, work_dir, start_timeout="2s", **tool("etcd", wrapper)))
    assert record["verdict"] == "failed"
    assert told in record["reason"] and said in record["reason"]
    nothing_left(delivery, work_dir)
    reliability(
        f"an etcd that {how} on the restored data",
        "verdict failed",
        area=AREA,
        message=record["reason"],
    )


def test_a_restore_that_refuses_is_a_failed_drill(
    delivery: Delivery, work_dir: Path, open_dir: Path, reliability: Reliability
) -> None:
    wrapper = restoring(open_dir, "echo 'Error: it is broken' >&2; exit 1")
    record = drilled(drill(delivery, work_dir, **tool("etcdutl", wrapper)))
    assert record["verdict"] == "failed" and "it is broken" in record["reason"]
    nothing_left(delivery, work_dir)
    reliability("an etcdutl that refuses", "verdict failed", area=AREA, message=record["reason"])


def restoring(into: Path, does: str) -> str:
    """Return an etcdutl that does something else in place of a restore."""
    utl = real("etcdutl", into)
    return script(into / "etcdutl", f'case "$*" in *--data-dir=*) {does};; esac\nexec {utl} "$@"')


HANGS = {
    "etcd at its start": "exec sleep 600",
    "etcd once it listens": (
        '(until grep -q :094B /proc/net/tcp; do sleep 0.02; done; kill -STOP $$) & exec {etcd} "$@"'
    ),
}


@pytest.mark.parametrize("what", HANGS)
def test_an_etcd_that_hangs_proves_nothing(
    what: str, delivery: Delivery, work_dir: Path, open_dir: Path, reliability: Reliability
) -> None:
    """It may be the archive, it may be a slow host: no proof either way."""
    etcd = real("etcd", open_dir)
    does = HANGS[what].format(etcd=etcd)
    wrapper = script(open_dir / "etcd", f'[ "$*" = --version ] && exec {etcd} --version\n{does}')
    answer = drill(delivery, work_dir, start_timeout="2s", **tool("etcd", wrapper))
    said = refused(answer, "cage_refused")
    assert "does not serve" in said and "start_timeout" in said
    nothing_left(delivery, work_dir)
    reliability(f"a hang of {what}", "refused, nothing proven", area=AREA, message=said)


def test_a_restore_that_hangs_proves_nothing(
    delivery: Delivery, work_dir: Path, open_dir: Path, reliability: Reliability
) -> None:
    wrapper = restoring(open_dir, "exec sleep 600")
    answer = drill(delivery, work_dir, start_timeout="2s", **tool("etcdutl", wrapper))
    said = refused(answer, "cage_refused")
    assert "start_timeout" in said
    nothing_left(delivery, work_dir)
    reliability("an etcdutl that hangs", "refused, nothing proven", area=AREA, message=said)


def refused(answer: dict[str, t.Any], kind: str) -> str:
    """Have a module say that nothing was proven; return what it says."""
    assert answer.get("failed") and "drill" not in answer, answer
    assert answer["error"]["kind"] == kind, answer
    assert answer["error"]["hint"]
    return str(answer["msg"])


UNUSABLE: dict[str, t.Callable[[Delivery, Path], dict[str, t.Any]]] = {
    "is missing": lambda delivery, _dir: (delivery.folder / "tools" / "etcdutl").unlink() or {},
    "has a byte flipped": lambda delivery, _dir: _flip_tool(delivery) or {},
    "is named, and not there": lambda _delivery, into: tool("etcd", into / "none"),
    "is named, and of another sha256": lambda _delivery, into: {
        "tools": [{"name": "etcd", "path": str(binaries.get(ETCD).etcd), "sha256": "0" * 64}]
    },
    "is of another minor": lambda _delivery, _dir: tool("etcd", binaries.get("3.5").etcd),
    "restores as another minor does": lambda _delivery, _dir: tool(
        "etcdutl", binaries.get("3.5").snapshot_tool
    ),
    "is no etcd": lambda _delivery, into: tool("etcd", script(into / "etcd", "exit 1")),
    "is no program": lambda _delivery, into: tool(
        "etcd", (into / "text", (into / "text").write_text("x"))[0]
    ),
}


def _flip_tool(delivery: Delivery) -> None:
    path = delivery.folder / "tools" / "etcd"
    path.write_bytes(flipped(path.read_bytes(), 1000))


@pytest.mark.parametrize("what", UNUSABLE)
def test_a_program_that_cannot_be_used_proves_nothing(
    what: str, delivery: Delivery, work_dir: Path, open_dir: Path, reliability: Reliability
) -> None:
    more = UNUSABLE[what](delivery, open_dir)
    said = refused(drill(delivery, work_dir, **more), "tool_unusable")
    nothing_left(delivery, work_dir)
    reliability(
        f"a drill with a program that {what}", "refused, nothing proven", area=AREA, message=said
    )


# -- a poor scratch node ----------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(mib: int, *options: str) -> t.Iterator[Path]:
    """Mount a file system of that size."""
    name = subprocess.check_output(
        ["mktemp", "-d", "/var/tmp/etcd-drill-disk-XXXXXX"], text=True
    ).strip()
    words = ",".join([f"size={mib}m", "mode=755", *options])
    subprocess.run(["mount", "-t", "tmpfs", "-o", words, "drill", name], check=True)
    try:
        yield Path(name)
    finally:
        subprocess.run(["umount", "-l", name], check=True)
        Path(name).rmdir()


def test_a_disk_with_no_room_is_refused(delivery: Delivery, reliability: Reliability) -> None:
    with small_disk(100) as disk:
        said = refused(drill(delivery, disk), "space_missing")
        assert list(disk.iterdir()) == []
    assert delivery.gone and str(disk) in said
    reliability("a scratch node with no room", "refused, nothing proven", area=AREA, message=said)


def test_a_disk_that_fills_up_is_no_verdict(
    delivery: Delivery, open_dir: Path, reliability: Reliability
) -> None:
    program = real("etcdutl", open_dir)
    with small_disk(400) as disk:
        fill = f"dd if=/dev/zero of={disk}/filler bs=64k 2>/dev/null"
        wrapper = script(
            open_dir / "etcdutl", f'case "$*" in *--data-dir=*) {fill};; esac\nexec {program} "$@"'
        )
        said = refused(drill(delivery, disk, **tool("etcdutl", wrapper)), "space_missing")
        (disk / "filler").unlink()
        assert leavings(disk) == [] and list(disk.iterdir()) == []
    assert delivery.gone
    reliability(
        "a disk that fills up during a drill", "refused, nothing proven", area=AREA, message=said
    )


HOST_SAYS = {
    "no space left on device": "space_missing",
    "permission denied": "cage_refused",
    "cannot allocate memory": "cage_refused",
}


@pytest.mark.parametrize("words", HOST_SAYS)
def test_what_the_host_refuses_etcd_is_no_verdict(
    words: str, delivery: Delivery, work_dir: Path, open_dir: Path, reliability: Reliability
) -> None:
    etcd = real("etcd", open_dir)
    does = f"echo 'panic: write /data/member/wal/0.wal: {words}' >&2; exit 2"
    wrapper = script(open_dir / "etcd", f'[ "$*" = --version ] && exec {etcd} --version\n{does}')
    said = refused(drill(delivery, work_dir, **tool("etcd", wrapper)), HOST_SAYS[words])
    nothing_left(delivery, work_dir)
    reliability(
        f"an etcd that ends with {words}", "refused, nothing proven", area=AREA, message=said
    )


def test_a_program_that_the_cages_user_cannot_run_is_no_verdict(
    delivery: Delivery, work_dir: Path, open_dir: Path, reliability: Reliability
) -> None:
    """As root it answers; then its interpreter is closed to others."""
    shell = Path(shutil.copy("/bin/sh", open_dir / "sh"))
    shell.chmod(0o700)
    wrapper = open_dir / "etcd"
    wrapper.write_text(f"#!{shell}\nexec {binaries.get(ETCD).etcd} --version\n")
    wrapper.chmod(0o755)
    said = refused(drill(delivery, work_dir, **tool("etcd", wrapper)), "cage_refused")
    nothing_left(delivery, work_dir)
    assert "Permission denied" in said
    reliability(
        "an etcd that the drill's own user may not run",
        "refused, nothing proven",
        area=AREA,
        message=said,
    )


def test_a_work_folder_that_runs_no_programs_is_refused(
    delivery: Delivery, reliability: Reliability
) -> None:
    with small_disk(400, "noexec") as disk:
        said = refused(drill(delivery, disk), "cage_refused")
        assert list(disk.iterdir()) == []
    assert delivery.gone and "noexec" in said
    reliability("a work folder mounted noexec", "refused, nothing proven", area=AREA, message=said)


def test_a_work_folder_that_others_cannot_get_to_is_refused(
    delivery: Delivery, work_dir: Path, reliability: Reliability
) -> None:
    work_dir.chmod(0o700)
    said = refused(drill(delivery, work_dir), "cage_refused")
    nothing_left(delivery, work_dir)
    assert str(work_dir) in said
    reliability(
        "a work folder that is closed to others", "refused, nothing proven", area=AREA, message=said
    )


def test_a_host_that_allows_no_namespaces_is_refused(
    delivery: Delivery, work_dir: Path, reliability: Reliability
) -> None:
    limits = 'echo 0 > /proc/sys/user/max_net_namespaces; exec "$@"'
    prefix = ["unshare", "--user", "--map-root-user", "sh", "-c", limits, "-"]
    answer = _run(prefix, delivery, work_dir)
    said = refused(answer, "cage_refused")
    nothing_left(delivery, work_dir)
    reliability(
        "a host that allows no namespaces", "refused, nothing proven", area=AREA, message=said
    )


def test_without_the_right_to_make_networks_it_goes_through_a_user_namespace(
    delivery: Delivery, work_dir: Path
) -> None:
    prefix = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
    record = drilled(_run(prefix, delivery, work_dir, isolation="namespace"))
    assert (record["verdict"], record["reason"]) == ("passed", "")
    nothing_left(delivery, work_dir)


def _run(
    prefix: t.Sequence[str], delivery: Delivery, work_dir: Path, **more: t.Any
) -> dict[str, t.Any]:
    from lab.module import run_module

    options = delivery.options(work_dir=str(work_dir), **more)
    return run_module("etcd_drill", options, prefix=prefix)


def test_systemd_where_there_is_none_is_refused(delivery: Delivery, work_dir: Path) -> None:
    if Path("/run/systemd/system").is_dir():
        pytest.skip("systemd runs on this machine")
    refused(drill(delivery, work_dir, isolation="systemd"), "cage_refused")
    nothing_left(delivery, work_dir)


def test_taken_ports_do_not_matter(
    delivery: Delivery, work_dir: Path, reliability: Reliability
) -> None:
    with contextlib.ExitStack() as stack:
        for port in (2379, 2380):
            # Another test's etcd may be there: all the better.
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
        record = drilled(drill(delivery, work_dir))
    assert record["verdict"] == "passed"
    reliability("a scratch node whose etcd ports are taken", "the drill passes", area=AREA)


def test_two_drills_at_once_do_not_meet(shelf: t.Any, work_dir: Path, tmp_path: Path) -> None:
    deliveries = [shelf.delivery(tmp_path), shelf.delivery(tmp_path, ETCD, "empty")]
    records: list[dict[str, t.Any]] = []
    threads = [
        threading.Thread(target=lambda each=each: records.append(drilled(drill(each, work_dir))))
        for each in deliveries
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [record["verdict"] for record in records] == ["passed", "passed"]
    assert leavings(work_dir) == []


def test_a_wrong_key_proves_nothing(
    delivery: Delivery, work_dir: Path, reliability: Reliability
) -> None:
    delivery.identity.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    said = refused(drill(delivery, work_dir), "key_missing")
    nothing_left(delivery, work_dir)
    reliability(
        "a delivery whose key is another one",
        "refused, nothing proven",
        area=AREA,
        message=said,
    )


def test_a_manifest_that_is_none_is_refused(
    delivery: Delivery, work_dir: Path, reliability: Reliability
) -> None:
    path = delivery.folder / "manifest.json"
    path.write_bytes(path.read_bytes()[:1000])
    said = refused(drill(delivery, work_dir), "manifest_invalid")
    nothing_left(delivery, work_dir)
    reliability(
        "a delivered manifest that is cut off", "refused, nothing proven", area=AREA, message=said
    )


def test_only_a_delivery_is_removed(delivery: Delivery, work_dir: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    refused(
        ask("etcd_drill", delivery=str(precious), identity=str(tmp_path / "key")), "option_invalid"
    )
    assert precious.is_dir()
    own = tmp_path / "identity"
    own.write_text("AGE-SECRET-KEY-1 of somebody\n")
    refused(ask("etcd_drill", delivery=str(delivery.folder), identity=str(own)), "option_invalid")
    assert own.exists() and delivery.folder.is_dir()


def test_a_delivery_that_is_gone_is_refused(delivery: Delivery, work_dir: Path) -> None:
    assert drilled(drill(delivery, work_dir))["verdict"] == "passed"
    refused(drill(delivery, work_dir), "option_invalid")
