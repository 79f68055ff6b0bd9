# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries, from start to name: whole or not there, whatever dies on the way."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import signal
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    add,
    assemble,
    entries,
    listing,
    manifest,
    names,
    owner,
    shared,
    store,
    trust,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.summary import summary
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.trust import TrustState
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ArchiveError,
    EtcdToolError,
    IdentityMismatch,
    ManifestInvalid,
    OptionInvalid,
    SpaceMissing,
    TrustError,
)
from ansible_collections.controlplane.etcd.plugins.modules import etcd_snapshot

if t.TYPE_CHECKING:
    from .conftest import Bench

NOW = dt.datetime(2026, 11, 23, 14, 50, tzinfo=dt.timezone.utc)
LATER = NOW + dt.timedelta(hours=1)


def _judged(bench: Bench, entry: str, depth: entries.Depth = "files") -> entries.Entry:
    return entries.read_entry(
        bench.place, bench.prefix, entry, signers=bench.wish().signers, depth=depth
    )


def _tree(bench: Bench) -> list[str]:
    return sorted(str(path.relative_to(bench.folder)) for path in bench.folder.rglob("*"))


def test_records_have_the_names_that_etcd_snapshot_returns(bench: Bench, tmp_path: Path) -> None:
    documented = yaml.safe_load(etcd_snapshot.RETURN)
    record = bench.records(str(tmp_path)).snapshot
    for part in ("snapshot", "kubernetes"):
        assert set(record[part]) <= set(documented[part]["contains"]), part


def test_finish_keeps_the_key_prefix(bench: Bench) -> None:
    found = bench.add().entry.manifest
    assert found is not None
    assert found.kubernetes.etcd_prefix == "/registry"


@pytest.mark.parametrize(
    ("election", "result", "detail"),
    [
        (
            {"hash_agreement": "equal", "hash_kv": "24f1f74c", "hash_revision": 18270},
            "passed",
            "24f1f74c at revision 18270",
        ),
        (
            {"hash_agreement": "not_comparable", "hash_reasons": ["cp2: too slow"]},
            "not_comparable",
            "cp2: too slow",
        ),
    ],
    ids=["equal", "not comparable"],
)
def test_finish_records_how_hashes_compared(
    bench: Bench, election: dict[str, t.Any], result: str, detail: str
) -> None:
    found = bench.add(election=election).entry.manifest
    assert found is not None
    [check] = [check for check in found.checks if check.name == "hash_agreement"]
    assert check.result == result
    assert detail in (check.detail or "")


def test_finish_warns_of_parts_that_one_key_can_open(bench: Bench) -> None:
    warned = [text for text in bench.add().warnings if "one recipient only" in text]
    assert [text.split()[1] for text in warned] == ["data", "pki"]


def test_assemble_warns_where_hosts_encrypt_in_different_ways(bench: Bench, tmp_path: Path) -> None:
    records = bench.records(str(tmp_path))
    kits = [{**kit, "result": dict(kit["result"])} for kit in records.kits]
    for number, kit in enumerate(kits):
        kit["result"]["encryption"] = {
            "providers": ["aescbc"],
            "key_names": ["aescbc/new"] if number else ["aescbc/old"],
        }
    [warned] = assemble.drift(dataclasses.replace(records, kits=tuple(kits)))
    assert "cp1: aescbc, aescbc/old; cp2, cp3: aescbc, aescbc/new" in warned
    same = dataclasses.replace(records, kits=(kits[1], kits[2]))
    assert assemble.drift(same) == []


def test_finish_gives_a_trusted_entry(bench: Bench) -> None:
    finished = bench.add()
    entry = finished.entry.id
    assert finished.path == str(bench.folder / entry)
    assert sorted(os.listdir(finished.path)) == [
        "RESTORE.txt",
        "catalog.json.zst.age",
        "data.db.zst.age",
        "manifest.json",
        "manifest.json.sig",
        "pki",
    ]
    judged = _judged(bench, entry)
    assert (judged.trust, judged.reason, judged.verified) == (TrustState.TRUSTED, "", True)
    assert judged.manifest == finished.entry.manifest
    told = summary(judged)
    assert told["completeness"] == "data_only"
    assert "no_encryption_config" in [lack["code"] for lack in told["lacks"]]
    assert told["lack_count"] == len(told["lacks"])
    assert told["sealed"] is True
    assert told["source_host"] == "cp2"
    assert told["warnings"][0] == "NOSPACE is raised"
    assert told["missing_hosts"] == told["members_without_host"] == []
    for path in Path(finished.path).rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_finish_manifest_says_who_lived_where(bench: Bench) -> None:
    found = bench.add().entry.manifest
    assert found is not None
    assert [member.host for member in found.cluster.members] == ["cp1", "cp2", "cp3"]
    assert found.cluster.members[0].layout == manifest.MemberLayout(
        "kubeadm", "/var/lib/etcd", data_dir_is_mount=False
    )
    assert found.snapshot.compact_revision == -1
    assert [file.host for file in found.files if file.part == "pki"] == ["cp1", "cp2", "cp3"]
    assert "RESTORE.txt" in [file.name for file in found.files]


