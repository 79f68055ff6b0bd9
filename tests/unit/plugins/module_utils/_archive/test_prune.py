# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotation of a real archive: what stays, what goes, and what a killed run leaves to the next."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import errno
import json
import os
import shutil
import signal
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils import _retention, _time
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    entries,
    owner,
    pins,
    prune,
    removal,
    schemas,
    store,
    trust,
    uses,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ArchiveError,
    ClockImplausible,
    Locked,
    OptionInvalid,
    RemovalsCapped,
    TrustError,
)

if t.TYPE_CHECKING:
    from .conftest import Bench

NOW = dt.datetime(2026, 11, 23, 14, 50, tzinfo=dt.timezone.utc)
DAY = dt.timedelta(days=1)
LAST = _retention.Policy(keep_last=1)
IDS = ["cp1", "cp2", "cp3"]
STEPS = {
    "looked": "when an entry was about to go",
    "renamed": "when an entry was renamed",
    "synced": "when an entry's renaming was durable",
    "unheld": "when an entry was about to be deleted",
    "deleted": "when an entry was deleted",
}


def wish_of(bench: Bench, policy: _retention.Policy = LAST, **changes: t.Any) -> prune.Wish:
    wish = prune.Wish(
        place=bench.place,
        prefix=bench.prefix,
        signers=bench.wish().signers,
        policy=policy,
        max_removals=100,
    )
    return dataclasses.replace(wish, **changes)


def rotate(bench: Bench, policy: _retention.Policy = LAST, **changes: t.Any) -> prune.Pruned:
    really = changes.pop("really", True)
    now = changes.pop("now", NOW)
    return prune.prune(wish_of(bench, policy, **changes), now=now, really=really)


def add(bench: Bench, days: float) -> str:
    """Add an entry that is so many days old; return its ID."""
    return bench.add(now=NOW - days * DAY).entry.id


def there(bench: Bench) -> list[str]:
    return sorted(os.listdir(bench.folder))


def edit(bench: Bench, entry: str, change: t.Callable[[dict[str, t.Any]], None]) -> None:
    """Change a manifest and sign it again: what our own key says, however odd."""
    path = bench.folder / entry / "manifest.json"
    said = json.loads(path.read_text())
    change(said)
    path.write_text(json.dumps(said))
    signing = trust.signing_from_key(bench.signing_key)
    path.with_name("manifest.json.sig").write_bytes(signing.sign(path.read_bytes()))


def prove(bench: Bench, entry: str, days: float, *, key: str = "", **changes: t.Any) -> Path:
    """Put a proof beside an entry that was finished so many days ago."""
    said = json.loads((bench.folder / entry / "manifest.json").read_text())
    time = NOW - days * DAY
    document = {
        "schema": schemas.PROOF,
        "entry": entry,
        "sha256": said["snapshot"]["sha256"],
        "verdict": "passed",
        "finished_at": _time.rfc3339(time),
        **changes,
    }
    path = bench.folder / entry / "drills" / f"{time:%Y%m%dT%H%M%SZ}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document))
    signature = trust.signing_from_key(key or bench.signing_key).sign(path.read_bytes())
    path.with_name(f"{path.name}.sig").write_bytes(signature)
    return path


# What stays and what goes


def test_prune_removes_what_no_rule_keeps_and_twice_is_once(bench: Bench) -> None:
    made = [add(bench, days) for days in (3, 2, 1)]
    size = sum(p.stat().st_size for p in (bench.folder / made[0]).rglob("*") if p.is_file())
    done = rotate(bench, _retention.Policy(keep_last=2))
    assert done.removed == (made[0],)
    assert done.freed_bytes == size
    assert [judged.entry.id for judged in done.judged] == made[::-1]
    assert there(bench) == [*made[1:], "identity"]
    again = rotate(bench, _retention.Policy(keep_last=2))
    assert (again.removed, again.finished, again.freed_bytes) == ((), (), 0)


def test_prune_not_really_changes_nothing_and_says_the_same(bench: Bench) -> None:
    made = [add(bench, days) for days in (3, 2, 1)]
    asked = rotate(bench, really=False)
    assert there(bench) == [*made, "identity"]
    assert asked == rotate(bench)


