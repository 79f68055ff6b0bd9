# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbook cert_check over real clusters whose hosts have something wrong each, and over good ones."""

from __future__ import annotations

import ast
import datetime as dt
import shutil
import typing as t
from pathlib import Path

import pytest
from integration.backup.backup_lab import BackupLab, Run, Variables

from lab import objects
from lab.loopback import Cluster
from lab.pki import SERVER, issue, new_key, now, private_pem, public_pem

AREA = "certificates"
# No host answers there.
DEAD: Variables = {
    "ansible_connection": "ssh",
    "ansible_host": "192.0.2.1",
    "ansible_ssh_common_args": "-o ConnectTimeout=1 -o ConnectionAttempts=1",
}


@pytest.fixture(scope="module")
def alpha() -> t.Iterator[Cluster]:
    with Cluster("alpha", size=3) as cluster:
        objects.fill(cluster, copies=1)
        yield cluster


@pytest.fixture(scope="module")
def beta() -> t.Iterator[Cluster]:
    with Cluster("beta", size=1) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def lab(alpha: Cluster) -> t.Iterator[BackupLab]:
    """A controller with an archive of alpha, and none of beta."""
    with BackupLab(pipelining=True) as lab:
        run = lab.backup({"alpha": lab.hosts(alpha)})
        assert run.outcome("alpha")["outcome"] == "archived", run.text[-6000:]
        yield lab


def check(lab: BackupLab, *arguments: str, clusters: dict[str, t.Any], **more: t.Any) -> Run:
    """Run the playbook."""
    variables: Variables = {
        "etcd_cert_check_install_runtime": False,
        "etcd_backup_install_runtime": None,
        "etcd_backup_include_tools": None,
        **more,
    }
    return lab.start(clusters, *arguments, playbook="cert_check", **variables).wait()


def shown(run: Run) -> list[str]:
    """Return the lines that are shown to a person."""
    found = [each for each in run.results if each["task"] == "Show it" and "msg" in each]
    assert len(found) == 1, run.text[-6000:]
    return t.cast("list[str]", ast.literal_eval(found[0]["msg"]))


def failures(run: Run) -> str:
    return " ".join(each["msg"] for each in run.results if each["how"] == "failed")


def files(cluster: Cluster) -> dict[str, tuple[int, bytes]]:
    """Return mode and content of every file of the hosts but etcd's own data."""
    return {
        str(path): (path.lstat().st_mode, path.read_bytes())
        for path in cluster.root.rglob("*")
        if path.is_file() and "/var/lib/etcd/" not in str(path) and path.suffix != ".log"
    }


@pytest.fixture
def restored(alpha: Cluster, tmp_path: Path) -> t.Iterator[None]:
    """Put alpha's files back as they were."""
    kept = {}
    for name, member in alpha.members.items():
        kept[name] = tmp_path / name
        shutil.copytree(member.node.root / "etc", kept[name], symlinks=True)
    yield
    for name, member in alpha.members.items():
        shutil.rmtree(member.node.root / "etc")
        shutil.copytree(kept[name], member.node.root / "etc", symlinks=True)


def test_good_clusters_end_well_and_nothing_is_changed(
    lab: BackupLab, alpha: Cluster, beta: Cluster
) -> None:
    before = {**files(alpha), **files(beta)}
    clusters = {"alpha": lab.hosts(alpha), "beta": lab.hosts(beta)}
    run = check(lab, clusters=clusters, etcd_identities=[str(lab.identity)])
    assert run.status == 0, run.text[-6000:]
    assert "changed=1" not in run.text
    assert {**files(alpha), **files(beta)} == before
    stats = run.stats["etcd_cert_check"]
    assert stats["counts"]["critical"] == 0, stats["findings"]
    # No API server and no kubelet runs on these hosts: that is said, for each of them.
    unserved = {
        host for each in stats["findings"] if each["kind"] == "not_served" for host in each["hosts"]
    }
    assert unserved == {*alpha.members, *beta.members}
    assert stats["days_left"] in (363, 364, 365)
    lines = "\n".join(shown(run))
    for host in (*alpha.members, *beta.members):
        assert host in lines, lines
    assert "archive of alpha, " in lines
    assert "complete" in lines
    assert "opened with the identities at hand: data, encryption, pki" in lines
    assert "archive of beta: " in lines
    lab.assert_no_secret()