@pytest.mark.parametrize(
    ("kits", "code", "without"),
    [((), "no_kit", ["cp1", "cp2", "cp3"]), (("cp2",), "no_etcd_ca", ["cp1", "cp3"])],
)
def test_finish_without_all_kits_says_so(
    bench: Bench, kits: tuple[str, ...], code: str, without: list[str]
) -> None:
    told = summary(bench.add(kits=kits).entry)
    assert (told["lacks"][0]["code"], told["members_without_kit"]) == (code, without)


def test_start_two_at_once_both_become_entries(bench: Bench, reliability: t.Any) -> None:
    wish = bench.wish()
    first = add.start(wish, now=NOW, really=True)
    second = add.start(wish, now=NOW, really=True)
    assert first.id != second.id
    assert second.removed_parts == ()
    # what tells the one's leavings on hosts from the other's, and from those of dead runs
    assert (first.owner_label, first.parts) == (second.owner_label, (first.id,))
    assert second.parts == tuple(sorted([first.id, second.id]))
    assert second.abandoned_before < first.id
    for started in (first, second):
        add.finish(wish, started.id, bench.records(started.path), now=NOW)
    assert bench.place.entries(bench.prefix) == sorted([first.id, second.id])
    reliability("two runs at once into one archive", "both end as entries of their own")


def test_start_in_check_mode_changes_nothing(bench: Bench) -> None:
    started = add.start(bench.wish(), now=NOW, really=False)
    assert names.is_entry(started.id)
    assert not (bench.root / "archive").exists()


def test_start_with_a_key_that_would_not_be_trusted_is_refused(bench: Bench) -> None:
    other = bench.root / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    wish = bench.wish(signers=trust.Signers.parse(f"{other}.pub"))
    with pytest.raises(TrustError, match="etcd_allowed_signers"):
        add.start(wish, now=NOW, really=True)
    assert not (bench.root / "archive").exists()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("spoil", "error", "says"),
    [
        (lambda part: _cut(part / "data.db.zst.age"), TrustError, "data.db.zst.age is"),
        (lambda part: _flip(part / "pki/cp2.tar.zst.age"), TrustError, "cp2.tar.zst.age is"),
        (lambda part: (part / "data.db.zst.age").unlink(), ArchiveError, "did not arrive"),
        (lambda part: (part / "more").write_text("x"), ArchiveError, "no record names"),
    ],
    ids=["cut off", "bit flipped", "missing", "unknown file"],
)
def test_finish_files_are_not_as_recorded_leaves_nothing(
    bench: Bench, spoil: t.Callable[[Path], None], error: type[EtcdToolError], says: str
) -> None:
    wish = bench.wish()
    started = add.start(wish, now=NOW, really=True)
    records = bench.records(started.path)
    spoil(Path(started.path))
    with pytest.raises(error, match=says) as caught:
        add.finish(wish, started.id, records, now=NOW)
    assert started.path in str(caught.value)
    assert _tree(bench) == []


def test_finish_unsealed_is_refused_unless_allowed(bench: Bench) -> None:
    wish = bench.wish()
    started = add.start(wish, now=NOW, really=True)
    with pytest.raises(OptionInvalid, match="allow_unsealed"):
        add.finish(wish, started.id, bench.records(started.path, sealed=False), now=NOW)
    told = summary(bench.add(sealed=False).entry)
    assert told["sealed"] is False


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda record: record.pop("snapshot"), "has no snapshot"),
        (lambda record: record["snapshot"].pop("revision"), "has no revision"),
        (lambda record: record["snapshot"].update(sha256="XYZ"), "snapshot.sha256"),
        (lambda record: record.update(cluster_id=14841639068965180466), "lineage|cluster_id"),
    ],
    ids=["no snapshot", "no revision", "bad sha256", "id as a number"],
)
def test_finish_bad_records_are_refused(
    bench: Bench, spoil: t.Callable[[t.Any], None], says: str
) -> None:
    wish = bench.wish()
    started = add.start(wish, now=NOW, really=True)
    records = dataclasses.replace(bench.records(started.path), info={})
    spoil(records.snapshot)
    with pytest.raises(ManifestInvalid, match=says):
        add.finish(wish, started.id, records, now=NOW)
    assert _tree(bench) == []