def test_prune_touches_nothing_outside_the_prefix(bench: Bench) -> None:
    add(bench, 2), add(bench, 1)
    others = [dataclasses.replace(bench, cluster=name) for name in ("prod2", "pro")]
    for other in others:
        add(other, 3), add(other, 2)
    events = bench.folder / "events"
    shutil.copytree(others[0].folder, events)
    before = [there(other) for other in others]
    assert len(rotate(bench).removed) == 1
    assert [there(other) for other in others] == before
    assert len(list(events.glob("2*"))) == 2


def test_prune_links_are_not_followed(bench: Bench, tmp_path: Path) -> None:
    made = [add(bench, days) for days in (3, 2, 1)]
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    os.symlink(outside, bench.folder / made[0] / "link")
    stray = bench.folder / "20250101T000000Z-00000000"
    os.symlink(outside, stray)
    done = rotate(bench)
    assert done.removed == tuple(made[:2])
    assert (outside / "precious").read_text() == "precious"
    assert stray.is_symlink()
    assert any(str(stray) in each for each in done.warnings)


def test_prune_what_does_not_count_stays_and_is_told(bench: Bench) -> None:
    unsigned, forged, lacking, short, emergency, liar, good, newest = (
        add(bench, days) for days in (9, 8, 7, 6, 5, 4, 3, 2)
    )
    folder = bench.folder
    (folder / unsigned / "manifest.json.sig").unlink()
    with (folder / forged / "manifest.json").open("a") as target:
        target.write("\n")
    (folder / lacking / "pki" / "cp1.tar.zst.age").unlink()
    with (folder / short / "data.db.zst.age").open("ab") as target:
        target.write(b"x")
    edit(bench, emergency, lambda said: said.update(mode="emergency"))
    edit(bench, liar, lambda said: said.update(created_at="2026-11-23T10:00:00Z"))
    replayed = folder / "20261123T120000Z-00000000"
    shutil.copytree(folder / newest, replayed)
    done = rotate(bench)
    assert done.removed == (good,)
    told = {j.entry.id: j.verdict.snapshot.why_not for j in done.judged}
    for entry, word in {
        unsigned: "unsigned",
        forged: "forged",
        lacking: "incomplete",
        short: "damaged",
        emergency: "emergency",
        liar: "2026-11-23T10:00:00Z",
        replayed.name: "foreign",
    }.items():
        assert word in told[entry]
        assert (folder / entry).is_dir()
    assert told[newest] == ""


def test_prune_nothing_trusted_is_refused(bench: Bench, tmp_path: Path) -> None:
    made = [add(bench, days) for days in (3, 2)]
    key = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    signers = trust.Signers.parse([f"{key}.pub"])
    with pytest.raises(TrustError, match="none of the 2 entries of prod") as caught:
        rotate(bench, signers=signers)
    assert made[1] in str(caught.value)
    assert "etcd_allowed_signers" in str(caught.value)
    assert there(bench) == [*made, "identity"]


def test_prune_newest_damaged_inside_counts_no_more(bench: Bench) -> None:
    """Sizes are right; only a whole reading shows it, and that is done before anything goes."""
    made = [add(bench, days) for days in (4, 3, 2, 1)]
    for entry in made[2:]:
        path = bench.folder / entry / "data.db.zst.age"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    done = rotate(bench)
    assert done.removed == (made[0],)
    told = {j.entry.id: j.verdict for j in done.judged}
    assert "the newest verified" in told[made[1]].reasons
    for entry in made[2:]:
        assert told[entry].reasons[0].startswith("not judged: damaged: data.db.zst.age has sha256")


def test_prune_clock_and_cap_are_refused_with_nothing_removed(bench: Bench) -> None:
    made = [add(bench, days) for days in (5, 4, 3, 2, 1)]
    with pytest.raises(ClockImplausible, match=made[-1]):
        rotate(bench, now=NOW - 3 * DAY)
    with pytest.raises(RemovalsCapped, match="remove 4 of 5"):
        rotate(bench, max_removals=None)
    assert there(bench) == [*made, "identity"]


