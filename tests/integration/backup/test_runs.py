# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked wrongly, twice at once, under another's name, or laid into the archive by others."""

from __future__ import annotations

import json
import shutil
import typing as t
from pathlib import Path

import pytest
from integration.backup.backup_lab import NO_CLUSTER, BackupLab, Run
from integration.backup.things import Proxy
from integration.backup.watch import processes, until

from lab import objects
from lab.loopback import Cluster

AREA = "playbook"


@pytest.fixture(scope="module")
def alpha() -> t.Iterator[Cluster]:
    with Cluster("alpha", size=1) as cluster:
        objects.fill(cluster, name="alpha")
        yield cluster


@pytest.fixture
def lab() -> t.Iterator[BackupLab]:
    with BackupLab() as lab:
        yield lab


# What a person writes into the inventory, and words that the answer must have.
ASKED: dict[str, tuple[str, dict[str, t.Any], list[str]]] = {
    NO_CLUSTER: ("a host without etcd_cluster", {}, ["nocluster-cp1", "etcd_cluster"]),
    "clear": (
        "no recipients, unsealed not allowed",
        {"etcd_recipients": []},
        ["etcd_recipients not set", "clear-cp1"],
    ),
    "recipient": (
        "a recipient that is none",
        {"etcd_recipients": ["age1nonsense"]},
        ["recipient-cp1", "Recipient 1 of part data"],
    ),
    "key": (
        "a signing key that is not there",
        {"etcd_signing_key": "/nonexistent/key"},
        ["/nonexistent/key"],
    ),
    "relative": ("an archive that is no absolute path", {"etcd_archive": "archive"}, ["'archive'"]),
    "layout": (
        "a layout that is none",
        {"etcd_backup_layout": "kubeadmn"},
        ["etcd_backup_layout", "kubeadmn", "kubeadm"],
    ),
    "duration": (
        "a duration that is none",
        {"etcd_backup_stream_timeout": "soon"},
        ["stream_timeout", "soon"],
    ),
    "unknown": (
        "the name of a variable mistyped",
        {"etcd_backup_stagin_dir": "/srv"},
        ["etcd_backup_stagin_dir", "unknown-cp1"],
    ),
}


class TestAsked:
    """One run: a good cluster, one that is meant to lie open, and each wrong wish."""

    @pytest.fixture(scope="class")
    def lab(self) -> t.Iterator[BackupLab]:
        with BackupLab(pipelining=True) as lab:
            yield lab

    @pytest.fixture(scope="class")
    def run(self, lab: BackupLab, alpha: Cluster) -> Run:
        wishes = {name: wish for name, (_fault, wish, _words) in ASKED.items()}
        wishes["open"] = {"etcd_recipients": [], "etcd_allow_unsealed": True}
        wishes["alpha"] = {}
        given = alpha.host_variables("alpha-cp1")
        hosts = {
            name: {f"{name}-cp1": lab.host(f"{name}-cp1", {**given, **wish})}
            for name, wish in wishes.items()
        }
        # All are the same etcd under several names, one after the other.
        return lab.backup(hosts, etcd_backup_lock_timeout="2m")

    @pytest.mark.parametrize("name", ASKED)
    def test_a_wrong_wish_is_refused_by_name(
        self, lab: BackupLab, run: Run, name: str, reliability: t.Any
    ) -> None:
        fault, _wish, words = ASKED[name]
        said = [r for r in run.results if (r["how"], r["host"]) == ("failed", f"{name}-cp1")]
        assert len(said) == 1, said
        message = said[0]["msg"]
        for word in words:
            assert word in message, message
        assert not lab.entries(name)
        reliability(fault, "refused, the others are backed up", area=AREA, message=message)

    def test_unsealed_if_allowed_and_loudly(
        self, lab: BackupLab, run: Run, reliability: t.Any
    ) -> None:
        assert run.status == 2
        assert run.outcome("open")["outcome"] == "archived"
        assert "NOT SEALED" in run.said("open-cp1", "Show it")["msg"]
        entry = lab.archive / "open" / lab.entries("open")[0]
        assert (entry / "data.db.zst").is_file()
        assert not list(entry.rglob("*.age"))
        reliability("no recipients, unsealed allowed", "archived, and said loudly", area=AREA)

    def test_it_says_how_much_the_entry_restores(self, run: Run) -> None:
        said = run.said("alpha-cp1", "Show it")["msg"]
        assert "restores: the whole control plane, on any hosts" in said

    def test_nothing_is_left_behind(self, lab: BackupLab, run: Run) -> None:
        assert run.outcome("alpha")["outcome"] == "archived"
        assert not lab.left()


def test_two_runs_at_once(lab: BackupLab, alpha: Cluster, reliability: t.Any) -> None:
    proxy = Proxy(alpha.endpoints[0], hold=True)
    hosts = {"alpha": lab.hosts(alpha)}
    held = {"alpha": lab.hosts(alpha, etcd_endpoints=[proxy.endpoint])}
    # On a busy machine the second run comes only after the stream of this one has been idle for long.
    first = lab.start(held, etcd_backup_stream_idle_timeout="10m")
    assert proxy.held.wait(120)
    refused = lab.backup(hosts)
    said = refused.verdict("alpha")
    assert refused.status == 2
    for word in ("alpha-cp1", "Another run holds", "pid ", "lock"):
        assert word in said, said
    waiting = lab.start(hosts, etcd_backup_lock_timeout="2m")
    until("the second snapshot", lambda: len(snapshots(lab)) >= 2)
    assert not lab.entries("alpha")
    proxy.close()
    assert first.wait().outcome("alpha")["outcome"] == "archived"
    assert waiting.wait().outcome("alpha")["outcome"] == "archived"
    lab.assert_clean(entries={"alpha": 2})
    assert lab.trust("alpha") == ["trusted", "trusted"]
    reliability(
        "two runs at once",
        "the second fails and names the first, or waits as long as etcd_backup_lock_timeout says",
        area=AREA,
        message=said,
    )


