# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's half of a delivery: its folder, its key, what it takes and what it removes."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pyrage
import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils import _deliver
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    OptionInvalid,
    SpaceMissing,
    TransferError,
)

ENTRY = "20261123T145000Z-7c9e1a2b"
LABEL = "3f1c9a02"
OWNER = {"pid": 7, "started_at": "2026-11-23T14:50:00Z"}
MODULE = "ansible_collections.controlplane.etcd.plugins.modules.etcd_deliver"


@pytest.fixture
def begun(tmp_path: Path) -> t.Iterator[_deliver.Begun]:
    made = begin(tmp_path)
    yield made
    _deliver.remove(made.delivery)


def begin(folder: Path, **changes: t.Any) -> _deliver.Begun:
    options = {
        "entry": ENTRY,
        "label": LABEL,
        "owner": OWNER,
        "stage_dir": str(folder),
        "needed_bytes": 1000,
    }
    return _deliver.begin(str(folder), **{**options, **changes})


def send(begun: _deliver.Begun, data: bytes, **changes: t.Any) -> _deliver.Arrival:
    """Lay a file as the connection does; return what was sent."""
    Path(begun.incoming, "0").write_bytes(data)
    sent = {
        "staged": "0",
        "name": "data.db.zst.age",
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "mode": 0o600,
    }
    return _deliver.Arrival(**{**sent, **changes})


def test_begin_makes_a_key_that_opens_what_is_sealed_to_it(begun: _deliver.Begun) -> None:
    lines = Path(begun.identity).read_text().splitlines()
    assert (lines[0], len(lines)) == (f"# {json.dumps(begun.delivery)}", 2)
    identity = pyrage.x25519.Identity.from_str(lines[1])
    assert str(identity.to_public()) == begun.recipient
    if os.geteuid() == 0:
        assert Path(begun.identity).parent == Path("/run/controlplane-etcd")
    for path in (begun.delivery, begun.incoming):
        assert Path(path).stat().st_mode & 0o777 == 0o700
    assert Path(begun.identity).stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_begin_gives_the_incoming_folder_to_the_connections_user(tmp_path: Path) -> None:
    stage = tmp_path / "stage"
    stage.mkdir()
    os.chown(stage, 1234, 1235)
    made = begin(tmp_path, stage_dir=str(stage))
    facts = os.stat(made.incoming)
    assert (facts.st_uid, facts.st_gid) == (1234, 1235)
    assert os.stat(made.delivery).st_uid == 0
    _deliver.remove(made.delivery)


def test_begin_without_room_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(SpaceMissing, match=f"does not fit into {tmp_path} on the host: 1152921"):
        begin(tmp_path, needed_bytes=1 << 60)
    assert list(tmp_path.iterdir()) == []


def test_begin_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        begin(tmp_path, stage_dir="/nowhere")
    assert list(tmp_path.iterdir()) == []


def test_begin_sweeps_keys_whose_delivery_is_gone(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("another user's key lies in the delivery itself")
    made = begin(tmp_path)
    for folder in (made.delivery, made.incoming):
        for name in os.listdir(folder):
            Path(folder, name).unlink()
        os.rmdir(folder)
    assert Path(made.identity).exists()
    second = begin(tmp_path)
    assert not Path(made.identity).exists()
    assert Path(second.identity).exists()
    _deliver.remove(second.delivery)


def test_place_takes_what_came_for_itself(begun: _deliver.Begun) -> None:
    arrivals = [
        send(begun, b"sealed"),
    ]
    Path(begun.incoming, "1").write_bytes(b"tool")
    sha256 = hashlib.sha256(b"tool").hexdigest()
    arrivals.append(_deliver.Arrival("1", "tools/etcd", 4, sha256, 0o755))
    _deliver.place(begun.delivery, arrivals, b'{"id": 1}')
    folder = Path(begun.delivery)
    assert (folder / "data.db.zst.age").read_bytes() == b"sealed"
    assert (folder / "data.db.zst.age").stat().st_mode & 0o777 == 0o600
    assert (folder / "tools" / "etcd").stat().st_mode & 0o777 == 0o755
    assert (folder / "tools").stat().st_mode & 0o777 == 0o700
    assert (folder / "manifest.json").read_bytes() == b'{"id": 1}'
    assert not Path(begun.incoming).exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sha256": "0" * 64}, "data.db.zst.age did not arrive whole on the host: 6 bytes"),
        ({"size_bytes": 7}, "data.db.zst.age did not arrive whole on the host: 6 bytes"),
        ({"staged": "1"}, "data.db.zst.age did not arrive on the host: .*/1: No such file"),
    ],
    ids=["other bytes", "cut off", "not there"],
)
def test_place_refuses_what_is_not_what_was_sent(
    begun: _deliver.Begun, changes: dict[str, t.Any], words: str
) -> None:
    with pytest.raises(TransferError, match=words):
        _deliver.place(begun.delivery, [send(begun, b"sealed", **changes)], b"{}")
    assert not Path(begun.delivery, "manifest.json").exists()


