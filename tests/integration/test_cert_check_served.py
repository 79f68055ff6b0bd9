# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What live etcds serve against what lies on disk, with files renewed, spoilt and replaced under them.

etcd reads its certificate and key at each handshake (client/pkg/transport, TLSInfo.GetCertificate), so
a renewed leaf is served at once; the authorities that it trusts it reads at its start only.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import ssl
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.controlplane.etcd.plugins.module_utils._node import handshake
from lab import binaries, versions
from lab.certified import look_at
from lab.loopback import Cluster
from lab.member import Member
from lab.module import run_module
from lab.objects import apiserver
from lab.pki import CLIENT, SERVER, authority, issue, new_key, now, private_pem, write

ETCD = ("etcd/server", "etcd/peer")


@pytest.fixture(scope="module", params=["3.5", "3.6", "3.7"])
def live(request: pytest.FixtureRequest) -> t.Iterator[Cluster]:
    """A running etcd of each version."""
    with Cluster("served", size=1, version=versions.ETCD[request.param]) as cluster:
        yield cluster


def member_of(cluster: Cluster) -> Member:
    return next(iter(cluster.members.values()))


def where(cluster: Cluster) -> dict[str, str]:
    return {"static_pod_path": str(member_of(cluster).static_pod_path)}


def ask(cluster: Cluster, **options: t.Any) -> dict[str, t.Any]:
    """Return what is found; nobody serves as API server and kubelet here."""
    return _of_etcd(look_at("/", served=True, **where(cluster), **options))


def _of_etcd(result: dict[str, t.Any]) -> dict[str, t.Any]:
    away = {each["endpoint"] for each in result["served"] if each["role"] not in ETCD}
    result["findings"] = [each for each in result["findings"] if each["where"] not in away]
    return result


def states(result: dict[str, t.Any]) -> dict[str, str]:
    return {each["role"]: each["state"] for each in result["served"] if each["role"] in ETCD}


def prints(result: dict[str, t.Any]) -> dict[str, str]:
    return {each["role"]: each["fingerprint"] for each in result["served"] if each["role"] in ETCD}


def on_disk(cluster: Cluster) -> dict[str, str]:
    found = {}
    for role in ETCD:
        pem = (member_of(cluster).certificates_dir / f"{role}.crt").read_text()
        found[role] = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    return found


@contextlib.contextmanager
def kept(*paths: Path) -> t.Iterator[None]:
    """Put files back afterwards, their times too."""
    before = {path: (path.read_bytes(), path.stat()) for path in paths}
    try:
        yield
    finally:
        for path, (data, facts) in before.items():
            path.write_bytes(data)
            os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def files_of(cluster: Cluster, role: str) -> tuple[Path, Path]:
    base = member_of(cluster).certificates_dir / role
    return base.with_name(f"{base.name}.crt"), base.with_name(f"{base.name}.key")


def renew(cluster: Cluster, role: str) -> None:
    """Issue a member's certificate anew, as kubeadm certs renew does."""
    names = [member_of(cluster).name, "localhost", "127.0.0.1", "::1"]
    pair = issue(cluster.pki.etcd_ca, member_of(cluster).name, usages=(SERVER, CLIENT), names=names)
    pair.write(member_of(cluster).certificates_dir / role)


def test_live_etcd_is_silent_and_hardly_notices(live: Cluster) -> None:
    log = member_of(live).log
    before = len(log.read_text().splitlines())
    result = _of_etcd(run_module("etcd_cert_check", where(live)))
    assert result["findings"] == []
    assert states(result) == {"etcd/server": "loaded", "etcd/peer": "loaded"}
    assert prints(result) == on_disk(live)
    live.wait_healthy(member_of(live).name)
    said = log.read_text().splitlines()[before:]
    assert not [line for line in said if "rejected" in line or '"level":"error"' in line], said


def test_renewed_under_a_live_etcd_is_served_at_once(live: Cluster) -> None:
    before = on_disk(live)
    for role in ETCD:
        renew(live, role)
    after = on_disk(live)
    assert not set(before.values()) & set(after.values())
    result = ask(live)
    assert prints(result) == after
    assert states(result) == {"etcd/server": "loaded", "etcd/peer": "loaded"}
    assert result["findings"] == []
    live.wait_healthy(member_of(live).name)


@pytest.mark.parametrize("role", ETCD)
def test_what_a_live_etcd_cannot_load_is_seen_by_both(live: Cluster, role: str) -> None:
    certificate, key = files_of(live, role)
    with kept(certificate, key):
        write(key, private_pem(new_key()))
        result = ask(live)
        found = {(each["severity"], each["kind"], each["where"]) for each in result["findings"]}
        endpoint = next(each["endpoint"] for each in result["served"] if each["role"] == role)
        assert found == {
            ("critical", "key_mismatch", str(certificate)),
            ("warning", "not_served", endpoint),
        }
        certificate.write_bytes(certificate.read_bytes()[:300])
        result = ask(live)
        kinds = {(each["kind"], each["where"]) for each in result["findings"]}
        assert ("unreadable", str(certificate)) in kinds
        assert ("not_served", endpoint) in kinds
    assert ask(live)["findings"] == []