def snapshots(lab: BackupLab) -> list[int]:
    """List the processes of etcd_snapshot."""
    found = [(pid, words) for pid, words in processes() if str(lab.root) in words]
    return [
        pid
        for pid, words in found
        if "AnsiballZ_etcd_snapshot.py" in words and "python" in words.partition(" ")[0]
    ]


def test_limit_that_leaves_a_member_out(lab: BackupLab, alpha: Cluster, reliability: t.Any) -> None:
    others = {name: lab.host(name, alpha.host_variables("alpha-cp1")) for name in ("two", "three")}
    run = lab.backup({"alpha": {**lab.hosts(alpha), **others}}, "--limit", "alpha-cp1,two")
    assert run.status == 2
    said = {r["host"]: r["msg"] for r in run.results if r["how"] == "failed"}
    assert set(said) == {"alpha-cp1", "two"}
    for word in ("Cluster alpha is refused", "three", "--limit"):
        assert word in said["alpha-cp1"]
    lab.assert_clean(entries={"alpha": 0})
    reliability(
        "--limit leaves a member's host out",
        "its cluster is refused, the host is named",
        area=AREA,
        message=said["alpha-cp1"],
    )


class TestTheArchiveOfOthers:
    """An archive that somebody else wrote to; and a cluster that comes under another's name."""

    @pytest.fixture(scope="class")
    def lab(self, alpha: Cluster) -> t.Iterator[BackupLab]:
        with BackupLab() as lab:
            assert lab.backup({"alpha": lab.hosts(alpha)}).status == 0
            yield lab

    @pytest.fixture
    def entry(self, lab: BackupLab) -> t.Iterator[Path]:
        """A copy of the genuine entry under an ID of its own, gone afterwards."""
        genuine = lab.archive / "alpha" / lab.entries("alpha")[0]
        copy = genuine.with_name("20991231T235959Z-0badc0de")
        shutil.copytree(genuine, copy)
        yield copy
        shutil.rmtree(copy)

    def test_replayed(self, lab: BackupLab, entry: Path, reliability: t.Any) -> None:
        assert lab.trust("alpha") == ["foreign", "trusted"]
        reliability("an old entry replayed under a newer ID", "listed as foreign", area=AREA)

    def test_forged(self, lab: BackupLab, entry: Path, reliability: t.Any) -> None:
        manifest = entry / "manifest.json"
        said = json.loads(manifest.read_text())
        manifest.write_text(json.dumps({**said, "id": entry.name}))
        assert lab.trust("alpha") == ["forged", "trusted"]
        reliability("a forged manifest", "listed as forged", area=AREA)

    def test_unsigned(self, lab: BackupLab, entry: Path, reliability: t.Any) -> None:
        (entry / "manifest.json.sig").unlink()
        assert lab.trust("alpha") == ["unsigned", "trusted"]
        reliability("an unsigned manifest", "listed as unsigned", area=AREA)

    def test_the_next_backup_is_not_led_astray(
        self, lab: BackupLab, alpha: Cluster, entry: Path, reliability: t.Any
    ) -> None:
        """The forger's entry names another cluster of the same name, newer than all."""
        manifest = entry / "manifest.json"
        said = json.loads(manifest.read_text())
        manifest.write_text(json.dumps({**said, "id": entry.name}))
        run = lab.backup({"alpha": lab.hosts(alpha)})
        assert run.outcome("alpha")["outcome"] == "archived"
        assert lab.trust("alpha")[0] == "forged"
        assert lab.trust("alpha").count("trusted") == len(lab.entries("alpha")) - 1
        reliability(
            "a backup beside a forged entry", "archived, the forgery stays named", area=AREA
        )

    def test_another_cluster_under_this_name(self, lab: BackupLab, reliability: t.Any) -> None:
        with Cluster("beta", size=1) as beta:
            objects.fill(beta, name="beta")
            before = len(lab.entries("alpha"))
            run = lab.backup({"alpha": lab.hosts(beta)})
        said = run.verdict("alpha")
        assert run.status == 2
        for word in ("alpha", "another cluster", "give it an etcd_cluster"):
            assert word in said, said
        lab.assert_clean(entries={"alpha": before})
        reliability("a cluster under another's name", "refused", area=AREA, message=said)

    def test_a_forged_identity_record(
        self, lab: BackupLab, alpha: Cluster, reliability: t.Any
    ) -> None:
        """Who owns the name is signed, too: a record that isn't ours can't take the name."""
        records = sorted((lab.archive / "alpha" / "identity").glob("*.json"))
        forged = records[0].with_name("20991231T235959Z-0badc0de.json")
        forged.write_text(records[0].read_text().replace("alpha", "alphb"))
        run = lab.backup({"alpha": lab.hosts(alpha)})
        assert run.outcome("alpha")["outcome"] == "archived", run.text[-3000:]
        warned = run.said("alpha-cp1", "Sign and add the entry")["warnings"]
        assert any(forged.name in each for each in warned), warned
        forged.unlink()
        reliability(
            "a forged identity record", "left out, with a warning", area=AREA, message=warned[0]
        )
