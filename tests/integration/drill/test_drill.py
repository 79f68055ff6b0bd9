# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook drill, end to end: real archives, a real etcd in its cage, and faults on the way."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import signal
import time
import typing as t
from pathlib import Path

import pytest
from integration.backup.backup_lab import Run
from integration.drill.drill_lab import DEAD, DrillLab, Model, outcome

from lab import aged, objects
from lab.archived import Keys, back_up
from lab.loopback import Cluster
from lab.module import run_module

AREA = "drill"
DAY = dt.timedelta(days=1)
STEPS = (
    "Deliver the archive, sealed to a key of the scratch node's own",
    "Restore it, start it cut off from all else, and compare it",
    "Leave nothing of it on the scratch node",
    "Sign the proof and keep it beside the archive",
    "Put together what became of the cluster",
)


def now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Model]:
    """An archive of a real etcd under two names, made once."""
    folder = tmp_path_factory.mktemp("model")
    keys = Keys.make(folder)
    staging = folder / "staging"
    staging.mkdir(mode=0o700)
    with Cluster("alpha", size=1) as etcd:
        objects.fill(etcd, name="alpha")
        added = {}
        for name in ("beta", "alpha"):
            etcd.name = name
            added[name] = back_up(etcd, keys, folder / "archive", staging)
        yield Model(
            folder / "archive",
            keys,
            Path(added["alpha"]["path"]),
            (*etcd.secrets(), *objects.planted_forms()),
        )


@pytest.fixture
def lab(model: Model) -> t.Iterator[DrillLab]:
    with DrillLab(model) as lab:
        yield lab


@pytest.fixture
def slow(model: Model) -> t.Iterator[DrillLab]:
    """Without pipelining: a module is a process with a name, a node has a temporary folder."""
    with DrillLab(model, pipelining=False) as lab:
        yield lab


def shown(run: Run, node: str = "s1") -> str:
    """Return what the run shows of a node's clusters."""
    return str(run.said(node, "Show it")["msg"])


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def prune(lab: DrillLab) -> dict[str, t.Any]:
    """Rotate alpha's entries, all but the last."""
    return run_module(
        "etcd_archive_prune",
        {
            "archive": str(lab.archive),
            "etcd_cluster": "alpha",
            "allowed_signers": [f"{lab.signing_key}.pub"],
            "keep_last": 1,
            "max_removals": 9,
        },
    )


# What passes


def test_a_drill_passes_and_its_proof_is_known(lab: DrillLab, reliability: t.Any) -> None:
    entry = lab.add()
    run = lab.drill({"alpha": {}})
    told = outcome(run, "alpha")
    assert (run.status, told["outcome"]) == (0, "passed"), run.text[-8000:]
    [proof] = lab.proofs(entry)
    assert (proof["verdict"], proof["node"], proof["entry"]) == ("passed", "s1", entry.name)
    assert told["proof"] == str(next(entry.glob("drills/*.json")))
    assert told["rto_seconds"] == proof["rto_seconds"] > 0
    compared = {each["name"]: each["result"] for each in proof["comparisons"]}
    assert {"revision", "hash_kv", "objects", "canary"} <= {*compared}
    assert {*compared.values()} == {"passed"}
    assert [each["name"] for each in proof["phases"]][:2] == ["deliver", "open"]
    assert [each["name"] for each in proof["not_checked"]] == ["decoding"]
    text = shown(run)
    for word in (f"alpha: PASSED: {entry.name}", "took: ", "NOT CHECKED: ", told["proof"]):
        assert word in text, text
    info = lab.info(etcd_cluster="alpha")
    assert info["entries"][0]["proof"] == {
        name: proof[name] for name in ("verdict", "finished_at", "rto_seconds", "node", "reason")
    }
    assert info["proven"][0]["entry"] == entry.name == told["newest_passed"]["entry"]
    lab.assert_nothing_left()
    # Names of objects are secret to some: a proof lies in clear, and has none.
    text = next(entry.glob("drills/*.json")).read_text()
    assert "kube-system" not in text and "/registry" not in text
    reliability("nothing is wrong", "passed, signed, nothing left on the node", area=AREA)


