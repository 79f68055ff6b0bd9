# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotation of real archives: at the end of a backup, and alone, by the playbooks."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest
from integration.backup.backup_lab import BackupLab, Run
from integration.backup.things import SmallDisk, run, why_no_small_disks

from lab import aged, objects
from lab.loopback import Cluster
from lab.module import COLLECTIONS, run_module

AREA = "rotate"
DAY = dt.timedelta(days=1)
# No host answers there: rotation alone speaks to none.
DEAD: dict[str, t.Any] = {"ansible_connection": "ssh", "ansible_host": "192.0.2.1"}


def now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


@pytest.fixture(scope="module")
def alpha() -> t.Iterator[Cluster]:
    with Cluster("alpha", size=1) as cluster:
        objects.fill(cluster, name="alpha")
        yield cluster


@pytest.fixture
def lab() -> t.Iterator[BackupLab]:
    with BackupLab(pipelining=True) as lab:
        yield lab


@pytest.fixture(scope="module")
def genuine(alpha: Cluster) -> t.Iterator[tuple[BackupLab, Path]]:
    """A lab whose archive has one entry: the model of all others."""
    with BackupLab(pipelining=True) as lab:
        run = lab.backup({"alpha": lab.hosts(alpha)})
        assert run.status == 0, run.text[-6000:]
        yield lab, lab.archive / "alpha" / lab.entries("alpha")[0]


@pytest.fixture
def old(genuine: tuple[BackupLab, Path], lab: BackupLab) -> t.Callable[..., Path]:
    """Add an entry to the lab's archive that is so many days old, made from the genuine one."""
    source, entry = genuine
    shutil.copyfile(source.signing_key, lab.signing_key)
    shutil.copyfile(f"{source.signing_key}.pub", f"{lab.signing_key}.pub")
    model = lab.archive / "alpha" / entry.name
    shutil.copytree(entry.parent, lab.archive / "alpha")

    def add(days: float, **changes: t.Any) -> Path:
        return aged.add_like(model, lab.signing_key, now() - days * DAY, **changes)

    return add


def rotate(lab: BackupLab, *arguments: str, clusters: t.Sequence[str] = (), **more: t.Any) -> Run:
    """Run the playbook for clusters whose hosts cannot be reached."""
    hosts = {name: {f"{name}-cp1": DEAD} for name in clusters or ["alpha"]}
    return lab.start(hosts, *arguments, playbook="rotate", **more).wait()


def outcome(run: Run, cluster: str = "alpha") -> dict[str, t.Any]:
    assert cluster in run.stats.get("etcd_rotate", {}), run.text[-6000:]
    return t.cast("dict[str, t.Any]", run.stats["etcd_rotate"][cluster])


def test_a_backup_rotates_and_says_so(
    lab: BackupLab, alpha: Cluster, old: t.Callable[..., Path], reliability: t.Any
) -> None:
    gone = [old(days).name for days in (3, 2)]
    pinned = old(4)
    (pinned / "PINNED").write_text("before the upgrade\n")
    before = lab.entries("alpha")
    hosts = {"alpha": lab.hosts(alpha)}
    policy = {"keep_last": 2}
    checked = lab.backup(hosts, "--check", etcd_retention=policy)
    assert checked.status == 0, checked.text[-6000:]
    assert checked.outcome("alpha")["rotation"] == {
        "outcome": "checked",
        "removed": [gone[0]],
        "errors": [],
    }
    assert lab.entries("alpha") == before
    run = lab.backup(hosts, etcd_retention=policy)
    assert run.status == 0, run.text[-6000:]
    told = run.outcome("alpha")
    assert told["outcome"] == "archived"
    assert told["rotation"] == {"outcome": "rotated", "removed": gone, "errors": []}
    assert "rotated: 2 of 5 entries removed" in run.said("alpha-cp1", "Show it")["msg"]
    assert lab.entries("alpha") == sorted(
        [pinned.name, *set(before) - {*gone, pinned.name}, told["id"]]
    )
    reliability(
        "a backup that succeeded, with old entries in the archive",
        "what no rule keeps is gone, a pinned entry stays; check mode said so before",
        area=AREA,
    )
    off = lab.backup(hosts, etcd_retention={"keep_last": 1}, etcd_backup_rotate=False)
    assert off.outcome("alpha")["rotation"]["outcome"] == "none"
    lab.assert_clean(entries={"alpha": 4})


