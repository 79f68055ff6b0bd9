# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd_snapshot says what etcd's own tools say: `snapshot status` and the HashKV RPC, every version.

One real etcd a version lives through history, compactions, defragmentation, auth and a restore.
At each of these moments it is asked for its hashes, and a snapshot is taken by the module.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import typing as t
from pathlib import Path

import pyrage
import pytest
import zstandard

from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.database import Database
from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.image import read_image
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.verify import (
    counts_compacted_tombstones,
)
from lab import versions
from lab.loopback import Cluster, LoopbackError
from lab.module import run_module

COLLECTIONS = os.environ.get(
    "ANSIBLE_COLLECTIONS_PATH", str(Path(__file__).resolve().parents[2] / ".venv" / "collections")
)
BUMP = 1_000_000_000
MOMENTS = ("history", "tombstone", "compacted again", "defragmented", "auth", "emptied", "restored")
CONFIGMAP = "/registry/configmaps/default/c"

# What a transaction of etcdctl reads: compares, what to do if they hold, what to do if not.
TXN = "\n{}\n\n\n"


@dataclasses.dataclass(frozen=True)
class LiveHash:
    """What a member answered to HashKV at a revision."""

    revision: int
    compact_revision: int
    hash: int


@dataclasses.dataclass(frozen=True)
class Moment:
    """A member at one time: what it said, what the module said, and the snapshot as a file."""

    result: dict[str, t.Any]
    path: Path
    status: dict[str, t.Any]
    answers: tuple[LiveHash, ...]
    refused: tuple[int, ...]

    @property
    def revision(self) -> int:
        return int(self.result["snapshot"]["revision"])

    @property
    def live(self) -> tuple[LiveHash, ...]:
        """The answers about what the member still had."""
        return tuple(each for each in self.answers if not self._remembered(each))

    @property
    def remembered(self) -> tuple[LiveHash, ...]:
        """The answers that 3.5 and later remember of the compaction: about what it then removed."""
        return tuple(each for each in self.answers if self._remembered(each))

    def _remembered(self, answer: LiveHash) -> bool:
        return answer.compact_revision < int(self.result["snapshot"]["compact_revision"])