def test_finish_name_that_leaves_the_folder_is_refused(bench: Bench) -> None:
    wish = bench.wish()
    started = add.start(wish, now=NOW, really=True)
    records = bench.records(started.path)
    for name in ("../../x", "/etc/passwd", "a/b/c", ".hidden", "pki/..", ""):
        started = add.start(wish, now=NOW, really=True)
        records.snapshot["files"][0]["name"] = name
        with pytest.raises((OptionInvalid, ManifestInvalid)):
            add.finish(wish, started.id, records, now=NOW)


def test_finish_kit_of_another_cluster_is_refused(bench: Bench) -> None:
    wish = bench.wish()
    started = add.start(wish, now=NOW, really=True)
    records = bench.records(started.path)
    strange = {**records.kits[0], "member_id": "123"}
    with pytest.raises(IdentityMismatch, match="cp1 is of member 123"):
        add.finish(
            wish,
            started.id,
            dataclasses.replace(records, kits=(strange, *records.kits[1:])),
            now=NOW,
        )


def test_finish_another_cluster_under_the_name_is_refused(bench: Bench, reliability: t.Any) -> None:
    first = bench.add()
    tree = _tree(bench)
    other = dataclasses.replace(bench, cluster_id="1111", kube_system_uid="another")
    with pytest.raises(IdentityMismatch) as caught:
        other.add(now=LATER)
    for word in ("prod", "cdf818194e3a8c32", "1111", "another", "0c2f2a0e", "etcd_cluster"):
        assert word in str(caught.value)
    assert _tree(bench) == tree
    assert bench.place.entries(bench.prefix) == [first.entry.id]
    reliability(
        "a cluster under another's name",
        "refused, both identities named, no entry, part removed",
        message=str(caught.value),
    )


def test_finish_one_file_that_every_host_could_give_is_kept_once(bench: Bench) -> None:
    wish = bench.wish()
    started = add.start(wish, now=NOW, really=True)
    records = bench.records(started.path)
    claims = [
        bench.seal(started.path, "encryption.tar", "encryption", b"the same config")
        for _kit in records.kits
    ]
    assert len({claim["sha256"] for claim in claims}) == 3
    for kit, claim in zip(records.kits, claims):
        kit["result"]["files"].append(claim)
    found = add.finish(wish, started.id, records, now=NOW).entry.manifest
    assert found is not None
    (file,) = (file for file in found.files if file.part == "encryption")
    assert (file.sha256, file.host) == (claims[-1]["sha256"], None)


def test_finish_twice_the_second_reads_back(bench: Bench) -> None:
    entry = bench.add().entry
    assert add.read_back(bench.wish(), entry.id) == entry
    assert add.read_back(bench.wish(), "20261123T145000Z-00000000") is None


def test_finish_keeps_tools_and_wheelhouse_once(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "etcdutl").write_bytes(b"the tool")
    (tmp_path / "wheels.tar").write_bytes(b"the wheels")
    given = {"name": "etcdutl", "version": "3.6.16", "platform": "linux-amd64"}
    tool = shared.Given.tool({**given, "path": str(tmp_path / "etcdutl")})
    wheels = shared.Given.wheel_file({"name": "w.tar", "path": str(tmp_path / "wheels.tar")})
    wish = bench.wish(tools=(tool,), wheelhouse=(wheels,))
    started = add.start(wish, now=NOW, really=True)
    assert (started.tools_missing, started.wheelhouse_missing) == (("etcdutl",), ("w.tar",))
    found = add.finish(wish, started.id, bench.records(started.path), now=NOW).entry.manifest
    assert found is not None
    assert found.tools[0].path == "tools/etcd-3.6.16-linux-amd64/etcdutl"
    kept = bench.root / "archive" / found.tools[0].path
    assert (kept.read_bytes(), kept.stat().st_mode & 0o777) == (b"the tool", 0o755)
    assert (bench.root / "archive" / found.wheelhouse[0].path).read_bytes() == b"the wheels"
    assert (
        f"$ENTRY/../../{found.tools[0].path}"
        in (bench.folder / started.id / "RESTORE.txt").read_text()
    )
    # Again, without the file: it is there. Another build: beside it, the first stays.
    wish = bench.wish(tools=(shared.Given.tool(given),), wheelhouse=())
    assert add.start(wish, now=NOW, really=True).tools_missing == ()
    assert shared.keep_tool(bench.place, shared.Given.tool(given)) == found.tools[0]
    (tmp_path / "etcdutl").write_bytes(b"another build")
    other = shared.keep_tool(bench.place, tool)
    assert other.path.startswith("tools/etcd-3.6.16-linux-amd64-")
    assert kept.read_bytes() == b"the tool"
    assert shared.keep_tool(bench.place, tool) == other