def test_prune_archive_or_cluster_that_is_not_there_is_named(bench: Bench) -> None:
    with pytest.raises(ArchiveError, match="is not a directory") as caught:
        rotate(bench)
    assert str(bench.root / "archive") in str(caught.value)
    add(bench, 1)
    other = dataclasses.replace(bench, cluster="prud")
    with pytest.raises(ArchiveError, match="no entries of prud") as caught:
        rotate(other)
    assert "It has: prod." in str(caught.value)


@pytest.mark.parametrize("name", ["PINNED", "pinned.txt", "Pinned"])
def test_prune_pinned_stays_and_says_why(bench: Bench, name: str) -> None:
    pinned, gone, _other = (add(bench, days) for days in (3, 2, 1))
    (bench.folder / pinned / name).write_text("before the\n\x1b[31mupgrade\n" + "x" * 1000)
    done = rotate(bench)
    assert done.removed == (gone,)
    reasons = next(j.verdict.reasons for j in done.judged if j.entry.id == pinned)
    assert reasons[0].startswith("pinned: before the [31mupgrade xxx")
    assert len(reasons[0]) < 220


def test_pinned_by_what_cannot_be_read(tmp_path: Path) -> None:
    assert pins.pinned(str(tmp_path)) is None
    (tmp_path / "PINNED.bak").mkdir()
    assert pins.pinned(str(tmp_path)) == ""
    os.mkfifo(tmp_path / "PINNED")
    assert pins.pinned(str(tmp_path)) == ""


def test_prune_newest_with_all_kits_stays(bench: Bench) -> None:
    older, full, gone, newest = (
        bench.add(now=NOW - days * DAY, kits=kits).entry.id
        for days, kits in ((4, IDS), (3, IDS), (2, ["cp1"]), (1, ["cp2"]))
    )
    done = rotate(bench)
    assert done.removed == (older, gone)
    assert reasons_of(done, full) == (
        "the newest that restores the data, with the kits of all members",
    )
    assert there(bench) == [full, newest, "identity"]


FULL = [
    *("ca.crt", "ca.key", "sa.key", "sa.pub", "front-proxy-ca.crt", "front-proxy-ca.key"),
    *("etcd/ca.crt", "etcd/ca.key", "admin.conf", "super-admin.conf", "controller-manager.conf"),
    *("scheduler.conf", "kubelet.conf", "kubelet/config.yaml", "kubelet/client-current.pem"),
    *("kubelet/kubeadm-flags.env", "manifests/etcd.yaml", "manifests/kube-apiserver.yaml"),
    *("manifests/kube-controller-manager.yaml", "manifests/kube-scheduler.yaml"),
    *(
        f"{name}.{end}"
        for name in (
            *("apiserver", "apiserver-kubelet-client", "apiserver-etcd-client"),
            *("front-proxy-client", "etcd/server", "etcd/peer", "etcd/healthcheck-client"),
        )
        for end in ("crt", "key")
    ),
]


def test_prune_newest_that_restores_the_most_stays(bench: Bench) -> None:
    """All have kits of all members; those of the newer ones hold next to nothing."""
    older, complete, gone, newest = (add(bench, days) for days in (4, 3, 2, 1))

    def kits(present: t.Sequence[str]) -> t.Callable[[dict[str, t.Any]], None]:
        def change(said: dict[str, t.Any]) -> None:
            said["kubernetes"]["secrets"] = {}
            for kit in said["kit"]:
                kit["present"] = list(present)

        return change

    for entry, present in ((older, FULL), (complete, FULL), (gone, ["kubelet.conf"]), (newest, [])):
        edit(bench, entry, kits(present))
    done = rotate(bench)
    assert reasons_of(done, complete) == ("the newest that restores the whole control plane",)
    assert done.removed == (older, gone)


def test_prune_wiped_kubernetes_among_other_keys_stays(bench: Bench) -> None:
    """Another one's keys are in the same etcd, more of them than there were objects."""

    def shrunk(objects: int, keys: int) -> t.Callable[[dict[str, t.Any]], None]:
        def change(said: dict[str, t.Any]) -> None:
            said["kubernetes"].update(object_count=objects, resources={"configmaps": objects})
            said["snapshot"]["key_count"] = keys

        return change

    older, last, first, gone, newest = (add(bench, days) for days in (5, 4, 3, 2, 1))
    for entry in (older, last):
        edit(bench, entry, shrunk(987, 2487))
    for entry in (first, gone, newest):
        edit(bench, entry, shrunk(0, 1500))
    done = rotate(bench)
    assert done.removed == (older, gone)
    assert reasons_of(done, last)[0].startswith("the last before a shrink from 987 to 0 objects")