def test_a_rotation_that_fails_leaves_the_backup(
    lab: BackupLab, alpha: Cluster, reliability: t.Any
) -> None:
    """Each cluster is the same etcd under another name; what is wrong is its policy."""
    given = alpha.host_variables("alpha-cp1")
    wishes: dict[str, tuple[t.Any, str]] = {
        "word": ({"keep_dayly": 3}, "keep_dayly"),
        "empty": ({}, "no rule"),
        "good": ({"keep_last": 1}, ""),
    }
    hosts = {
        name: {f"{name}-cp1": lab.host(f"{name}-cp1", {**given, "etcd_retention": policy})}
        for name, (policy, _other) in wishes.items()
    }
    run = lab.backup(hosts, etcd_backup_lock_timeout="3m")
    assert run.status == 2
    for name, (policy, word) in wishes.items():
        told = run.outcome(name)
        assert (told["outcome"], len(lab.entries(name))) == ("archived", 1), run.text[-6000:]
        assert told["rotation"]["outcome"] == ("failed" if word else "rotated")
        if word:
            said = run.verdict(name)
            assert word in said
            assert f"Cluster {name} is backed up as {told['id']}, but its archive was NOT" in said
            assert "NOT ROTATED" in run.said(f"{name}-cp1", "Show it")["msg"]
            reliability(
                f"a backup with the policy {json.dumps(policy)}",
                "archived, not rotated, and the run fails for it",
                area=AREA,
                message=said,
            )
    lab.assert_clean()


def test_rotate_speaks_to_no_host_and_one_cluster_does_not_stop_another(
    lab: BackupLab, old: t.Callable[..., Path], reliability: t.Any
) -> None:
    gone = [old(days).name for days in (3, 2)]
    before = lab.entries("alpha")
    policy = {"keep_last": 1}
    asked = rotate(lab, "--check", "--diff", etcd_retention=policy, clusters=["alpha"])
    assert asked.status == 0, asked.text[-6000:]
    assert lab.entries("alpha") == before
    shown = asked.said("alpha-cp1", "Show it")["msg"]
    for entry in gone:
        assert f"remove {entry}: last: 1 is newer" in shown
        assert f"-alpha/{entry}  last: 1 is newer" in asked.text
    assert f"keep {before[-1]}: the newest verified; last" in shown
    assert outcome(asked)["outcome"] == "checked"
    run = rotate(lab, etcd_retention=policy, clusters=["beta", "alpha"])
    assert run.status == 2
    assert outcome(run)["removed"] == gone
    assert outcome(run, "beta")["outcome"] == "failed"
    said = run.verdict("beta")
    for word in ("cluster beta was NOT rotated", "It has: alpha", str(lab.archive)):
        assert word in said, said
    assert lab.entries("alpha") == before[-1:]
    again = rotate(lab, etcd_retention=policy)
    assert (again.status, outcome(again)["removed"]) == (0, [])
    assert "changed=0" in again.text
    reliability(
        "rotation with no host to be reached, one of two clusters not in the archive",
        "the other one is rotated, the run fails and names the one",
        area=AREA,
        message=said,
    )


def test_rotate_what_is_asked_wrongly_is_named(
    lab: BackupLab, old: t.Callable[..., Path], reliability: t.Any
) -> None:
    old(1)
    before = lab.entries("alpha")
    wrong: dict[str, tuple[dict[str, t.Any], list[str]]] = {
        "a word that is none": ({"etcd_retention": {"keep_dayly": 3}}, ["keep_dayly"]),
        "a policy without a rule": ({"etcd_retention": {}}, ["has no rule"]),
        "no archive": ({"etcd_archive": ""}, ["etcd_archive not set"]),
        "an archive whose mount is missing": (
            {"etcd_archive": str(lab.root / "nomount")},
            ["nomount is not a directory", "mounted"],
        ),
        "no key and no signers": ({"etcd_signing_key": ""}, ["etcd_allowed_signers"]),
        "another key than the archive's": (
            {"etcd_signing_key": str(lab.new_key("stranger"))},
            ["none of the 2 entries", "unknown_signer"],
        ),
        "a variable mistyped": ({"etcd_rotate_max_removal": 3}, ["etcd_rotate_max_removal"]),
        "a variable of all roles mistyped": (
            {"etcd_retension": {"keep_last": 90}},
            ["etcd_retension (etcd_retention?)"],
        ),
    }
    for fault, (wish, words) in wrong.items():
        run = rotate(lab, **wish)
        assert run.status == 2, fault
        said = " ".join(each["msg"] for each in run.results if each["how"] == "failed")
        for word in words:
            assert word in said, (fault, said)
        assert lab.entries("alpha") == before
        reliability(fault, "refused, nothing is removed", area=AREA, message=said)