def test_keep_tool_kube_apiserver_has_a_folder_of_its_project(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "kube-apiserver").write_bytes(b"the server")
    given = {"name": "kube-apiserver", "version": "v1.36.3", "platform": "linux-amd64"}
    tool = shared.Given.tool({**given, "path": str(tmp_path / "kube-apiserver")})
    etcdutl = {"name": "etcdutl", "version": "3.6.16", "platform": "linux-amd64"}
    (tmp_path / "etcdutl").write_bytes(b"the tool")
    other = shared.Given.tool({**etcdutl, "path": str(tmp_path / "etcdutl")})
    started = add.start(bench.wish(tools=(tool, other)), now=NOW, really=True)
    assert started.tools_missing == ("kube-apiserver", "etcdutl")
    wish = bench.wish(tools=(tool, other))
    found = add.finish(wish, started.id, bench.records(started.path), now=NOW).entry.manifest
    assert found is not None
    assert found.tools[0].path == "tools/kubernetes-1.36.3-linux-amd64/kube-apiserver"
    assert found.tools[0].version == "1.36.3"
    # RESTORE.txt restores with etcd's own tool, and knows nothing of the other.
    text = (bench.folder / started.id / "RESTORE.txt").read_text()
    assert f"TOOL=${{TOOL:-$ENTRY/../../{found.tools[1].path}}}" in text
    assert "kubernetes-1.36.3" not in text


def test_keep_tool_changed_on_its_way_is_refused(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "etcd").write_bytes(b"the tool")
    given = {"name": "etcd", "version": "3.6.16", "platform": "linux-amd64", "sha256": "0" * 64}
    with pytest.raises(TrustError, match="sha256"):
        shared.keep_tool(bench.place, shared.Given.tool({**given, "path": str(tmp_path / "etcd")}))
    with pytest.raises(ArchiveError, match="is not in the archive"):
        shared.keep_tool(bench.place, shared.Given.tool(given))
    for bad in ({"name": "bash"}, {"version": "../../x"}):
        with pytest.raises(OptionInvalid):
            shared.Given.tool({**given, **bad})


class _Dying(store.DirectoryStore):
    """Kills its process at a step of commit()."""

    at = ""

    def step(self, name: str) -> None:
        if name == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def _in_a_run(work: t.Callable[[], None]) -> int:
    """Do `work` in a child of a process that stands for the run, and is gone after; its status."""
    run = os.fork()
    if run == 0:
        module = os.fork()
        if module == 0:
            try:
                work()
            finally:
                os._exit(7)
        _pid, status = os.waitpid(module, 0)
        os._exit(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 100)
    _pid, status = os.waitpid(run, 0)
    return os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize("step", ["synced", "signature", "manifest", "renamed"])
def test_finish_killed_at_each_step_never_half_an_entry(
    bench: Bench, step: str, reliability: t.Any
) -> None:
    def die() -> None:
        place = _Dying(str(bench.root / "archive"))
        place.at = step
        wish = bench.wish(place=place)
        started = add.start(wish, now=NOW, really=True)
        add.finish(wish, started.id, bench.records(started.path), now=NOW)

    assert _in_a_run(die) == signal.SIGKILL
    listed = bench.place.entries(bench.prefix)
    if step == "renamed":  # the name was the last thing: the entry is whole
        assert [_judged(bench, entry).trust for entry in listed] == [TrustState.TRUSTED]
    else:
        assert listed == []
        assert [name[0] for name in os.listdir(bench.folder) if name != "identity"] == ["."]
    started = add.start(bench.wish(), now=LATER, really=True)
    assert len(started.removed_parts) == (0 if step == "renamed" else 1)
    assert started.parts == (started.id,)
    add.finish(bench.wish(), started.id, bench.records(started.path), now=LATER)
    assert all(not name.startswith(".") for name in os.listdir(bench.folder))
    assert _judged(bench, started.id).verified
    reliability(
        f"etcd_archive_add killed (-9) after step {step}",
        "no half entry is listed; the next run removes what was left and succeeds",
    )