def test_two_clusters_on_two_nodes_at_once_and_a_third_node_that_is_down(
    lab: DrillLab, reliability: t.Any
) -> None:
    lab.add()
    nodes = {"s0": DEAD, "s1": lab.scratch("s1"), "s2": lab.scratch("s2")}
    run = lab.drill({"alpha": {}, "beta": {}}, nodes=nodes)
    assert {name: outcome(run, name)["outcome"] for name in ("alpha", "beta")} == {
        "alpha": "passed",
        "beta": "passed",
    }, run.text[-8000:]
    assert {outcome(run, name)["node"] for name in ("alpha", "beta")} == {"s1", "s2"}
    assert run.text.count("Restore it, start it cut off from all else") == 1
    lab.assert_nothing_left()
    reliability(
        "one of three scratch nodes is down", "the clusters are dealt to the others", area=AREA
    )


def test_check_mode_tells_and_does_nothing(lab: DrillLab) -> None:
    entry = lab.add()
    run = lab.drill({"alpha": {}}, "--check")
    told = outcome(run, "alpha")
    assert (run.status, told["outcome"], told["entry"]) == (0, "checked", entry.name), run.text
    assert "would be drilled" in shown(run)
    assert "newest proof that holds: there is none" in shown(run)
    assert lab.proofs(entry) == []
    lab.assert_nothing_left()


def test_an_entry_of_before_a_time_and_retention_knows_its_proof(lab: DrillLab) -> None:
    newest = lab.add()
    old = aged.add_like(newest, lab.signing_key, now() - 3 * DAY)
    older = aged.add_like(newest, lab.signing_key, now() - 5 * DAY)
    before = f"{now() - DAY:%Y-%m-%dT%H:%M:%SZ}"
    run = lab.drill({"alpha": {"etcd_drill_before": before}})
    assert outcome(run, "alpha")["entry"] == old.name, run.text[-6000:]
    assert [each["verdict"] for each in lab.proofs(old)] == ["passed"]
    # The oldest that no drill was made of, then the next.
    run = lab.drill({"alpha": {"etcd_drill_id": "unproven"}})
    assert outcome(run, "alpha")["entry"] == older.name, run.text[-6000:]
    asked = prune(lab)
    assert asked["removed"] == []
    kept = {each["id"]: each["reasons"] for each in asked["entries"] if each["keep"]}
    assert kept[old.name] == ["the newest proven by a drill"]
    assert kept[older.name] == ["the one that a drill proved last"]
    lab.assert_nothing_left()


@pytest.mark.parametrize("step", STEPS[1:4])
def test_a_rotation_beside_a_drill_takes_nothing_of_it(
    lab: DrillLab, step: str, reliability: t.Any
) -> None:
    newest = lab.add()
    old = aged.add_like(newest, lab.signing_key, now() - 3 * DAY)
    rotated: list[dict[str, t.Any]] = []

    def rotate(task: str) -> None:
        if task == step:
            rotated.append(prune(lab))

    run = lab.begin({"alpha": {"etcd_drill_id": "unproven"}}, handler=rotate).wait()
    told = outcome(run, "alpha")
    assert (told["outcome"], told["entry"]) == ("passed", old.name), run.text[-6000:]
    assert [each["removed"] for each in rotated] == [[]]
    held = next(each for each in rotated[0]["entries"] if each["id"] == old.name)
    assert "process " in held["used_by"]
    assert [each["verdict"] for each in lab.proofs(old)] == ["passed"]
    lab.assert_nothing_left()
    reliability(
        f"a rotation before '{step}' of a drill of the oldest entry, which it would remove",
        "the entry stays, and gets its proof",
        area=AREA,
    )


# What fails: a signed proof says so


def test_an_image_that_is_not_what_its_manifest_says_fails(
    lab: DrillLab, reliability: t.Any
) -> None:
    """Signed by our own key, sealed, right sums: only a restore can tell."""
    entry = lab.add()
    manifest = entry / "manifest.json"
    said = json.loads(manifest.read_text())
    said["kubernetes"]["object_count"] += 1
    said["kubernetes"]["resources"]["configmaps"] += 1
    manifest.write_text(json.dumps(said))
    aged.sign(manifest, lab.signing_key)
    run = lab.drill({"alpha": {}, "beta": {}})
    assert run.status == 2
    assert outcome(run, "beta")["outcome"] == "passed", run.text[-6000:]
    assert outcome(run, "alpha")["outcome"] == "failed"
    [proof] = lab.proofs(entry)
    assert proof["verdict"] == "failed" and "objects" in proof["reason"]
    verdict = run.verdict("alpha")
    for word in ("The drill of cluster alpha FAILED", entry.name, "overdue"):
        assert word in verdict, verdict
    assert "what to do:" in shown(run)
    lab.assert_nothing_left()
    reliability(
        "a manifest that says one ConfigMap more than there is, signed by the archive's own key",
        "failed, the proof says so, the other cluster passed",
        area=AREA,
        message=verdict,
    )