@pytest.mark.parametrize("checks", [[], [{"name": "trailer", "result": "FAILED"}]], ids=str)
def test_prune_checks_of_no_known_result_do_not_count(
    bench: Bench, checks: list[dict[str, str]]
) -> None:
    gone, good, odd = (add(bench, days) for days in (3, 2, 1))
    edit(bench, odd, lambda said: said.update(checks=checks))
    done = rotate(bench)
    assert done.removed == (gone,)
    assert "the newest verified" in reasons_of(done, good)
    assert "check" in reasons_of(done, odd)[0]


# Proofs


def reasons_of(done: prune.Pruned, entry: str) -> tuple[str, ...]:
    return next(j.verdict.reasons for j in done.judged if j.entry.id == entry)


def test_prune_newest_proven_stays(bench: Bench) -> None:
    older, proven, failed, gone, _other = (add(bench, days) for days in (6, 5, 4, 3, 2))
    prove(bench, older, 4)
    prove(bench, proven, 3)
    prove(bench, failed, 3)
    prove(bench, failed, 1, verdict="failed")
    done = rotate(bench)
    assert done.removed == (older, failed, gone)
    assert reasons_of(done, proven) == ("the newest proven by a drill",)


def test_prune_newest_proof_keeps_its_entry(bench: Bench) -> None:
    """Of two drilled entries the older may have been drilled last, as `unproven` asks for."""
    again, newer, gone, _other = (add(bench, days) for days in (20, 10, 5, 1))
    prove(bench, again, 0.1)
    prove(bench, newer, 9)
    done = rotate(bench)
    assert done.removed == (gone,)
    assert reasons_of(done, again) == ("the one that a drill proved last",)
    assert reasons_of(done, newer) == ("the newest proven by a drill",)


def test_prune_proof_from_the_future_proves_nothing(bench: Bench) -> None:
    proven, ahead, _other = (add(bench, days) for days in (5, 3, 0))
    prove(bench, proven, 1)
    prove(bench, ahead, -300)
    done = rotate(bench)
    assert done.removed == (ahead,)
    assert "in the future" in done.warnings[0]


def test_prune_proof_of_something_else_does_not_count(bench: Bench, tmp_path: Path) -> None:
    proven, replay, image, unsigned, stranger, odd, _other = (
        add(bench, d) for d in (8, 7, 6, 5, 4, 3, 2)
    )
    genuine = prove(bench, proven, 1)
    shutil.copytree(genuine.parent, bench.folder / replay / "drills")
    prove(bench, image, 1, sha256="0" * 64)
    prove(bench, unsigned, 1).with_name(f"{genuine.name}.sig").unlink()
    key = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    prove(bench, stranger, 1, key=str(key))
    prove(bench, odd, 1, must_understand=["quantum"])
    done = rotate(bench)
    assert reasons_of(done, proven) == ("the newest proven by a drill",)
    assert set(done.removed) == {replay, image, unsigned, stranger, odd}
    for word in (replay, image, "unsigned", "unknown_signer", "quantum"):
        assert any(word in each for each in done.warnings), word


def test_prune_says_once_what_is_wrong_with_a_proof_of_an_entry_read_twice(bench: Bench) -> None:
    _gone, newest = add(bench, 2), add(bench, 1)
    prove(bench, newest, 0, sha256="0" * 64)
    assert [newest in each for each in rotate(bench).warnings] == [True]


def test_prune_release_of_what_is_no_entry_is_refused(bench: Bench) -> None:
    made = [add(bench, days) for days in (2, 1)]
    with pytest.raises(OptionInvalid, match="'latest' is not the ID"):
        rotate(bench, released=("latest",))
    assert there(bench) == [*made, "identity"]


# Odd entries, and those that cannot be removed


