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

from ansible_collections.controlplane.etcd.plugins.module_utils._node import handshake
from lab import versions
from lab.loopback import Cluster
from lab.member import Member
from lab.module import run_module
from lab.pki import CLIENT, SERVER, authority, issue, new_key, now, private_pem, write

ETCD = ("etcd/server", "etcd/peer")


@pytest.fixture(scope="module", params=["3.5", "3.6", "3.7"])
def live(request: pytest.FixtureRequest) -> t.Iterator[Cluster]:
    """A running etcd of each version."""
    with Cluster("served", size=1, version=versions.ETCD[request.param]) as cluster:
        yield cluster


def member_of(cluster: Cluster) -> Member:
    return next(iter(cluster.members.values()))


def ask(cluster: Cluster, **options: t.Any) -> dict[str, t.Any]:
    """Return what the module finds; nobody serves as API server and kubelet here."""
    where = {"static_pod_path": str(member_of(cluster).static_pod_path)}
    result = run_module("etcd_cert_check", {**where, "fail_on": "never", **options})
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
    result = ask(live)
    assert result["findings"] == []
    assert states(result) == {"etcd/server": "loaded", "etcd/peer": "loaded"}
    assert prints(result) == on_disk(live)
    live.wait_healthy(member_of(live).name)
    said = log.read_text().splitlines()[before:]
    assert not [line for line in said if '"level":"error"' in line or "panic" in line]
    assert len([line for line in said if "127.0.0.1" in line]) <= 2, said


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
        failed = ask(live, fail_on="critical")
        assert failed["error"]["kind"] == "certificates"
        assert str(certificate) in failed["msg"]


def test_a_hanging_etcd_costs_the_timeout_once(live: Cluster) -> None:
    with live.paused(member_of(live).name):
        began = time.monotonic()
        result = ask(live, timeout="1s")
        took = time.monotonic() - began
    assert took < 6
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