def test_a_damaged_file_is_a_failed_proof_that_takes_an_older_one_away(
    lab: DrillLab, reliability: t.Any
) -> None:
    entry = lab.add()
    aged.prove(entry, lab.signing_key, now() - DAY)
    flip(entry / "data.db.zst.age")
    run = lab.drill({"alpha": {}})
    told = outcome(run, "alpha")
    assert (run.status, told["outcome"]) == (2, "failed"), run.text[-6000:]
    assert [each["verdict"] for each in lab.proofs(entry)] == ["passed", "failed"]
    assert told["newest_passed"] == {} and told["overdue"]
    verdict = run.verdict("alpha")
    assert "data.db.zst.age has sha256" in verdict
    assert lab.info(etcd_cluster="alpha")["proven"][0]["entry"] is None
    lab.assert_nothing_left()
    reliability(
        "one bit of the sealed snapshot flipped, a day after a drill that passed",
        "failed: the older proof does not hold any more",
        area=AREA,
        message=verdict,
    )


# What is no drill: nothing is known of the archive, and no proof is written


def test_what_is_missing_or_wrong_here_is_no_proof(lab: DrillLab, reliability: t.Any) -> None:
    """Many clusters, one archive: each has another thing wrong, none stops another."""
    entry = lab.add()
    stranger = Keys.make(lab.root / "keys")
    wrong: dict[str, tuple[dict[str, t.Any], list[str]]] = {
        "an identity that does not fit": (
            {"etcd_identities": [str(stranger.identity)]},
            ["identit"],
        ),
        "an identity file that is not there": (
            {"etcd_identities": ["/nowhere/identity"]},
            ["/nowhere/identity"],
        ),
        "no archive": ({"etcd_archive": ""}, ["etcd_archive not set"]),
        "an archive whose mount is missing": (
            {"etcd_archive": str(lab.root / "nomount")},
            ["nomount", "not a directory"],
        ),
        "no key to sign with": ({"etcd_signing_key": ""}, ["etcd_signing_key not set"]),
        "another signer than the archive's": (
            {"etcd_signing_key": str(stranger.signing_key)},
            ["unknown_signer"],
        ),
        "a variable that can not be read": (
            {"etcd_identities": "{{ lookup('ansible.builtin.file', '/nowhere/list') }}"},
            ["/nowhere/list"],
        ),
        "an entry that is not there": (
            {"etcd_drill_id": "20200101T000000Z-00000000"},
            ["has no entry 20200101T000000Z-00000000"],
        ),
        "an API server that the archive lacks": (
            {"etcd_drill_api": True},
            ["kube-apiserver"],
        ),
        "a tool that is not on the node": (
            {"etcd_drill_tools": [{"name": "etcd", "path": "/nowhere/etcd", "sha256": "0" * 64}]},
            ["/nowhere/etcd"],
        ),
        "a tool of another sha256": (
            {"etcd_drill_tools": [{"name": "etcd", "path": "/bin/true", "sha256": "0" * 64}]},
            ["/bin/true", "sha256"],
        ),
        "a mirror that nobody answers at": (
            {
                "etcd_drill_tools": [
                    {"name": "etcd", "url": "http://127.0.0.1:9/etcd", "sha256": "0" * 64}
                ]
            },
            ["127.0.0.1:9", "refused"],
        ),
    }
    clusters = {}
    for number, (_fault, (wish, _words)) in enumerate(wrong.items()):
        name = f"c{number}"
        if "etcd_archive" not in wish:
            shutil.copytree(entry.parent, lab.archive / name)
        clusters[name] = wish
    # An archive's entries belong to their cluster: each gets one of its own.
    for name in clusters:
        for path in (lab.archive / name).glob("2*/manifest.json"):
            said = json.loads(path.read_text())
            said["cluster"]["name"] = name
            path.write_text(json.dumps(said))
            aged.sign(path, lab.signing_key)
    run = lab.drill({**clusters, "beta": {}})
    assert run.status == 2
    assert outcome(run, "beta")["outcome"] == "passed", run.text[-6000:]
    for name, (fault, (_wish, words)) in zip(clusters, wrong.items()):
        told = outcome(run, name)
        assert told["outcome"] == "not_drilled", (fault, run.text[-6000:])
        said = " ".join(told["errors"])
        for word in words:
            assert word in said, (fault, said)
        reliability(fault, "NOT drilled, no proof", area=AREA, message=said)
    assert not [path for name in clusters for path in (lab.archive / name).rglob("drills")]
    lab.assert_nothing_left()