def loop(path: Path) -> None:
    path.unlink() if path.is_file() else shutil.rmtree(path)
    os.symlink(path.name, path)


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "name", "word"),
    [
        (loop, "data.db.zst.age", "data.db.zst.age: Too many levels of symbolic links"),
        (loop, "manifest.json", "Too many levels of symbolic links"),
        (loop, "pki", "Too many levels of symbolic links"),
        (pipe, "manifest.json", "manifest.json: it is no regular file"),
        (pipe, "manifest.json.sig", "manifest.json.sig: it is no regular file"),
        (pipe, "data.db.zst.age", "data.db.zst.age is 0 bytes"),
        (folder_instead, "manifest.json", "manifest.json: Is a directory"),
    ],
)
def test_prune_odd_entry_stays_and_stops_nobody(
    bench: Bench, spoil: t.Callable[[Path], None], name: str, word: str, reliability: t.Any
) -> None:
    gone, odd, newest = (add(bench, days) for days in (3, 2, 1))
    spoil(bench.folder / odd / name)
    done = rotate(bench)
    assert done.removed == (gone,)
    assert word in reasons_of(done, odd)[0]
    assert there(bench) == [odd, newest, "identity"]
    said = {"loop": "a link to itself", "pipe": "a pipe", "folder_instead": "a folder"}
    reliability(
        f"{said[spoil.__name__]} in place of {name} in an entry",
        "the entry stays and is named, the others are rotated",
        area="rotate",
        message=reasons_of(done, odd)[0],
    )


def test_prune_pipes_in_place_of_proof_and_mark_stop_nobody(bench: Bench) -> None:
    proof, mark, _other = (add(bench, days) for days in (3, 2, 1))
    pipe(bench.folder / proof / "drills" / "20261123T000000Z.json")
    pipe(bench.folder / mark / ".use-00000000.json")
    done = rotate(bench)
    assert done.removed == (proof,)
    assert "no regular file" in done.warnings[0]
    assert "which cannot be read (it is no regular file)" in reasons_of(done, mark)[0]


@pytest.mark.parametrize(
    "name", ["20261318T145000Z-00000000", ".20261318T145000Z-00000000.removed"]
)
def test_prune_time_that_does_not_exist_is_told_and_left_alone(bench: Bench, name: str) -> None:
    gone, newest = add(bench, 2), add(bench, 1)
    (bench.folder / name).mkdir()
    done = rotate(bench)
    assert done.removed == (gone,)
    assert done.warnings == (
        f"{bench.folder / name} names a time that does not exist: it is left alone.",
    )
    assert there(bench) == sorted([name, newest, "identity"])


def test_prune_one_that_cannot_be_removed_does_not_keep_the_others(
    bench: Bench, reliability: t.Any
) -> None:
    made = [add(bench, days) for days in (4, 3, 2, 1)]

    class Stuck(removal.Removal):
        turn = 0

        def step(self, name: str) -> None:
            self.turn += name == "looked"
            if (name, self.turn) == ("looked", 2):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    done = prune.prune(wish_of(bench), now=NOW, really=True, make_removal=Stuck)
    assert done.removed == (made[0], made[2])
    assert done.freed_bytes == sum(
        judged.size_bytes for judged in done.judged if judged.entry.id in done.removed
    )
    assert [entry for entry, _error in done.failed] == [made[1]]
    assert there(bench) == [made[1], made[3], "identity"]
    assert done.error and made[1] in str(done.error)
    reliability(
        "one of three entries to go cannot be removed",
        "the others go, all of it is reported, and the run fails",
        area="rotate",
        message=str(done.error),
    )
    again = rotate(bench)
    assert (again.removed, again.error) == ((made[1],), None)


def test_pruned_error_of_several_names_all_of_them(bench: Bench) -> None:
    made = [add(bench, days) for days in (3, 2, 1)]

    class Stuck(removal.Removal):
        def step(self, name: str) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    done = prune.prune(wish_of(bench), now=NOW, really=True, make_removal=Stuck)
    assert done.removed == ()
    for word in ("2 entries", made[0], made[1], "Permission denied"):
        assert word in str(done.error)


