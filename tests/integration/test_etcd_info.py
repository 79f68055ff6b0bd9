# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd_info against real etcds on loopback, compared with etcdctl; and every way it can fail."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest
import yaml

from lab import returned, versions
from lab.binaries import get as get_binaries
from lab.loopback import Cluster
from lab.member import Member
from lab.pki import CLIENT, SERVER, issue

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
COLLECTIONS = os.environ.get("ANSIBLE_COLLECTIONS_PATH", str(VENV / "collections"))
MODULE = "ansible_collections.controlplane.etcd.plugins.modules.etcd_info"
MINUTE = 60.0


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the module printed, and how long it took."""

    result: dict[str, t.Any]
    seconds: float

    @property
    def kind(self) -> str:
        return str(self.result["error"]["kind"])

    @property
    def msg(self) -> str:
        return str(self.result["msg"])


def ask(member: Member | None = None, *, prefix: t.Sequence[str] = (), **params: t.Any) -> Answer:
    """Run the module as Ansible does: a process of its own, parameters on standard input."""
    if member:
        params.setdefault("certificates_dir", str(member.certificates_dir))
        params.setdefault("static_pod_path", str(member.static_pod_path))
        params.setdefault("data_dir", str(member.data_dir))
    env = {k: v for k, v in os.environ.items() if not k.startswith("ETCD")}
    start = time.monotonic()
    done = subprocess.run(
        [*prefix, sys.executable, "-m", MODULE],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": params}),
        env={**env, "PYTHONPATH": COLLECTIONS},
        capture_output=True,
        text=True,
        timeout=2 * MINUTE,
        check=False,
    )
    assert done.stdout.strip(), done.stderr
    assert not done.stderr, done.stderr
    seconds = time.monotonic() - start
    result = json.loads(done.stdout)
    assert not (wrong := returned.disagreements("etcd_info", result)), wrong
    return Answer(result, seconds)


def failed(answer: Answer, kind: str, *words: str) -> str:
    """Assert that it failed by name, with words that tell the object; return the message."""
    assert answer.result.get("failed"), answer.result
    assert answer.kind == kind, answer.msg
    for word in words:
        assert word in answer.msg, answer.msg
    assert answer.result["error"]["hint"], "it says what to do next"
    return answer.msg


@pytest.fixture(scope="module")
def alpha() -> t.Iterator[Cluster]:
    with Cluster("alpha", size=3) as cluster:
        for number in range(20):
            cluster.etcdctl("put", f"key{number}", "value")
        yield cluster


@pytest.fixture(scope="module")
def first(alpha: Cluster) -> Member:
    return next(iter(alpha.members.values()))


@pytest.fixture(scope="module")
def guarded() -> t.Iterator[Cluster]:
    with Cluster("guarded", size=1, auth=True) as cluster:
        yield cluster


@pytest.mark.parametrize("version", versions.ETCD_ALL)
def test_etcd_info_equals_etcdctl_on_every_version(version: str) -> None:
    with Cluster("alpha", size=3, version=version) as cluster:
        for number in range(10):
            cluster.etcdctl("put", "key", f"value {number}")
        cluster.etcdctl("compaction", "5", json=False)
        member = next(iter(cluster.members.values()))
        revision = cluster.status(member.name)["header"]["revision"]
        result = ask(member, hash_revision=revision).result
        assert "failed" not in result, result
        leader = cluster.leader()
        for name in cluster.members:
            status = cluster.status(name)
            shown = next(each for each in result["members"] if each["name"] == name)
            assert shown["id"] == f"{status['header']['member_id']:x}"
            assert result["cluster_id"] == f"{status['header']['cluster_id']:x}"
            assert shown["version"] == status["version"] == version
            assert shown["revision"] == status["header"]["revision"]
            assert shown["raft_term"] == status["raftTerm"]
            assert shown["raft_applied_index"] <= status["raftAppliedIndex"]
            assert shown["db_size_in_use_bytes"] is not None
            assert shown["is_leader"] == (name == leader)
            assert shown["storage_version"] == status.get("storageVersion")
            assert shown["round_trip_ms"] > 0
        assert result["quorum"]["has_quorum"]
        assert result["quorum"]["healthy"] == 3
        local = next(each for each in result["members"] if each["name"] == member.name)
        assert local["quota_bytes"] == 2 * 1024**3
        assert result["local_member"]["id"] == local["id"]
        assert result["layout"]["kind"] == "kubeadm"
        assert result["layout"]["etcd_version"] == version
        assert result["host"]["etcd_pid"] == member.pid
        _assert_hashes(cluster, result["hash_kv"], revision, leader)
        names = {tool["name"]: tool["version"] for tool in result["tools"]}
        assert names["etcd"] == names["etcdctl"] == version
        assert names.get("etcdutl") == (version if member.binaries.etcdutl else None)


def _assert_hashes(
    cluster: Cluster, entries: list[dict[str, t.Any]], revision: int, leader: str
) -> None:
    """Compare with `etcdctl endpoint hashkv`; the leader was not asked, two followers agreed."""
    assert {entry["name"] for entry in entries} == set(cluster.members) - {leader}
    for entry in entries:
        endpoint = cluster.member(entry["name"]).endpoint
        answer = cluster.etcdctl("endpoint", "hashkv", f"--rev={revision}", endpoints=[endpoint])
        theirs = answer[0].get("HashKV") or answer[0]["hashkv"]
        assert entry["hash"] == f"{theirs['hash']:08x}"
        assert entry["compact_revision"] == theirs["compact_revision"] == 5
        assert entry["revision"] == revision
        assert entry["error"] is None


def test_every_documented_value_is_returned(first: Member) -> None:
    # `ask` compares the other way, and types; here with the hashes asked for.
    result = ask(first, hash_revision=1).result
    assert set(returned.documented("etcd_info")) - set(result) == {"error"}


def test_no_hash_unless_asked_and_nothing_written(alpha: Cluster, first: Member) -> None:
    before = alpha.status(first.name)
    result = ask(first).result
    after = alpha.status(first.name)
    assert "hash_kv" not in result
    assert result["changed"] is False
    # Not even a raft entry, as an alarm request would be.
    assert after["raftIndex"] == before["raftIndex"]


def test_ansible_runs_it_through_the_action_group(alpha: Cluster, tmp_path: Path) -> None:
    play = [
        {
            "hosts": "etcd",
            "gather_facts": False,
            "module_defaults": {
                "group/controlplane.etcd.etcd": {
                    "certificates_dir": "{{ etcd_certificates_dir }}",
                    "static_pod_path": "{{ etcd_static_pod_path }}",
                    "data_dir": "{{ etcd_data_dir }}",
                }
            },
            "tasks": [
                {"controlplane.etcd.etcd_info": {}, "register": "etcd"},
                {
                    "ansible.builtin.assert": {
                        "that": [
                            "etcd is not changed",
                            "etcd.local_member.name == inventory_hostname",
                            "etcd.quorum.healthy == 3",
                            "etcd.alarms | length == 0",
                        ]
                    }
                },
            ],
        }
    ]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play))
    (tmp_path / "inventory.yml").write_text(yaml.safe_dump(alpha.inventory()))
    done = subprocess.run(
        [
            VENV / "bin" / "ansible-playbook",
            "-i",
            tmp_path / "inventory.yml",
            tmp_path / "play.yml",
        ],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": COLLECTIONS},
        capture_output=True,
        text=True,
        timeout=2 * MINUTE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("alpha")
class TestWhatTheEndpointIs:
    """Each of these must be told apart: the message is what a person acts on at night."""

    def test_refused(self, first: Member, reliability: t.Any) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            url = f"https://127.0.0.1:{closed.getsockname()[1]}"
            msg = failed(
                ask(first, endpoints=[url]), "endpoint_unreachable", url, "connection refused"
            )
        reliability("endpoint refused", "etcd_info fails and names the endpoint", message=msg)

    def test_name_that_no_resolver_knows(self, first: Member) -> None:
        url = "https://no-such-host.invalid:2379"
        failed(ask(first, endpoints=[url]), "endpoint_unreachable", url, "cannot resolve")

    def test_next_endpoint_is_asked(self, first: Member) -> None:
        result = ask(first, endpoints=["https://127.0.0.1:1", first.endpoint]).result
        assert result["local_member"]["name"] == first.name

    def test_plain_http_behind_https(self, first: Member) -> None:
        url = f"https://127.0.0.1:{first.node.metrics_port}"
        failed(ask(first, endpoints=[url]), "not_etcd", url, "no TLS")

    def test_https_behind_plain_http(self, first: Member) -> None:
        url = first.endpoint.replace("https", "http")
        failed(ask(first, endpoints=[url]), "certificate_rejected", url, "wants TLS")

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_ssh_server(self, first: Member, scheme: str, reliability: t.Any) -> None:
        with _server(lambda sock: sock.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")) as port:
            url = f"{scheme}://127.0.0.1:{port}"
            msg = failed(ask(first, endpoints=[url]), "not_etcd", url, "SSH-2.0")
        reliability("not an etcd", "etcd_info fails and says what answered", message=msg)

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_http_server(self, first: Member, scheme: str) -> None:
        def answer(sock: socket.socket) -> None:
            sock.recv(200)
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        with _server(answer) as port:
            url = f"{scheme}://127.0.0.1:{port}"
            failed(ask(first, endpoints=[url]), "not_etcd", url, "HTTP/1.1 400")

    def test_tls_server_without_http2(self, alpha: Cluster, first: Member) -> None:
        context = _server_context(first)
        with _server(_tls(context)) as port:
            url = f"https://127.0.0.1:{port}"
            failed(ask(first, endpoints=[url]), "not_etcd", url, "not HTTP/2")

    def test_etcds_own_peer_port(self, first: Member) -> None:
        failed(ask(first, endpoints=[first.node.peer_url]), "not_etcd", first.node.peer_url)

    def test_takes_connections_and_says_nothing(self, first: Member) -> None:
        with _server(lambda _sock: time.sleep(20)) as port:
            url = f"https://127.0.0.1:{port}"
            answer = ask(first, endpoints=[url], dial_timeout="500ms")
            failed(answer, "endpoint_timeout", url, "hangs")
        assert answer.seconds < 8


class TestCertificates:
    def test_wrong_authority(self, first: Member, reliability: t.Any) -> None:
        ca = str(first.certificates_dir / "ca.crt")
        msg = failed(ask(first, cacert=ca), "certificate_rejected", first.endpoint, ca, "etcd-ca")
        reliability("wrong CA", "etcd_info fails and names both authorities", message=msg)

    def test_authority_that_is_none(self, first: Member, tmp_path: Path) -> None:
        (tmp_path / "ca.crt").write_text("no certificate\n")
        ca = str(tmp_path / "ca.crt")
        failed(ask(first, cacert=ca), "certificate_rejected", ca, "PEM")

    def test_expired_client(self, alpha: Cluster, first: Member, reliability: t.Any) -> None:
        end = dt.datetime.now(dt.timezone.utc).replace(microsecond=0) - dt.timedelta(days=30)
        files = alpha.cert("expired", not_before=end - dt.timedelta(days=365), not_after=end)
        answer = ask(first, cert=str(files.cert), key=str(files.key))
        msg = failed(
            answer, "certificate_rejected", str(files.cert), f"{end:%Y-%m-%dT%H:%M:%SZ}", "expired"
        )
        reliability(
            "expired client certificate", "etcd_info fails, names file and end", message=msg
        )

    def test_client_of_a_foreign_authority(self, alpha: Cluster, first: Member) -> None:
        files = alpha.cert("foreign", foreign=True)
        answer = ask(first, cert=str(files.cert), key=str(files.key))
        failed(answer, "certificate_rejected", str(files.cert), "not signed by the authority")

    def test_no_client_certificate(self, first: Member) -> None:
        answer = ask(
            endpoints=[first.endpoint], cacert=str(first.certificates_dir / "etcd" / "ca.crt")
        )
        failed(answer, "certificate_rejected", first.endpoint, "wants a client certificate")

    def test_key_of_another_certificate(self, alpha: Cluster, first: Member) -> None:
        files = alpha.cert("other")
        key = str(first.certificates_dir / "etcd" / "server.key")
        answer = ask(first, cert=str(files.cert), key=key)
        failed(answer, "certificate_rejected", key, str(files.cert), "does not belong")

    def test_key_that_is_missing(self, first: Member, tmp_path: Path) -> None:
        key = str(tmp_path / "nope.key")
        cert = str(first.certificates_dir / "etcd" / "server.crt")
        failed(ask(first, cert=cert, key=key), "certificate_rejected", key, "does not exist")

    def test_key_that_may_not_be_read(
        self, alpha: Cluster, first: Member, reliability: t.Any
    ) -> None:
        files = alpha.cert("locked")
        prefix = _locked_out_of(files.key)
        answer = ask(first, prefix=prefix, cert=str(files.cert), key=str(files.key))
        msg = failed(answer, "certificate_rejected", str(files.key), "Permission denied", "become")
        reliability("unreadable key", "etcd_info fails, names file, owner, mode", message=msg)

    def test_certificate_without_its_key(self, first: Member) -> None:
        cert = str(first.certificates_dir / "etcd" / "server.crt")
        answer = ask(endpoints=[first.endpoint], cert=cert)
        failed(answer, "option_invalid", cert, "key is not")

    def test_expired_server(self) -> None:
        with Cluster("old", size=1) as cluster:
            member = next(iter(cluster.members.values()))
            end = dt.datetime.now(dt.timezone.utc).replace(microsecond=0) - dt.timedelta(days=1)
            _reissue(cluster, member, ["127.0.0.1"], not_after=end)
            answer = ask(member, **_healthcheck(member))
            failed(
                answer,
                "certificate_rejected",
                member.endpoint,
                "expired",
                f"{end:%Y-%m-%dT%H:%M:%SZ}",
            )

    def test_server_of_another_name(self) -> None:
        with Cluster("named", size=1) as cluster:
            member = next(iter(cluster.members.values()))
            _reissue(cluster, member, ["other.example", "10.9.8.7"])
            answer = ask(member, **_healthcheck(member))
            failed(
                answer,
                "certificate_rejected",
                member.endpoint,
                "other.example",
                "not for 127.0.0.1",
            )


class TestAuthentication:
    def test_user_and_password(self, guarded: Cluster) -> None:
        member = next(iter(guarded.members.values()))
        answer = ask(member, user="root", password=guarded.password, hash_revision=1)
        assert answer.result["quorum"]["has_quorum"]
        assert answer.result["hash_kv"][0]["hash"]
        assert guarded.password not in json.dumps(answer.result)

    def test_user_and_password_in_one_as_etcdctl_takes_it(self, guarded: Cluster) -> None:
        member = next(iter(guarded.members.values()))
        answer = ask(member, user=f"root:{guarded.password}")
        assert answer.result["quorum"]["has_quorum"]
        assert guarded.password not in json.dumps(answer.result)
        answer = ask(member, user="root:wrong-a7c1")
        failed(answer, "authentication_failed", member.endpoint, "'root'")
        assert "wrong-a7c1" not in json.dumps(answer.result)

    def test_password_that_is_wrong(self, guarded: Cluster) -> None:
        member = next(iter(guarded.members.values()))
        answer = ask(member, user="root", password="wrong-a7c1")
        failed(answer, "authentication_failed", member.endpoint, "'root'")
        assert "wrong-a7c1" not in json.dumps(answer.result)

    def test_no_user(self, guarded: Cluster) -> None:
        member = next(iter(guarded.members.values()))
        failed(ask(member), "authentication_failed", member.endpoint, "role root")

    def test_user_without_password(self, guarded: Cluster) -> None:
        member = next(iter(guarded.members.values()))
        failed(ask(member, user="root"), "option_invalid", "'root'", "password")

    def test_user_where_authentication_is_off(self, first: Member) -> None:
        assert ask(first, user="root", password="unused").result["quorum"]["has_quorum"]


class TestClusterInTrouble:
    def test_paused_member_costs_little_and_is_named(
        self, alpha: Cluster, first: Member, reliability: t.Any
    ) -> None:
        other = next(name for name in alpha.members if name not in (first.name, alpha.leader()))
        healthy = ask(first)
        with alpha.paused(other):
            answer = ask(first)
        assert answer.result["quorum"] == {
            "voters": 3,
            "healthy": 2,
            "required": 2,
            "has_quorum": True,
            "reason": None,
        }
        shown = next(each for each in answer.result["members"] if each["name"] == other)
        assert shown["reachable"] is False
        assert shown["error"]["kind"] == "endpoint_timeout"
        # dial_timeout (2 s) twice: once to connect, once to tell why; and room for a busy machine
        assert answer.seconds < 3 * healthy.seconds + 8
        warnings = answer.result["warnings"]
        assert any(other in str(warning) for warning in warnings)
        reliability(
            "a member hangs", "etcd_info shows it as unreachable, the others as they are",
            message=shown["error"]["msg"],
        )  # fmt: skip

    def test_paused_local_member_fails(self, alpha: Cluster, first: Member) -> None:
        with alpha.paused(first.name):
            answer = ask(first, dial_timeout="1s")
        failed(answer, "endpoint_timeout", first.endpoint, "hangs")

    def test_nospace_alarm_is_shown(self, reliability: t.Any) -> None:
        flags = ["--quota-backend-bytes=8388608"]
        with Cluster("full", size=1, extra_flags=flags) as cluster:
            member = next(iter(cluster.members.values()))
            _fill(cluster)
            answer = ask(member)
        assert answer.result["alarms"] == [
            {
                "member_id": answer.result["local_member"]["id"],
                "member_name": member.name,
                "alarm": "NOSPACE",
            }
        ]
        assert answer.result["members"][0]["alarms"] == ["NOSPACE"]
        assert answer.result["members"][0]["quota_bytes"] == 8388608
        assert answer.result["quorum"]["has_quorum"]
        assert any("NOSPACE" in str(warning) for warning in answer.result["warnings"])
        reliability("NOSPACE alarm", "etcd_info succeeds and warns", area="info")

    def test_learner_is_a_member_but_no_voter(self, reliability: t.Any) -> None:
        with Cluster("learning", size=1) as cluster:
            member = next(iter(cluster.members.values()))
            learner = cluster.add_learner("learning-new")
            result = ask(member).result
            shown = next(each for each in result["members"] if each["name"] == learner.name)
            assert shown["is_learner"]
            assert shown["reachable"]
            assert result["quorum"]["voters"] == 1
            answer = ask(learner)
            assert answer.result["local_member"]["is_learner"]
            assert any("learner" in str(each) for each in answer.result["warnings"])
        reliability("learner only", "etcd_info tells it is a learner", area="info")

    @pytest.mark.parametrize("version", [versions.ETCD_DEBIAN, versions.ETCD_DEFAULT])
    def test_no_quorum_still_shows_the_cluster(self, version: str, reliability: t.Any) -> None:
        with Cluster("halved", size=3, version=version) as cluster:
            names = list(cluster.members)
            for name in names[1:]:
                cluster.stop(name, kill=True)
            _until_leaderless(cluster, names[0])
            answer = ask(cluster.member(names[0]), hash_revision=1)
        result = answer.result
        assert result["quorum"]["has_quorum"] is False
        assert result["quorum"]["healthy"] == 0
        assert {each["name"] for each in result["members"]} == set(names)
        down = [each for each in result["members"] if not each["reachable"]]
        assert {each["name"] for each in down} == set(names[1:])
        assert {each["error"]["kind"] for each in down} == {"endpoint_unreachable"}
        hashed = next(each for each in result["hash_kv"] if each["name"] == names[0])
        assert re.fullmatch("[0-9a-f]{8}", hashed["hash"])
        reliability(
            "no quorum", "etcd_info still shows the members, and says so",
            area="info", message=str(result["quorum"]["reason"]),
        )  # fmt: skip

    def test_revision_that_is_compacted(self, reliability: t.Any) -> None:
        with Cluster("compact", size=1) as cluster:
            member = next(iter(cluster.members.values()))
            for number in range(10):
                cluster.etcdctl("put", "key", str(number))
            cluster.etcdctl("compaction", "8", json=False)
            entry = ask(member, hash_revision=4).result["hash_kv"][0]
        assert entry["hash"] is None
        assert entry["error"]["kind"] == "revision_unavailable"
        reliability("HashKV at a compacted revision", "recorded, not failed", area="info")


CONTAINER = """
import ctypes, os, sys
root, data, *argv = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
def do(name, *args):
    if getattr(libc, name)(*args):
        raise OSError(ctypes.get_errno(), name)