def test_what_breaks_off_after_the_delivery_leaves_nothing(
    lab: DrillLab, reliability: t.Any
) -> None:
    """Ansible checks no option of a cluster's host: what can't be used there shows on the way."""
    entry = lab.add()
    tools = [{"name": "kube-apiserver", "path": "/nowhere/kube-apiserver", "sha256": "0" * 64}]
    mirrored = [{"name": "etcd", "url": "http://127.0.0.1:9/etcd"}]
    clusters: dict[str, dict[str, t.Any]] = {
        "alpha": {"etcd_drill_extract": "all", "etcd_drill_tools": tools},
        "beta": {"etcd_drill_tools": mirrored},
    }
    run = lab.drill(clusters)
    assert run.status == 2
    lab.assert_nothing_left()
    # An option of the step after the delivery, and one that is looked at before it.
    words = {
        "alpha": ["controlplane.etcd.etcd_drill", "'extract'"],
        "beta": ["etcd_drill_tools of beta-cp1 has a url and no sha256 for etcd."],
    }
    for name, expected in words.items():
        told = outcome(run, name)
        assert (told["outcome"], told["left"]) == ("not_drilled", []), run.text[-6000:]
        said = " ".join(told["errors"])
        for word in expected:
            assert word in said, said
        reliability(f"{clusters[name]}", "NOT drilled, nothing left", area=AREA, message=said)
    assert outcome(run, "alpha")["entry"] == entry.name
    assert outcome(run, "beta")["entry"] == ""


def test_proof_that_cannot_be_signed(lab: DrillLab, reliability: t.Any) -> None:
    entry = lab.add()
    own = lab.root / "keys" / "going"
    shutil.copy(lab.signing_key, own)

    def take_away(task: str) -> None:
        if task.startswith("Sign the proof"):
            own.unlink()

    run = lab.begin(
        {"alpha": {"etcd_allowed_signers": [f"{lab.signing_key}.pub"]}},
        handler=take_away,
        etcd_signing_key=str(own),
    ).wait()
    assert (run.status, outcome(run, "alpha")["outcome"]) == (2, "not_drilled"), run.text[-6000:]
    said = run.verdict("alpha")
    for word in ("The drill passed, but its proof could not be kept", str(own)):
        assert word in said, said
    assert lab.proofs(entry) == []
    lab.assert_nothing_left()
    reliability(
        "the signing key goes away before the proof is signed",
        "NOT drilled, and the run says that it passed and could not be kept",
        area=AREA,
        message=said,
    )


def test_no_node_at_all(lab: DrillLab, reliability: t.Any) -> None:
    entry = lab.add()
    aged.prove(entry, lab.signing_key, now() - 9 * DAY)
    run = lab.drill({"alpha": {}, "beta": {}}, nodes={"s0": DEAD})
    assert run.status != 0
    for name in ("alpha", "beta"):
        told = outcome(run, name)
        assert (told["outcome"], told["overdue"]) == ("not_drilled", True), run.text[-6000:]
        assert "s0: " in " ".join(told["errors"])
    said = run.verdict("alpha")
    assert "a proof that holds is of" in said
    assert "a proof that holds does not exist" in said
    reliability(
        "no scratch node answers, the newest proof is nine days old",
        "NOT drilled, overdue; a cluster that was never proven says that",
        area=AREA,
        message=said,
    )


# Faults on the way