def test_authority_rewritten_under_a_live_etcd_is_not_loaded(live: Cluster) -> None:
    member = member_of(live)
    path = member.certificates_dir / "etcd/ca.crt"
    time.sleep(1.1)  # a file of the second of the start counts as read
    with kept(path):
        new = authority("etcd-ca-2")
        path.write_bytes(path.read_bytes() + new.certificate_pem)
        result = ask(live)
        (finding,) = (each for each in result["findings"] if each["kind"] == "not_loaded")
        assert finding["where"] == str(path)
        assert f"pid {member.pid}" in finding["message"]
        assert "etcd" in finding["action"]
        # It is so: a client of the new authority is turned away until etcd was started again.
        issue(new, "client").write(live.root / "issued/new")
        assert not accepts(live, live.root / "issued/new")
        live.stop(member.name)
        live.start(member.name)
        assert accepts(live, live.root / "issued/new")
        assert [each for each in ask(live)["findings"] if each["kind"] == "not_loaded"] == []
    live.stop(member.name)
    live.start(member.name)


def accepts(cluster: Cluster, client: Path) -> bool:
    """Tell whether etcd serves a client that shows this certificate."""
    tool = member_of(cluster).binaries.etcdctl
    ca = member_of(cluster).certificates_dir / "etcd/ca.crt"
    done = subprocess.run(
        [
            str(tool),
            f"--endpoints={member_of(cluster).endpoint}",
            f"--cacert={ca}",
            f"--cert={client}.crt",
            f"--key={client}.key",
            "--dial-timeout=1s",
            "--command-timeout=2s",
            "get",
            "x",
        ],
        env={"PATH": os.defpath},
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def test_expired_under_a_live_etcd_is_critical(live: Cluster) -> None:
    certificate, key = files_of(live, "etcd/server")
    with kept(certificate, key):
        names = ["localhost", "127.0.0.1"]
        pair = issue(live.pki.etcd_ca, "x", usages=(SERVER, CLIENT), names=names, not_after=now())
        pair.write(member_of(live).certificates_dir / "etcd/server")
        result = ask(live)
        assert [(each["severity"], each["kind"]) for each in result["findings"]] == [
            ("critical", "expired")
        ]
        assert states(result)["etcd/server"] == "loaded"
        failed = run_module("etcd_cert_check", where(live))
        assert failed["error"]["kind"] == "certificates"
        assert str(certificate) in failed["msg"]


def test_a_hanging_etcd_costs_the_timeout_once(live: Cluster) -> None:
    with live.paused(member_of(live).name):
        began = time.monotonic()
        result = ask(live, timeout=1.0)
        took = time.monotonic() - began
    assert took < 3
    assert {each["kind"] for each in result["findings"]} == {"not_served"}
    for state in states(result).values():
        assert "did not answer within 1 s" in state


def test_tls_1_2_that_wants_a_client_certificate_shows_its_own() -> None:
    with Cluster("old-tls", size=1, extra_flags=("--tls-max-version=TLS1.2",)) as cluster:
        port = member_of(cluster).node.client_port
        seen = handshake.see(handshake.Target("127.0.0.1", port), timeout=3)
        assert seen.der is not None
        assert hashlib.sha256(seen.der).hexdigest() == on_disk(cluster)["etcd/server"]
        assert states(ask(cluster)) == {"etcd/server": "loaded", "etcd/peer": "loaded"}


@contextlib.contextmanager
def api_server(cluster: Cluster) -> t.Iterator[int]:
    """Run the real API server with the command of its manifest; give its port."""
    member = member_of(cluster)
    manifest = yaml.safe_load((member.static_pod_path / "kube-apiserver.yaml").read_text())
    command = manifest["spec"]["containers"][0]["command"]
    (member.root / "var/log/kubernetes/audit").mkdir(parents=True)
    binary = apiserver.build(versions.KUBERNETES_RECORDED, binaries.cache_dir() / "kubernetes")
    with (
        (member.root / "kube-apiserver.log").open("wb") as log,
        subprocess.Popen(command, executable=binary, stdout=log, stderr=log) as process,
    ):
        try:
            port = member.node.api_port
            wait_until(
                lambda: bool(handshake.see(handshake.Target("127.0.0.1", port), timeout=2).der)
            )
            yield port
        finally:
            process.kill()


def wait_until(true: t.Callable[[], bool], *, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_api_server_serves_what_was_renewed_but_keeps_the_keys_of_its_start() -> None:
    with Cluster("api", size=1) as cluster, api_server(cluster) as port:
        folder = member_of(cluster).certificates_dir

        def of_api() -> tuple[str, set[tuple[str, str]]]:
            result = look_at("/", served=True, **where(cluster))
            state = next(each for each in result["served"] if each["role"] == "apiserver")
            assert state["endpoint"] == f"https://127.0.0.1:{port}"
            kinds = {(each["kind"], each["where"]) for each in result["findings"]}
            return state["state"], {each for each in kinds if each[0] != "not_served"}

        assert of_api() == ("loaded", set())
        names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "10.96.0.1"]
        names += ["kubernetes.default.svc.cluster.local", "127.0.0.1", "k8s-api.example.test"]
        issue(cluster.pki.ca, "kube-apiserver", usages=(SERVER,), names=names).write(
            folder / "apiserver"
        )
        # It looks for new ones every minute at the latest (apiserver, dynamiccertificates).
        wait_until(lambda: of_api() == ("loaded", set()))
        time.sleep(1.1)
        os.utime(folder / "sa.key")
        assert of_api() == ("loaded", {("not_loaded", str(folder / "sa.key"))})