def test_start_leaves_parts_of_living_and_strange_runs_for_a_day(bench: Bench) -> None:
    here = owner.of_process(os.getpid(), now=NOW)
    strange = dataclasses.replace(here, host="elsewhere", pid=1)
    dead = dataclasses.replace(here, start_ticks=here.start_ticks + 1)
    rebooted = dataclasses.replace(here, boot_id="another")
    made = {}
    for name, builder in {"here": here, "strange": strange, "dead": dead}.items():
        made[name] = names.new_entry(NOW)
        bench.place.start(bench.prefix, made[name], builder)
    unowned = names.new_entry(NOW)
    Path(bench.place.part_path(bench.prefix, unowned)).mkdir()
    assert rebooted.is_stale(here=here, now=NOW) == bool(here.machine_id)

    def stale(now: dt.datetime) -> list[str]:
        return bench.place.stale_parts(bench.prefix, here=here, now=now)

    assert stale(LATER) == [made["dead"]]
    assert stale(NOW + dt.timedelta(days=1)) == sorted([*made.values(), unowned])


def test_finish_archive_full_leaves_nothing_and_says_figures(
    bench: Bench, tmp_path: Path, reliability: t.Any
) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(mount)],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        full = dataclasses.replace(bench, root=mount, clear=os.urandom(20_000))
        wish = full.wish()
        started = add.start(wish, now=NOW, really=True)
        records = full.records(started.path, kits=())
        with pytest.raises(OSError, match="No space"), open(mount / "ballast", "wb", 0) as ballast:
            while ballast.write(bytes(4096)):
                pass
        with pytest.raises(SpaceMissing, match=r"0 bytes are free") as caught:
            add.finish(wish, started.id, records, now=NOW)
        assert str(mount) in str(caught.value)
        assert _tree(full) == []
    finally:
        subprocess.run(["umount", str(mount)], check=True)
    reliability(
        "disk full on the controller's archive",
        "no entry, part removed, error names the file and the free bytes",
        message=str(caught.value),
    )


def test_read_entry_each_trust_state(bench: Bench, reliability: t.Any) -> None:
    wish, made = bench.wish(), [bench.add(now=NOW + dt.timedelta(hours=n)) for n in range(9)]
    folders = [Path(finished.path) for finished in made]
    ids = [finished.entry.id for finished in made]
    (folders[1] / "manifest.json.sig").unlink()
    text = (folders[2] / "manifest.json").read_text()
    (folders[2] / "manifest.json").write_text(text.replace("18274", "18275"))
    for name in ("manifest.json", "manifest.json.sig"):
        (folders[3] / name).write_bytes((folders[4] / name).read_bytes())
    (folders[4] / "data.db.zst.age").unlink()
    _flip(folders[5] / "data.db.zst.age")
    _cut(folders[6] / "RESTORE.txt")
    (folders[7] / "manifest.json").unlink()
    other = bench.root / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    data = (folders[8] / "manifest.json").read_bytes()
    (folders[8] / "manifest.json.sig").write_bytes(trust.signing_from_key(str(other)).sign(data))
    states = [_judged(bench, entry).trust.value for entry in ids]
    assert states == [
        "trusted",
        "unsigned",
        "forged",
        "foreign",
        "incomplete",
        "damaged",
        "damaged",
        "incomplete",
        "unknown_signer",
    ]
    # Sizes alone do not show a flipped bit; nothing but the hash does.
    assert _judged(bench, ids[5], "signature").trust is TrustState.TRUSTED
    assert _judged(bench, ids[5], "none").trust is TrustState.NOT_CHECKED
    found = listing.read_entries(
        bench.place, [bench.prefix], before=None, latest=True, signers=wish.signers, depth="files"
    )
    assert [entry.id for entry in found] == [ids[0]]
    for entry in ids:
        json.dumps(summary(_judged(bench, entry)))
    for fault, state in (
        ("unsigned manifest", "unsigned"),
        ("forged manifest", "forged"),
        ("manifest replayed under another entry's ID", "foreign"),
        ("archived file with one bit flipped", "damaged (its sha256; sizes alone do not show it)"),
        ("archived file missing", "incomplete"),
        ("manifest signed by a key that is not allowed", "unknown_signer"),
    ):
        reliability(fault, f"listed as {state}, never verified, never the latest")


def test_read_entry_of_another_cluster_is_foreign(bench: Bench) -> None:
    entry = bench.add().entry
    stolen = dataclasses.replace(bench, cluster="stage")
    stolen.folder.mkdir()
    os.rename(bench.folder / entry.id, stolen.folder / entry.id)
    judged = _judged(stolen, entry.id)
    assert judged.trust is TrustState.FOREIGN
    assert "prod" in judged.reason
    assert "stage" in judged.reason