def test_prune_release_that_changes_nothing_is_told(bench: Bench) -> None:
    before, after, last = (add(bench, days) for days in (3, 2, 1))
    for entry, objects in ((before, 900), (after, 300), (last, 310)):
        edit(
            bench,
            entry,
            lambda said, objects=objects: said["kubernetes"].update(
                object_count=objects, resources={"configmaps": objects}
            ),
        )
    gone = "20200101T000000Z-deadbeef"
    done = rotate(bench, released=(gone, before, last, gone))
    assert done.warnings == (
        f"Releasing {gone} changed nothing: it is no entry of prod.",
        f"Releasing {last} changed nothing: it is not before a shrink.",
    )
    assert done.removed == (before, after)
    assert rotate(bench, released=()).warnings == ()


# In use


def test_in_use_stays_until_it_is_let_go(bench: Bench) -> None:
    old, _other = add(bench, 2), add(bench, 1)
    me = owner.of_process(os.getpid(), now=NOW - 5 * DAY)
    with uses.in_use(bench.place, bench.prefix, old, user=me) as told:
        assert told
        done = rotate(bench)
        assert not done.removed
        assert f"in use by process {os.getpid()}" in reasons_of(done, old)[0]
    assert not list((bench.folder / old).glob(".use*"))
    assert rotate(bench).removed == (old,)


def test_in_use_marks_of_the_dead_do_not_count(bench: Bench) -> None:
    old, _other = add(bench, 2), add(bench, 1)
    here = owner.of_process(os.getpid(), now=NOW)
    gone = subprocess.Popen(["true"])
    gone.wait()
    folder = str(bench.folder / old)

    def mark(user: owner.Owner) -> str | None:
        (bench.folder / old / ".use-00000000.json").write_bytes(user.to_json())
        return uses.used_by(folder, here=here, now=NOW)

    assert mark(dataclasses.replace(here, pid=gone.pid, start_ticks=1)) is None
    elsewhere = dataclasses.replace(here, host="elsewhere", machine_id="1", pid=1)
    assert "elsewhere" in str(mark(elsewhere))
    assert mark(dataclasses.replace(elsewhere, started_at=_time.rfc3339(NOW - DAY))) is None
    ahead = dataclasses.replace(elsewhere, started_at=_time.rfc3339(NOW + 300 * DAY))
    mark(ahead)
    for days, held in ((0.9, True), (1, False)):
        written = (NOW - days * DAY).timestamp()
        os.utime(bench.folder / old / ".use-00000000.json", (written, written))
        assert (uses.used_by(folder, here=here, now=NOW) is not None) is held
    (bench.folder / old / ".use-00000000.json").write_text("{cut o")
    assert uses.used_by(folder, here=here, now=NOW) is None
    assert rotate(bench).removed == (old,)


def test_in_use_of_an_entry_that_is_gone_says_so(bench: Bench) -> None:
    me = owner.of_process(os.getpid(), now=NOW)
    entry = "20261101T000000Z-00000000"
    with (
        pytest.raises(ArchiveError, match=f"{entry} is not in the archive"),
        uses.in_use(bench.place, bench.prefix, entry, user=me),
    ):
        pass
    with pytest.raises(OptionInvalid), uses.in_use(bench.place, bench.prefix, "..", user=me):
        pass


def test_in_use_from_just_before_the_renaming_gets_it_back(
    bench: Bench, reliability: t.Any
) -> None:
    old, _other = add(bench, 2), add(bench, 1)
    me = owner.of_process(os.getpid(), now=NOW)
    with contextlib.ExitStack() as stack:

        class Late(removal.Removal):
            def step(self, name: str) -> None:
                if name == "looked":
                    stack.enter_context(uses.in_use(bench.place, bench.prefix, old, user=me))

        done = prune.prune(wish_of(bench), now=NOW, really=True, make_removal=Late)
        assert done.removed == ()
        found = entries.read_entry(
            bench.place, bench.prefix, old, signers=bench.wish().signers, depth="files"
        )
        assert found.verified
    assert rotate(bench).removed == (old,)
    reliability(
        "an entry taken into use between the look and its removal",
        "it gets its name back, whole",
        area="rotate",
    )


# Killed, and two at once