def test_place_follows_no_link(begun: _deliver.Begun, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"sealed")
    arrival = send(begun, b"sealed")
    Path(begun.incoming, "0").unlink()
    Path(begun.incoming, "0").symlink_to(secret)
    with pytest.raises(TransferError, match="data.db.zst.age on the host cannot be read as a reg"):
        _deliver.place(begun.delivery, [arrival], b"{}")
    Path(begun.delivery, "data.db.zst.age").unlink()
    os.mkfifo(Path(begun.incoming, "0"))
    with pytest.raises(TransferError, match="is no regular file"):
        _deliver.place(begun.delivery, [arrival], b"{}")


def test_place_changes_no_file_that_has_another_name(begun: _deliver.Begun, tmp_path: Path) -> None:
    """A link to somebody's file would have its mode and owner changed, too."""
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"sealed")
    theirs.chmod(0o640)
    arrival = send(begun, b"sealed", mode=0o755)
    Path(begun.incoming, "0").unlink()
    os.link(theirs, Path(begun.incoming, "0"))
    with pytest.raises(TransferError, match="data.db.zst.age on the host has other names, too"):
        _deliver.place(begun.delivery, [arrival], b"{}")
    assert theirs.stat().st_mode & 0o777 == 0o640


def test_place_leaves_what_is_not_what_was_sent_as_it_is(begun: _deliver.Begun) -> None:
    arrival = send(begun, b"sealed", mode=0o755, sha256="0" * 64)
    Path(begun.incoming, "0").chmod(0o640)
    with pytest.raises(TransferError, match="did not arrive whole"):
        _deliver.place(begun.delivery, [arrival], b"{}")
    assert Path(begun.delivery, "data.db.zst.age").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "name", ["../up", "/etc/passwd", "a/b/c", ".owner.json", "", "tools/", "tools/..", "a\nb"]
)
def test_names_stay_inside_the_delivery(begun: _deliver.Begun, name: str) -> None:
    with pytest.raises(OptionInvalid, match="cannot be the name of a delivered file"):
        _deliver.place(begun.delivery, [send(begun, b"x", name=name)], b"{}")
    with pytest.raises(OptionInvalid, match="cannot be the name of a delivered file"):
        _deliver.write_slice(begun.delivery, name, 0, "")


def test_slices_make_the_file_and_cut_off_what_a_broken_transfer_left(
    begun: _deliver.Begun,
) -> None:
    Path(begun.incoming, "0").write_bytes(b"?" * 100)
    for offset, piece in ((0, b"abc"), (3, b"defg")):
        _deliver.write_slice(begun.delivery, "0", offset, base64.b64encode(piece).decode())
    assert Path(begun.incoming, "0").read_bytes() == b"abcdefg"


@pytest.mark.parametrize("path", ["/", "/var/tmp", "/etc", "relative", "/var/tmp/other-x"])
def test_remove_touches_nothing_but_deliveries(path: str) -> None:
    with pytest.raises(OptionInvalid, match="is not the folder of a delivery"):
        _deliver.remove(path)