@pytest.mark.parametrize("step", STEPS[1:3])
def test_a_node_lost_on_the_way_fails_its_own_clusters_only(
    slow: DrillLab, step: str, reliability: t.Any
) -> None:
    """Where it lives is taken away, so that no module can be brought there: unreachable, to Ansible."""
    lab = slow
    lab.add()
    nodes = {"s1": lab.scratch("s1"), "s2": lab.scratch("s2")}
    home = Path(nodes["s1"]["ansible_remote_tmp"])

    def lose(task: str) -> None:
        if task == step:
            shutil.rmtree(home)
            home.touch()

    run = lab.begin({"alpha": {}, "beta": {}}, nodes=nodes, handler=lose).wait()
    assert run.status != 0
    assert outcome(run, "beta")["outcome"] == "passed", run.text[-8000:]
    told = outcome(run, "alpha")
    late = step == STEPS[2]
    assert told["outcome"] == ("passed" if late else "not_drilled"), run.text[-8000:]
    said = run.verdict("alpha")
    assert ("Something was left behind on s1" if late else "Scratch node s1 was lost") in said
    home.unlink()
    home.mkdir()
    again = lab.drill({"alpha": {}}, nodes={"s1": nodes["s1"]})
    assert outcome(again, "alpha")["outcome"] == "passed", again.text[-6000:]
    lab.assert_nothing_left()
    reliability(
        f"a scratch node is lost before '{step}'",
        "its own clusters fail by name, the others pass; the next drill there removes what lay there",
        area=AREA,
        message=said,
    )


@pytest.mark.parametrize("step", STEPS)
def test_controller_killed_and_run_again(slow: DrillLab, step: str, reliability: t.Any) -> None:
    lab = slow
    entry = lab.add()
    node = lab.scratch("s1")
    killed: list[str] = []

    def kill(task: str) -> None:
        if task == step and not killed:
            killed.append(task)
            session.kill()

    session = lab.begin({"alpha": {}}, nodes={"s1": node}, handler=kill)
    session.process.wait(120)
    assert killed
    kept = len(lab.proofs(entry))
    again = lab.drill({"alpha": {}}, nodes={"s1": node})
    assert outcome(again, "alpha")["outcome"] == "passed", again.text[-6000:]
    assert len(lab.proofs(entry)) == kept + 1
    for path in Path(node["ansible_remote_tmp"]).glob("ansible-tmp-*"):
        shutil.rmtree(path)  # Ansible's own, of a task that was killed
    lab.assert_nothing_left()
    reliability(
        f"kill -9 of the controller at '{step}'",
        "the next run removes what was left on the node, and passes",
        area=AREA,
    )


def test_the_drill_itself_is_killed(slow: DrillLab, reliability: t.Any) -> None:
    lab = slow
    entry = lab.add()
    session = lab.begin({"alpha": {}})
    session.wait_for(STEPS[1])
    killed = False
    while session.process.poll() is None and not killed:
        pid = lab.module_process("s1", "etcd_drill")
        if pid:
            time.sleep(1.0)
            os.kill(pid, signal.SIGKILL)
            killed = True
        time.sleep(0.01)
    run = session.wait()
    assert (run.status, outcome(run, "alpha")["outcome"]) == (2, "not_drilled"), run.text[-6000:]
    said = run.verdict("alpha")
    assert "killed or broke off" in said
    assert lab.proofs(entry) == []
    lab.assert_nothing_left()
    reliability(
        "kill -9 of the drill on the scratch node",
        "NOT drilled, no proof, nothing left there",
        area=AREA,
        message=said,
    )


# What is asked wrongly


def test_what_is_asked_wrongly_is_named(lab: DrillLab, reliability: t.Any) -> None:
    lab.add()
    runs = {
        "a variable mistyped": (
            lab.drill({"alpha": {"etcd_drill_maxage": "1d"}}),
            "etcd_drill_maxage",
        ),
        "a scratch group without hosts": (
            lab.drill({"alpha": {}}, nodes={}),
            "no host in 'etcd_scratch'",
        ),
        "hosts without a cluster": (
            lab.drill({"nocluster": {}}),
            "belong to no cluster: nocluster-cp1",
        ),
        "clusters that are not there": (
            lab.drill({"alpha": {}}, "-e", "etcd_hosts=nobody"),
            "No host matches 'nobody'",
        ),
        "a limit that is no duration": (
            lab.drill({"alpha": {"etcd_drill_max_age": "soon"}}),
            "soon",
        ),
    }
    for fault, (run, word) in runs.items():
        assert run.status == 2, fault
        said = " ".join(each["msg"] for each in run.results if each["how"] == "failed")
        assert word in said, (fault, said)
        reliability(fault, "refused by name", area=AREA, message=said)
    lab.assert_nothing_left()