def killed_at(bench: Bench, step: str, *, half: bool = False) -> None:
    """Rotate in a process that kills itself at a step (with half of the entry's files gone)."""

    class Dying(removal.Removal):
        def step(self, name: str) -> None:
            if name == step:
                if half:
                    for path in list(bench.folder.glob(".*.removed/*"))[::2]:
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
                os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            prune.prune(wish_of(bench), now=NOW, really=True, make_removal=Dying)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL


@pytest.mark.parametrize("half", [False, True], ids=["whole", "half"])
@pytest.mark.parametrize("step", STEPS)
def test_prune_killed_is_finished_by_the_next(
    bench: Bench, step: str, half: bool, reliability: t.Any
) -> None:
    made = [add(bench, days) for days in (3, 2, 1)]
    killed_at(bench, step, half=half)
    # Whole or out of sight, never half an entry under its name.
    for entry in bench.place.entries(bench.prefix):
        found = entries.read_entry(
            bench.place, bench.prefix, entry, signers=bench.wish().signers, depth="files"
        )
        assert found.verified, found.reason
    assert made[2] in bench.place.entries(bench.prefix)
    done = rotate(bench)
    hidden = step in ("renamed", "synced", "unheld")
    assert done.finished == ((made[0],) if hidden else ())
    assert there(bench) == [made[2], "identity"]
    assert rotate(bench).finished == ()
    reliability(
        f"kill -9 of a rotation {STEPS[step]}{', half of its files gone' if half else ''}",
        "no half entry is listed; the next run finishes it",
        area="rotate",
    )


def test_prune_hidden_half_stays_while_nothing_else_counts(bench: Bench) -> None:
    made = [add(bench, days) for days in (3, 2, 1)]
    killed_at(bench, "synced", half=True)
    for entry in made[1:]:
        edit(bench, entry, lambda said: said.update(mode="emergency"))
    assert rotate(bench).finished == ()
    assert f".{made[0]}.removed" in there(bench)


def test_prune_hidden_whole_is_judged_with_the_others(bench: Bench, reliability: t.Any) -> None:
    """What was to go is the only proven one by now: the drill of the other one failed."""
    hidden, proven, newest = (add(bench, days) for days in (9, 5, 1))
    prove(bench, hidden, 8)
    prove(bench, proven, 4)
    killed_at(bench, "renamed")
    assert f".{hidden}.removed" in there(bench)
    prove(bench, proven, 1, verdict="failed")
    asked = rotate(bench, really=False)
    assert f".{hidden}.removed" in there(bench)
    done = rotate(bench)
    assert done == asked
    assert (done.put_back, done.finished, done.removed) == ((hidden,), (), (proven,))
    assert reasons_of(done, hidden) == ("the newest proven by a drill",)
    assert there(bench) == [hidden, newest, "identity"]
    reliability(
        "a rotation killed over an entry that is the only proven one by the next run",
        "it gets its name back",
        area="rotate",
    )


def test_prune_two_at_once_wait_or_say_so(bench: Bench) -> None:
    made = [add(bench, days) for days in (3, 2, 1)]
    begun, go = os.pipe(), os.pipe()

    class Slow(removal.Removal):
        def step(self, name: str) -> None:
            if name == "looked":
                os.write(begun[1], b"x")
                os.read(go[0], 1)

    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            prune.prune(wish_of(bench), now=NOW, really=True, make_removal=Slow)
            os._exit(0)
        os._exit(1)
    os.read(begun[0], 1)
    with pytest.raises(Locked) as caught:
        rotate(bench)
    assert str(bench.folder) in str(caught.value)
    os.write(go[1], b"xxx")
    done = rotate(bench, lock_seconds=60)
    assert os.waitpid(pid, 0)[1] == 0
    assert (done.removed, there(bench)) == ((), [made[2], "identity"])


def test_prune_a_backup_that_is_being_added_is_left_alone(bench: Bench) -> None:
    old, _other = add(bench, 2), add(bench, 1)
    part = bench.place.start(
        bench.prefix, "20261123T145000Z-00000000", owner.of_process(1, now=NOW)
    )
    assert rotate(bench).removed == (old,)
    assert os.path.isdir(part)
    assert store.DirectoryStore(bench.place.location).parts(bench.prefix)