def test_remove_follows_no_link(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    link = tmp_path / f"controlplane-etcd-delivery-{ENTRY}-{LABEL}-00000000"
    link.symlink_to(kept)
    with pytest.raises(OptionInvalid, match="is a link"):
        _deliver.remove(str(link))
    assert kept.is_dir()


def test_look_tells_platform_room_and_deliveries_of_anybody(
    begun: _deliver.Begun, tmp_path: Path
) -> None:
    (tmp_path / "controlplane-etcd-20261123T145000Z-7c9e1a2b-3f1c9a02-cp1").mkdir()
    seen = _deliver.look(str(tmp_path))
    assert seen["platform"].startswith("linux-")
    assert seen["free_bytes"] > 0
    assert [item["path"] for item in seen["deliveries"]] == [begun.delivery, begun.incoming]
    for item in seen["deliveries"]:
        assert (item["label"], item["owner"]) == (LABEL, OWNER)
        assert 0 <= item["age_seconds"] < 60


def named(folder: Path, number: int, end: str = "") -> Path:
    return folder / f"controlplane-etcd-delivery-{ENTRY}-{LABEL}-{number:08x}{end}"


def test_look_takes_nothing_for_a_delivery_that_only_has_the_name(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    named(tmp_path, 1).symlink_to(real)
    named(tmp_path, 2).write_bytes(b"")
    os.mkfifo(named(tmp_path, 3))
    named(tmp_path, 4, ".incoming").symlink_to(real)
    # What files came to, of a delivery that is none.
    named(tmp_path, 1, ".incoming").mkdir()
    named(tmp_path, 2, ".incoming").mkdir()
    lone = named(tmp_path, 5, ".incoming")
    lone.mkdir()
    expected = [lone]
    if os.geteuid() == 0:
        named(tmp_path, 6).mkdir()
        os.chown(named(tmp_path, 6), 1234, 1234)
        os.chown(lone, 1234, 1234)
    assert [Path(item["path"]) for item in _deliver.look(str(tmp_path))["deliveries"]] == expected


@pytest.mark.parametrize("what", ["fifo", "link", "device", "large", "list"])
def test_look_reads_an_owner_from_a_small_regular_file_only(
    begun: _deliver.Begun, tmp_path: Path, what: str
) -> None:
    path = Path(begun.delivery, ".owner.json")
    path.unlink()
    if what == "fifo":
        os.mkfifo(path)
    elif what == "link":
        secret = tmp_path / "secret.json"
        secret.write_text('{"token": "theirs"}')
        path.symlink_to(secret)
    elif what == "device":
        path.symlink_to("/dev/zero")
    else:
        path.write_text(json.dumps({"pid": "7" * (64 << 10)} if what == "large" else [7]))
    seen = run_main({"step": "look", "dest_dir": str(tmp_path)})
    assert [item["owner"] for item in seen["deliveries"]] == [None, None], seen


def test_main_begins_where_something_stale_cannot_be_removed(tmp_path: Path) -> None:
    held, gone = named(tmp_path, 1), named(tmp_path, 2)
    held.write_bytes(b"")
    gone.mkdir()
    request = {"entry": ENTRY, "label": LABEL, "owner": OWNER, "stage_dir": str(tmp_path)}
    request = {**request, "needed_bytes": 1000, "stale": [str(held), str(gone)]}
    begun = run_main({"step": "begin", "dest_dir": str(tmp_path), "request": request})
    assert [*begun["stuck"]] == [str(held)], begun
    assert f"{held}, of an earlier run, cannot be removed: " in begun["stuck"][str(held)]
    assert not gone.exists()
    _deliver.remove(begun["delivery"])


def run_main(params: dict[str, t.Any]) -> dict[str, t.Any]:
    done = subprocess.run(
        [sys.executable, "-m", MODULE],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": params}),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.strip(), done.stderr
    return t.cast("dict[str, t.Any]", json.loads(done.stdout))


def test_main_removes_once_and_checks_without_removing(tmp_path: Path) -> None:
    made = begin(tmp_path)
    absent = {"state": "absent", "delivery": made.delivery}
    checked = run_main({**absent, "_ansible_check_mode": True})
    assert (checked["changed"], Path(made.delivery).is_dir()) == (True, True)
    assert run_main(absent)["changed"] is True
    assert run_main(absent)["changed"] is False
    assert list(tmp_path.iterdir()) == []
    assert not Path(made.identity).exists()


def test_main_alone_delivers_nothing() -> None:
    answer = run_main({"archive": "/srv", "etcd_cluster": "prod"})
    assert answer["failed"]
    assert answer["error"]["kind"] == "option_invalid"
    assert "its action plugin runs" in answer["msg"]
    absent = run_main({"state": "absent"})
    assert "delivery" in absent["msg"]


def test_main_shows_no_content(tmp_path: Path) -> None:
    made = begin(tmp_path)
    content = base64.b64encode(b"bytes of a sealed file").decode()
    request = {"delivery": made.delivery, "staged": "0", "offset": 0}
    answer = run_main({"step": "slice", "request": request, "content": content})
    assert content not in json.dumps(answer)
    assert Path(made.incoming, "0").read_bytes() == b"bytes of a sealed file"
    _deliver.remove(made.delivery)