# The module, on archives that are hard to rotate


def prune(lab: BackupLab, *, prefix: t.Sequence[str] = (), **options: t.Any) -> dict[str, t.Any]:
    return run_module("etcd_archive_prune", _params(lab, **options), prefix=prefix)


def _params(lab: BackupLab, **options: t.Any) -> dict[str, t.Any]:
    return {
        "archive": str(lab.archive),
        "etcd_cluster": "alpha",
        "allowed_signers": [Path(f"{lab.signing_key}.pub").read_text()],
        "keep_last": 1,
        "max_removals": 100,
        **options,
    }


def hidden(lab: BackupLab) -> list[str]:
    return [path.name for path in (lab.archive / "alpha").glob(".*")]


def heavy(entry: Path) -> None:
    """Have an entry take a while to delete."""
    for folder in range(8):
        (entry / "drills" / str(folder)).mkdir(parents=True)
        for number in range(400):
            (entry / "drills" / str(folder) / str(number)).touch()


def test_prune_killed_again_and_again(
    lab: BackupLab, old: t.Callable[..., Path], reliability: t.Any
) -> None:
    made = [old(days) for days in range(9, 0, -1)]
    for each in made:
        heavy(each)
    newest = lab.entries("alpha")[-1]
    kills = 0
    for number in range(6):
        with subprocess.Popen(
            [
                sys.executable,
                "-m",
                "ansible_collections.controlplane.etcd.plugins.modules.etcd_archive_prune",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": COLLECTIONS},
        ) as process:
            assert process.stdin
            process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": _params(lab)}).encode())
            process.stdin.close()
            finished, entries = set(hidden(lab)), len(lab.entries("alpha"))
            while process.poll() is None:
                # At another place each time: as an entry goes out of sight, or a while later.
                if set(hidden(lab)) - finished or len(lab.entries("alpha")) < entries:
                    time.sleep(number * 0.004)
                    process.kill()
                    break
                time.sleep(0.0005)
            kills += process.wait() == -9
        assert set(lab.trust("alpha")) == {"trusted"}
        assert lab.entries("alpha")[-1] == newest
    assert kills >= 3
    last = prune(lab)
    assert not last.get("failed"), last
    assert (lab.entries("alpha"), hidden(lab)) == ([newest], [])
    reliability(
        f"kill -9 of a rotation, {kills} times in a row",
        "no half entry is ever listed, all listed ones are whole, the last run finishes all",
        area=AREA,
    )


def test_prune_three_at_once(
    lab: BackupLab, old: t.Callable[..., Path], reliability: t.Any
) -> None:
    made = {old(days).name for days in range(6, 0, -1)}
    results: list[dict[str, t.Any]] = []
    threads = [threading.Thread(target=lambda: results.append(prune(lab))) for _turn in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not [each for each in results if each.get("failed")]
    removed = [entry for each in results for entry in each["removed"]]
    assert sorted(removed) == sorted(made)
    assert hidden(lab) == []
    reliability("three rotations at once", "one after the other, each entry goes once", area=AREA)


def test_prune_while_backups_are_added(
    lab: BackupLab, alpha: Cluster, old: t.Callable[..., Path], reliability: t.Any
) -> None:
    for days in range(12, 0, -1):
        old(days)
    session = lab.start({"alpha": lab.hosts(alpha)}, etcd_backup_rotate=False)
    removed: list[str] = []
    while session.process.poll() is None:
        done = prune(lab, keep_last=3)
        assert not done.get("failed"), done
        removed += done["removed"]
    run = session.wait()
    assert run.outcome("alpha")["outcome"] == "archived", run.text[-6000:]
    assert run.outcome("alpha")["id"] in lab.entries("alpha")
    assert len(removed) == len(set(removed)) >= 10
    prune(lab, keep_last=3)
    lab.assert_clean(entries={"alpha": 3})
    assert lab.trust("alpha") == ["trusted"] * 3
    reliability(
        "rotations all through a backup",
        "the backup is archived, nothing of it is taken",
        area=AREA,
    )


def test_prune_entry_in_use_by_a_process(
    lab: BackupLab, old: t.Callable[..., Path], reliability: t.Any
) -> None:
    entry = old(2)
    # As a restore does: mark, read, let go; here until its input ends, or until it is killed.
    program = (
        "import os, sys, datetime as dt\n"
        "from ansible_collections.controlplane.etcd.plugins.module_utils._archive import ("
        "names, owner, store, uses)\n"
        f"place, prefix = store.open_store({str(lab.archive)!r}), names.Prefix('alpha')\n"
        "me = owner.of_process(os.getpid(), now=dt.datetime.now(dt.timezone.utc))\n"
        f"with uses.in_use(place, prefix, {entry.name!r}, user=me):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    for ends in ("by itself", "by SIGKILL"):
        with subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": COLLECTIONS},
        ) as user:
            assert user.stdout and user.stdin
            assert user.stdout.readline() == b"held\n"
            held = prune(lab)
            assert held["removed"] == []
            told = next(each for each in held["entries"] if each["id"] == entry.name)
            assert f"process {user.pid} on " in told["used_by"]
            user.kill() if ends == "by SIGKILL" else user.stdin.close()
        asked = prune(lab, _ansible_check_mode=True)
        assert asked["removed"] == [entry.name], ends
    assert prune(lab)["removed"] == [entry.name]
    reliability(
        "an entry that a process reads",
        "stays while the process lives, not after its end",
        area=AREA,
    )


def test_prune_what_others_put_there(
    lab: BackupLab, old: t.Callable[..., Path], reliability: t.Any
) -> None:
    plain, proven, newer = old(5), old(4), old(3)
    aged.prove(proven, lab.signing_key, now() - DAY)
    failed = old(2)
    aged.prove(failed, lab.signing_key, now() - DAY)
    aged.prove(failed, lab.signing_key, now(), verdict="failed")
    shutil.copytree(proven / "drills", newer / "drills")
    replayed = plain.with_name(f"{now() + 30 * DAY:%Y%m%dT%H%M%SZ}-00000000")
    shutil.copytree(plain, replayed)
    newest = next(
        path for path in (lab.archive / "alpha").glob("2*") if path.name == lab.entries("alpha")[-2]
    )
    data = next(newest.glob("data.db*"))
    image = bytearray(data.read_bytes())
    image[len(image) // 2] ^= 0x10
    data.write_bytes(image)
    done = prune(lab)
    told = {each["id"]: each for each in done["entries"]}
    assert sorted(done["removed"]) == sorted([plain.name, newer.name])
    assert told[failed.name]["reasons"][0] == "the newest verified"
    assert told[proven.name]["reasons"] == ["the newest proven by a drill"]
    assert told[newest.name]["trust"] == "damaged"
    assert told[replayed.name]["trust"] == "foreign"
    assert newer.name in str(done["warnings"])
    reliability(
        "the newest entry has one bit flipped, its size is right",
        "it is read in full before anything goes, counts no more, and the one before it stays",
        area=AREA,
        message=told[newest.name]["reasons"][0],
    )
    reliability(
        "an old entry copied under an ID of the future",
        "it does not count: it neither stops the rotation nor takes a place",
        area=AREA,
        message=told[replayed.name]["reasons"][0],
    )
    reliability(
        "a proof copied beside another entry",
        "it proves nothing there",
        area=AREA,
        message=next(str(each) for each in done["warnings"] if "proof of entry" in str(each)),
    )


def test_prune_clock_set_back(
    lab: BackupLab, old: t.Callable[..., Path], reliability: t.Any
) -> None:
    """A genuine entry of tomorrow: seen from it, the controller's clock was set back."""
    old(2), old(-1)
    before = lab.entries("alpha")
    failed = prune(lab)
    assert (failed["failed"], failed["error"]["kind"]) == (True, "clock_implausible")
    assert before[-1] in failed["msg"]
    assert lab.entries("alpha") == before
    reliability(
        "the controller's clock set back by a day", "refused", area=AREA, message=failed["msg"]
    )


def test_prune_wiped_cluster(
    lab: BackupLab, old: t.Callable[..., Path], reliability: t.Any
) -> None:
    before, after = old(9, objects=900), old(8, objects=4)
    gone = [old(days, objects=4).name for days in (7, 6)]
    newest = old(-0.001, objects=4).name
    done = prune(lab, release=[lab.entries("alpha")[-2]])
    stay = {each["id"]: each["reasons"] for each in done["entries"] if each["keep"]}
    assert set(gone) <= set(done["removed"])
    assert {before.name, after.name, newest} <= set(stay)
    assert "from 900 to 4 objects" in stay[before.name][0]
    again = prune(lab, release=[before.name, lab.entries("alpha")[-2]])
    assert before.name in again["removed"]
    reliability(
        "a cluster that was wiped",
        "the last entry before it is never rotated away, until it is released by its ID",
        area=AREA,
        message=stay[before.name][0],
    )


needs_disks = pytest.mark.skipif(bool(why_no_small_disks()), reason=why_no_small_disks())


@needs_disks
class TestDisks:
    """An archive on a disk of its own: full, read-only, with files that cannot be deleted."""

    @pytest.fixture
    def small(
        self, lab: BackupLab, old: t.Callable[..., Path]
    ) -> t.Iterator[tuple[SmallDisk, list[str]]]:
        old(3), old(2)
        disk = SmallDisk(lab.root / "disk", mib=64)
        shutil.copytree(lab.archive / "alpha", disk.path / "alpha")
        lab.archive = disk.path
        yield disk, lab.entries("alpha")
        disk.close()

    def test_full(
        self, lab: BackupLab, small: tuple[SmallDisk, list[str]], reliability: t.Any
    ) -> None:
        disk, before = small
        disk.fill()
        done = prune(lab)
        assert done["removed"] == before[:2], done
        assert disk.free_bytes >= done["freed_bytes"]
        reliability("the archive's disk is full", "rotated all the same", area=AREA)

    def test_read_only(
        self, lab: BackupLab, small: tuple[SmallDisk, list[str]], reliability: t.Any
    ) -> None:
        disk, before = small
        run("mount", "-o", "remount,ro", disk.path)
        failed = prune(lab)
        assert failed["failed"], failed
        assert failed["error"]["kind"] == "archive"
        for word in (before[0], "Read-only file system", "mounted writable"):
            assert word in failed["msg"], failed["msg"]
        asked = prune(lab, _ansible_check_mode=True)
        assert asked["removed"] == before[:2]
        assert (lab.entries("alpha"), hidden(lab)) == (before, [])
        reliability("an archive mounted read-only", "refused", area=AREA, message=failed["msg"])

    def test_a_file_that_cannot_be_deleted(
        self, lab: BackupLab, small: tuple[SmallDisk, list[str]], reliability: t.Any
    ) -> None:
        _other, before = small
        stuck = next((lab.archive / "alpha" / before[0]).glob("data.db*"))
        run("chattr", "+i", stuck)
        try:
            failed = prune(lab)
            assert failed["failed"], failed
            for word in (stuck.name, before[0], "Operation not permitted", "next run"):
                assert word in failed["msg"], failed["msg"]
            assert hidden(lab) == [f".{before[0]}.removed"]
            assert (failed["removed"], failed["finished"]) == ([before[1]], [])
            assert [each["id"] for each in failed["not_done"]] == [before[0]]
        finally:
            for path in (lab.archive / "alpha").rglob("data.db*"):
                with contextlib.suppress(AssertionError):
                    run("chattr", "-i", path)
        done = prune(lab)
        assert (done["finished"], done["removed"]) == ([before[0]], [])
        assert hidden(lab) == []
        reliability(
            "a file of an entry that cannot be deleted",
            "said; the others go, it is out of sight, the next run finishes it once that is possible",
            area=AREA,
            message=failed["msg"],
        )

    def test_folder_of_another_user(
        self, lab: BackupLab, small: tuple[SmallDisk, list[str]], reliability: t.Any
    ) -> None:
        """The archive is nobody's, but one entry was put there by root: it can be read."""
        _other, before = small
        for path in [lab.archive, *lab.archive.rglob("*")]:
            if "lost+found" not in path.parts:
                os.chown(path, 65534, 65534)
        theirs = lab.archive / "alpha" / before[0]
        for path in [theirs, *theirs.rglob("*")]:
            os.chown(path, 0, 0)
            path.chmod(0o755 if path.is_dir() else 0o644)
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        failed = prune(lab, prefix=nobody)
        assert failed.get("failed"), failed
        for word in (before[0], "Permission denied", "whose its files are"):
            assert word in failed["msg"], failed["msg"]
        assert failed["removed"] == [before[1]]
        assert (lab.entries("alpha"), hidden(lab)) == ([before[0], before[2]], [])
        assert lab.trust("alpha") == ["trusted"] * 2
        closed = next(theirs.glob("pki"))
        for path in (closed, theirs):
            path.chmod(0o700)
            done = prune(lab, prefix=nobody)
            assert not done.get("failed"), done
            assert done["removed"] == [], done
            assert done["not_judged"][0]["id"] == before[0]
            assert "Permission denied" in done["not_judged"][0]["reason"]
        reliability(
            "an entry whose files are another user's",
            "it is left whole and named, the others go; what cannot be read does not count and stays",
            area=AREA,
            message=failed["msg"],
        )