do("unshare", 0x20000)
do("mount", b"none", b"/", None, 0x44000, None)  # MS_REC | MS_PRIVATE
do("mount", root.encode(), root.encode(), None, 0x1000, None)  # MS_BIND
do("mount", data.encode(), f"{root}/data".encode(), None, 0x1000, None)
os.chdir(root)
if libc.syscall(155, b".", b"."):  # pivot_root on x86_64, the way runc does it
    raise OSError(ctypes.get_errno(), "pivot_root")
do("umount2", b".", 2)  # MNT_DETACH
os.execv("/usr/local/bin/etcd", argv)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="pivot_root, as a container's root, needs root")
def test_tools_of_a_container_are_found_through_proc(tmp_path: Path) -> None:
    image, data = tmp_path / "image", tmp_path / "host" / "var" / "lib" / "etcd"
    binaries = _image(image)
    data.mkdir(parents=True)
    (image / "data").mkdir()
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        client, peer = (f"http://127.0.0.1:{s.getsockname()[1]}" for s in (one, two))
    flags = {
        "name": "boxed",
        "data-dir": "/data",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"boxed={peer}",
    }
    words = ["etcd", *(f"--{name}={value}" for name, value in flags.items())]
    manifest = {
        "kind": "Pod",
        "spec": {
            "containers": [
                {"command": words, "volumeMounts": [{"name": "d", "mountPath": "/data"}]}
            ],
            "volumes": [{"name": "d", "hostPath": {"path": str(data)}}],
        },
    }
    (tmp_path / "etcd.yaml").write_text(yaml.safe_dump(manifest))
    process = subprocess.Popen(
        [sys.executable, "-c", CONTAINER, str(image), str(data), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 30
        while True:
            result = ask(static_pod_path=str(tmp_path)).result
            if not result.get("failed"):
                break
            assert time.monotonic() < end, result["msg"]
    finally:
        process.kill()
        process.wait()
    assert result["layout"]["data_dir"] == str(data)
    assert result["host"]["etcd_pid"] == process.pid
    found = {tool["name"]: tool for tool in result["tools"]}
    for name in ("etcd", "etcdctl", "etcdutl"):
        assert found[name]["path"] == f"/proc/{process.pid}/root/usr/local/bin/{name}"
        assert found[name]["version"] == binaries.version


def _image(root: Path) -> t.Any:
    """Lay a file tree that holds etcd's static programs alone, as its image does."""
    found = get_binaries(versions.ETCD_DEFAULT)
    target = root / "usr" / "local" / "bin"
    target.mkdir(parents=True)
    for path in (found.etcd, found.etcdctl, found.etcdutl):
        shutil.copy(path, target / path.name)
    return found


class TestNoMember:
    def test_host_without_etcd(self, tmp_path: Path) -> None:
        answer = ask(static_pod_path=str(tmp_path), layout="kubeadm")
        failed(answer, "layout", str(tmp_path), "No etcd member found")

    def test_manifest_that_may_not_be_read(self, tmp_path: Path) -> None:
        path = tmp_path / "etcd.yaml"
        path.write_text("kind: Pod\n")
        prefix = _locked_out_of(path)
        answer = ask(prefix=prefix, static_pod_path=str(tmp_path))
        failed(answer, "layout", str(path), "Permission denied", "become")

    def test_duration_that_is_none(self, first: Member) -> None:
        failed(ask(first, dial_timeout="soon"), "option_invalid", "dial_timeout", "soon")

    def test_manifest_that_is_broken(self, tmp_path: Path) -> None:
        (tmp_path / "etcd.yaml").write_text("kind: [Pod\n")
        failed(ask(static_pod_path=str(tmp_path)), "layout", str(tmp_path / "etcd.yaml"), "YAML")


def _locked_out_of(path: Path) -> list[str]:
    """Make a file unreadable, and return how to start a process that it is unreadable for."""
    if os.geteuid() == 0:
        # root without its capabilities is stopped by modes as everybody is
        path.chmod(0o600)
        os.chown(path, 12345, 12345)
        return ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"]
    path.chmod(0o000)
    return []


def _healthcheck(member: Member) -> dict[str, str]:
    base = member.certificates_dir / "etcd" / "healthcheck-client"
    return {"cert": f"{base}.crt", "key": f"{base}.key"}


def _reissue(
    cluster: Cluster, member: Member, names: list[str], *, not_after: dt.datetime | None = None
) -> None:
    """Give a running etcd another server certificate: it reads the file at each handshake."""
    cluster.status(member.name)  # its client port is open: it has read the first one
    pair = issue(
        cluster.pki.etcd_ca, member.name, usages=(SERVER, CLIENT), names=names, not_after=not_after
    )
    pair.write(member.certificates_dir / "etcd" / "server")


def _fill(cluster: Cluster) -> None:
    """Write until etcd refuses for want of space."""
    for number in range(40):
        try:
            cluster.etcdctl("put", f"big{number}", stdin=b"x" * 1000000)
        except Exception as exc:
            assert "space exceeded" in str(exc), exc
            return
    raise AssertionError("40 MB fit into a quota of 8 MiB")


def _until_leaderless(cluster: Cluster, name: str) -> None:
    end = time.monotonic() + 30
    while cluster.status(name).get("leader"):
        assert time.monotonic() < end
        time.sleep(0.2)


def _server_context(member: Member) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    base = member.certificates_dir / "etcd" / "server"
    context.load_cert_chain(f"{base}.crt", f"{base}.key")
    return context


def _tls(context: ssl.SSLContext) -> t.Callable[[socket.socket], None]:
    def speak(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as tls:
            tls.recv(100)

    return speak


class _server:
    """A TCP server on loopback that does `speak` with each connection."""

    def __init__(self, speak: t.Callable[[socket.socket], None]) -> None:
        self._speak = speak
        self._socket = socket.create_server(("127.0.0.1", 0))

    def __enter__(self) -> int:
        threading.Thread(target=self._accept, daemon=True).start()
        return int(self._socket.getsockname()[1])

    def __exit__(self, *_rest: object) -> None:
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _peer = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                self._speak(connection)
                time.sleep(0.2)
            except OSError:
                return