class Life:
    """One etcd of a version and its moments."""

    def __init__(self, version: str, folder: Path) -> None:
        self.version = version
        self.folder = folder
        self.moments: dict[str, Moment] = {}
        self.plain: Path | None = None
        self.past: dict[str, t.Any] = {}
        self._identity = pyrage.x25519.Identity.generate()
        with Cluster("alpha", size=1, version=version) as self.etcd:
            self._live()

    @property
    def counts_tombstones(self) -> bool:
        return counts_compacted_tombstones(self.version)

    def _live(self) -> None:
        etcd = self.etcd
        self._history()
        end = self._revision()
        self._keep("history", (2, 3, end // 2, end - 3, end - 1, end))

        etcd.etcdctl("del", f"{CONFIGMAP}7")
        deletion = self._revision()
        for number in range(6):
            etcd.etcdctl("put", f"{CONFIGMAP}1", f"version {number}")
        # Before the compaction, and so older than the hashes of the moment that comes next.
        self.plain = self._file(self._snapshot({}), "plain")
        etcd.etcdctl("compact", str(deletion), "--physical=true", json=False)
        self._keep("tombstone", range(deletion, self._revision() + 1))

        etcd.etcdctl("txn", stdin=self._txn([f"del {CONFIGMAP}{n}" for n in (2, 3, 4)]))
        self._write(range(20, 26))
        middle = self._revision() - 3
        etcd.etcdctl("compact", str(middle), "--physical=true", json=False)
        self._keep("compacted again", range(middle, self._revision() + 1))
        for answer in self.moments["compacted again"].remembered:
            self.past = self._snapshot(_agreed(answer))

        etcd.etcdctl("defrag", json=False)
        etcd.etcdctl("put", "after-defrag", "x")
        self._keep("defragmented", range(middle + 1, self._revision() + 1))

        self._auth_on()
        etcd.etcdctl("put", "with-auth", "x")
        self._keep("auth", range(middle + 1, self._revision() + 1))

        etcd.etcdctl("del", "", "--from-key")
        deletion = self._revision()
        etcd.etcdctl("put", "short", "lived")
        etcd.etcdctl("del", "short")
        etcd.etcdctl("compact", str(deletion), "--physical=true", json=False)
        self._keep("emptied", range(deletion + 1, deletion + 3))

        self._restore(self.moments["auth"].path)
        first = self._revision()
        for number in range(3):
            etcd.etcdctl("put", "restored", str(number))
        etcd.etcdctl("del", "with-auth")
        self._keep("restored", range(first + 1, self._revision() + 1))

    def _txn(self, operations: t.Sequence[str]) -> bytes:
        return TXN.format("\n".join(operations)).encode()

    def _write(self, numbers: t.Iterable[int]) -> None:
        for number in numbers:
            self.etcd.etcdctl("put", f"{CONFIGMAP}{number % 9}", f"value {number} " * (number % 5))

    def _history(self) -> None:
        """Puts and overwrites, several changes in one revision, leases that hold and that end."""
        etcd = self.etcd
        self._write(range(18))
        held, revoked = (etcd.etcdctl("lease", "grant", "86400")["ID"] for _turn in range(2))
        etcd.etcdctl("put", "/registry/events/default/held", "x", f"--lease={held:x}")
        etcd.etcdctl("put", "/registry/events/default/gone", "x", f"--lease={revoked:x}")
        many = ["put a 1", "put b 2", f"del {CONFIGMAP}0", "put c 3", "del nothing-there"]
        etcd.etcdctl("txn", stdin=self._txn(many))
        etcd.etcdctl("lease", "revoke", f"{revoked:x}", json=False)
        etcd.etcdctl("del", f"{CONFIGMAP}6")
        etcd.etcdctl("put", f"{CONFIGMAP}6", "again")
        etcd.etcdctl("del", f"{CONFIGMAP}8", "--prefix")
        etcd.etcdctl("put", "large", "x" * 20_000)
        etcd.etcdctl("put", "empty", "")

    def _auth_on(self) -> None:
        self.etcd.auth = True
        self.etcd.password = "agreed-by-all"
        self.etcd.up()

    def _restore(self, snapshot: Path) -> None:
        """Put the member back from a snapshot by etcd's own tool, bumped where it knows that."""
        member = next(iter(self.etcd.members.values()))
        member.stop()
        shutil.rmtree(member.data_dir)
        bumped = ["--bump-revision", str(BUMP), "--mark-compacted"] if self.bumps else []
        self.etcd.etcdutl(
            *("snapshot", "restore", str(snapshot), "--data-dir", str(member.data_dir)),
            *("--name", member.name, "--initial-advertise-peer-urls", member.node.peer_url),
            *("--initial-cluster", f"{member.name}={member.node.peer_url}", *bumped),
        )
        self.etcd.start(member.name)

    @property
    def bumps(self) -> bool:
        """Debian's 3.4.23 knows no --bump-revision: it came with 3.4.27."""
        return self.version != versions.ETCD_DEBIAN

    def _revision(self) -> int:
        return int(self.etcd.etcdctl("get", "x")["header"]["revision"])

    def _hash(self, revision: int) -> LiveHash | None:
        """Return the member's answer; None where it says that the revision is compacted."""
        try:
            [answer] = self.etcd.etcdctl("endpoint", "hashkv", "--rev", str(revision))
        except LoopbackError as exc:
            assert "compacted" in str(exc), exc
            return None
        found = answer["HashKV"]
        return LiveHash(revision, int(found["compact_revision"]), int(found["hash"]))

    def _keep(self, name: str, revisions: t.Iterable[int]) -> None:
        asked = {revision: self._hash(revision) for revision in sorted(set(revisions))}
        answers = tuple(found for found in asked.values() if found)
        result = self._snapshot(_agreed(answers[-1]))
        path = self._file(result, name)
        self.moments[name] = Moment(
            result=result,
            path=path,
            status=self.etcd.etcdutl("snapshot", "status", str(path), json=True),
            answers=answers,
            refused=tuple(revision for revision, found in asked.items() if not found),
        )

    def _snapshot(self, options: dict[str, t.Any]) -> dict[str, t.Any]:
        """Run the module as Ansible does: a process of its own, its options on standard input."""
        member = next(iter(self.etcd.members.values()))
        staging = self.folder / "staging"
        staging.mkdir(exist_ok=True)
        arguments = {
            "certificates_dir": str(member.certificates_dir),
            "static_pod_path": str(member.static_pod_path),
            "data_dir": str(member.data_dir),
            "spool_dir": str(self.folder),
            "dest_dir": str(staging),
            "recipients": [str(self._identity.to_public())],
            **options,
        }
        if self.etcd.password:
            arguments |= {"user": "root", "password": self.etcd.password}
        result = run_module("etcd_snapshot", arguments, timeout=120)
        assert not result.get("failed"), result["msg"]
        return result

    def _file(self, result: dict[str, t.Any], name: str) -> Path:
        """Open the sealed snapshot, as it was in the stream: image and trailer."""
        [sealed] = [file for file in result["files"] if file["name"] == "data.db.zst.age"]
        packed = pyrage.decrypt(Path(sealed["path"]).read_bytes(), [self._identity])
        path = self.folder / f"{name.replace(' ', '-')}.db"
        path.write_bytes(zstandard.ZstdDecompressor().decompressobj().decompress(packed))
        return path


def _agreed(answer: LiveHash) -> dict[str, t.Any]:
    """Return a member's answer as options of the module."""
    return {
        "hash_revision": answer.revision,
        "hash_compact_revision": answer.compact_revision,
        "hash_kv": f"{answer.hash:08x}",
    }


_LIVES: dict[str, Life] = {}


@pytest.fixture
def life(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Life:
    """The etcd of a version, lived through once."""
    version: str = request.param
    if version not in _LIVES:
        _LIVES[version] = Life(version, tmp_path_factory.mktemp(f"etcd-{version}"))
    return _LIVES[version]


every_etcd = pytest.mark.parametrize("life", versions.ETCD_ALL, indirect=True)
every_moment = pytest.mark.parametrize("name", MOMENTS)


def offline(path: Path, life: Life, asked: LiveHash) -> int:
    """Compute HashKV from a snapshot's file."""
    found = read_image(
        Database(path.read_bytes()),
        hash_revision=asked.revision,
        hash_compact_revision=asked.compact_revision,
        skip_compacted_tombstones=not life.counts_tombstones,
    )
    return found.hash_kv


@every_etcd
@every_moment
def test_snapshot_agrees_with_snapshot_status(life: Life, name: str) -> None:
    moment = life.moments[name]
    snapshot, status = moment.result["snapshot"], moment.status
    total = "key_count" if versions.minor(life.version) >= "3.6" else "entry_count"
    assert snapshot["revision"] == status["revision"]
    assert snapshot[total] == status["totalKey"]
    assert snapshot["db_size_bytes"] == status["totalSize"]
    assert int(snapshot["status_hash"], 16) == status["hash"]
    # The two counts are told apart by every etcd here: none passes for the other.
    assert (name == "emptied") == (snapshot["key_count"] == 0)
    assert snapshot["key_count"] < snapshot["entry_count"]
    if status.get("version"):  # from 3.6 on: the storage version
        assert moment.result["etcd"]["storage_version"] == status["version"]


@every_etcd
@every_moment
def test_hash_kv_agrees_with_the_live_member(life: Life, name: str) -> None:
    moment = life.moments[name]
    assert len(moment.live) >= 2
    for asked in moment.live:
        assert offline(moment.path, life, asked) == asked.hash, asked
    # At its compact revision a member refuses or answers from memory; at no other revision.
    compacted = moment.live[0].compact_revision
    assert {*moment.refused, *(each.revision for each in moment.remembered)} <= {compacted}


@every_etcd
@every_moment
def test_module_compares_its_hash_with_the_members(life: Life, name: str) -> None:
    moment = life.moments[name]
    checks = {check["name"]: check["result"] for check in moment.result["checks"]}
    assert checks["hash_kv"] == "passed"
    snapshot, asked = moment.result["snapshot"], moment.live[-1]
    assert snapshot["hash_kv"] == f"{asked.hash:08x}"
    assert snapshot["hash_revision"] == asked.revision
    assert moment.result["snapshot"]["auth_enabled"] == (name in MOMENTS[-3:])


@every_etcd
@every_moment
def test_snapshot_info_reads_the_same_from_the_file(life: Life, name: str) -> None:
    moment = life.moments[name]
    asked = moment.live[len(moment.live) // 2]
    found = run_module(
        "etcd_snapshot_info",
        {
            "path": str(moment.path),
            "hash_revision": asked.revision,
            "hash_compact_revision": asked.compact_revision,
            "etcd_version": life.version,
        },
    )
    assert not found.get("failed"), found["msg"]
    assert {check["result"] for check in found["checks"]} == {"passed"}
    status, snapshot = moment.status, found["snapshot"]
    total = "key_count" if versions.minor(life.version) >= "3.6" else "entry_count"
    assert snapshot["hash_kv"] == f"{asked.hash:08x}"
    assert snapshot["status_revision"] == status["revision"]
    assert snapshot[total] == status["totalKey"]
    assert snapshot["db_size_bytes"] == status["totalSize"]
    assert int(snapshot["status_hash"], 16) == status["hash"]
    assert found["members"] == moment.result["members"]
    for key in ("object_count", "resources", "secrets"):
        assert found["kubernetes"][key] == moment.result["kubernetes"][key]


@every_etcd
def test_older_snapshot_agrees_with_a_member_that_compacted_since(life: Life) -> None:
    plain = life.plain
    assert plain is not None
    before = read_image(Database(plain.read_bytes()))
    assert before.compact_revision <= 0
    compared = 0
    for asked in life.moments["tombstone"].answers:
        if asked.revision <= before.revision:
            assert offline(plain, life, asked) == asked.hash, asked
            compared += asked.compact_revision > 0
    assert compared >= 5


@every_etcd
def test_hash_of_what_is_compacted_by_now_is_not_comparable(life: Life) -> None:
    remembers = versions.minor(life.version) >= "3.5"
    assert bool(life.past) == remembers
    if remembers:
        [check] = [each for each in life.past["checks"] if each["name"] == "hash_kv"]
        assert check["result"] == "not_comparable"
        assert "compacted to" in check["detail"]


@every_etcd
def test_deletions_at_the_compact_revision_count_as_in_that_etcd(life: Life) -> None:
    """Where nothing lives, 3.5.16 and later keep them and leave them out of the hash (hash.go).

    In 3.4.23 the compaction takes them away, so there is nothing to count.
    """
    moment = life.moments["emptied"]
    the_other_way = read_image(
        Database(moment.path.read_bytes()),
        hash_revision=moment.live[-1].revision,
        hash_compact_revision=moment.live[-1].compact_revision,
        skip_compacted_tombstones=life.counts_tombstones,
    )
    differs = the_other_way.hash_kv != moment.live[-1].hash
    assert differs == (not life.counts_tombstones)


@every_etcd
def test_restored_member_is_where_the_bump_put_it(life: Life) -> None:
    auth, restored = life.moments["auth"], life.moments["restored"]
    ahead = restored.revision - auth.revision
    assert (ahead > BUMP) if life.bumps else (0 < ahead < 10)
    if life.bumps:
        assert restored.result["snapshot"]["compact_revision"] > auth.revision
        assert restored.live[0].compact_revision > auth.revision