def test_each_trouble_is_told_by_its_host_worst_first(
    lab: BackupLab, alpha: Cluster, beta: Cluster, restored: None, reliability: t.Any
) -> None:
    first, second, third = alpha.members
    soon = issue(
        alpha.pki.ca,
        "kube-apiserver",
        usages=(SERVER,),
        names=["localhost", "127.0.0.1", "kubernetes", first],
        not_after=now() + dt.timedelta(days=3, hours=1),
    )
    soon.write(Path(alpha.member(first).certificates_dir, "apiserver"))
    other = new_key()
    own = Path(alpha.member(second).certificates_dir)
    (own / "sa.key").write_bytes(private_pem(other))
    (own / "sa.pub").write_bytes(public_pem(other))
    (Path(alpha.member(third).certificates_dir) / "etcd" / "server.key").chmod(0o644)
    lost = {"beta-cp1": lab.host("beta-cp1", {**beta.host_variables("beta-cp1"), **DEAD})}
    run = check(lab, clusters={"alpha": lab.hosts(alpha), "beta": lost})
    assert run.status == 2, run.text[-6000:]
    found = {
        (each["kind"], host): each
        for each in run.stats["etcd_cert_check"]["findings"]
        for host in each["hosts"]
    }
    assert found["expires_soon", first]["severity"] == "critical"
    assert "kubeadm certs renew apiserver" in found["expires_soon", first]["action"]
    assert ("key_readable", third) in found
    assert found["not_looked_at", "beta-cp1"]["severity"] == "critical"
    differ = [each for (kind, _host), each in found.items() if kind == "hosts_differ"]
    assert any("sa" in each["message"] and second in each["message"] for each in differ), differ
    order = [each["severity"] for each in run.stats["etcd_cert_check"]["findings"]]
    assert order == sorted(order, key=["critical", "warning", "info"].index)
    said = failures(run)
    for word in (first, "apiserver.crt", "beta-cp1"):
        assert word in said, said
    lines = "\n".join(shown(run))
    for word in ("kubeadm certs renew apiserver", second, "beta-cp1", "not looked at"):
        assert word in lines, lines
    assert max(len(line) for line in shown(run)) <= 110, lines
    lab.assert_no_secret()
    for fault, kind, host in (
        ("a certificate that ends in three days, on one host of many", "expires_soon", first),
        ("a host that can't be reached", "not_looked_at", "beta-cp1"),
        ("sa.key of one host is another than its neighbours'", "hosts_differ", None),
    ):
        message = next(
            each["message"]
            for (what, where), each in found.items()
            if what == kind and host in (None, where)
        )
        reliability(fault, "told by its host, and the run fails", area=AREA, message=message)


def test_what_is_asked_wrongly_is_named(lab: BackupLab, beta: Cluster, reliability: t.Any) -> None:
    hosts = lab.hosts(beta)
    wrong: dict[str, tuple[dict[str, t.Any], list[str]]] = {
        "a variable mistyped": ({"etcd_cert_check_warn_day": 3}, ["etcd_cert_check_warn_day"]),
        "folders without a control plane": (
            {
                "etcd_cert_check_certificates_dir": "/nowhere",
                "etcd_cert_check_static_pod_path": "/nowhere",
            },
            ["beta-cp1", "/nowhere"],
        ),
        "a duration that is none": ({"etcd_cert_check_timeout": "soon"}, ["timeout", "soon"]),
    }
    for fault, (wish, words) in wrong.items():
        run = check(lab, clusters={"beta": hosts}, etcd_archive="", **wish)
        assert run.status == 2, fault
        said = failures(run)
        for word in words:
            assert word in said, (fault, said)
        reliability(fault, "refused, or told: never an all good", area=AREA, message=said)


def test_host_that_failed_before_is_in_the_table(
    lab: BackupLab, alpha: Cluster, beta: Cluster, reliability: t.Any
) -> None:
    run = check(lab, clusters={"alpha": lab.hosts(alpha), "nocluster": lab.hosts(beta)})
    assert run.status == 2
    said = failures(run)
    assert "beta-cp1 belongs to no cluster" in said
    assert "beta-cp1: This host was not looked at" in said.replace("beta-cp1 beta-cp1", "beta-cp1")
    [row] = [line for line in shown(run) if line.startswith("beta-cp1")]
    assert "not looked at" in row
    reliability(
        "one host of many has no etcd_cluster",
        "it is in the table as not looked at, the others are looked at, the run fails",
        area=AREA,
        message=said,
    )


@pytest.mark.parametrize("playbook", ["backup", "cert_check", "drill", "extract", "rotate"])
def test_limit_that_leaves_out_every_host_is_refused(
    lab: BackupLab, beta: Cluster, playbook: str, reliability: t.Any
) -> None:
    groups = {"web": {"hosts": {"web1": DEAD}}, "etcd_scratch": {"hosts": {"s1": DEAD}}}
    start = lab.start(
        {"beta": lab.hosts(beta)}, "--limit", "web1", playbook=playbook, groups=groups
    )
    run = start.wait()
    assert run.status == 2, run.text[-3000:]
    said = failures(run)
    assert "--limit web1 leaves out every host in" in said
    reliability(
        f"{playbook} with a --limit that none of its hosts is in",
        "refused: it would have ended well, and done nothing",
        area="playbook",
        message=said,
    )
