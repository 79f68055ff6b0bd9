# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks drill and extract with the archive's own kube-apiserver, from the backup on."""

from __future__ import annotations

import os
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml
from integration.backup.backup_lab import BackupLab
from integration.drill.drill_lab import DrillLab, Model, outcome

from ansible_collections.controlplane.etcd.plugins.module_utils._drill import encryption
from lab import binaries, drilled_api, objects, versions
from lab.archived import Keys
from lab.kubectl import Kubectl
from lab.loopback import Cluster
from lab.objects import apiserver

SHOP = "shop"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Path]:
    """A folder on PATH with kube-apiserver and kubectl, as a control plane's host has them."""
    folder = tmp_path_factory.mktemp("bin")
    version, cache = versions.KUBERNETES_RECORDED, binaries.cache_dir() / "kubernetes"
    for name in ("kube-apiserver", "kubectl"):
        (folder / name).symlink_to(apiserver.build(version, cache, command=name))
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{folder}:{before}"
    yield folder
    os.environ["PATH"] = before


@pytest.fixture(scope="module")
def cluster() -> t.Iterator[Cluster]:
    with Cluster("alpha", size=1) as cluster:
        objects.fill(cluster, name="alpha")
        # Its manifests name the version whose API server wrote the objects.
        member = cluster.member("alpha-cp1")
        pod = member.static_pod_path / "kube-apiserver.yaml"
        named = versions.KUBERNETES[versions.minor(cluster.version)]
        pod.write_text(pod.read_text().replace(f"v{named}", f"v{versions.KUBERNETES_RECORDED}"))
        yield cluster


@pytest.fixture(scope="module")
def model(programs: Path, cluster: Cluster) -> t.Iterator[Model]:
    """An archive that a backup made, with everything in it."""
    with BackupLab(pipelining=True) as lab:
        (lab.root / "model").mkdir()
        keys = Keys.make(lab.root / "model")
        lab.recipients, lab.signing_key = [keys.recipient], keys.signing_key
        run = lab.backup(
            {"alpha": lab.hosts(cluster)},
            etcd_backup_include_tools=True,
            etcd_backup_include_apiserver=True,
        )
        assert run.status == 0, run.text
        [entry] = (lab.archive / "alpha").glob("2*")
        yield Model(lab.archive, keys, entry, (*cluster.secrets(), *objects.planted_forms()))


@pytest.fixture
def lab(model: Model) -> t.Iterator[DrillLab]:
    with DrillLab(model) as lab:
        yield lab


def test_drill_with_the_api_server_reads_every_object(lab: DrillLab, cluster: Cluster) -> None:
    entry = lab.add()
    run = lab.drill({"alpha": {"etcd_cluster": "alpha"}}, etcd_drill_api=True)
    assert run.status == 0, run.text
    [proof] = lab.proofs(entry)
    assert proof["verdict"] == "passed", proof
    results = {each["name"]: each["result"] for each in proof["comparisons"]}
    assert {results[name] for name in ("api_objects", "api_custom_objects", "api_secrets")} == {
        "passed"
    }
    assert proof["versions"]["kube_apiserver"].lstrip("v") == versions.KUBERNETES_RECORDED
    lab.assert_nothing_left()


def test_extract_brings_a_namespace_home_and_says_what_it_would_change(
    lab: DrillLab, cluster: Cluster, tmp_path: Path
) -> None:
    lab.add()
    config = encryption.parse(objects.encryption_configuration().encode(), "/etc/kubernetes/enc")
    out = tmp_path / "out"
    with drilled_api.serving(cluster, tmp_path, config=config, admission=True) as (_api, process):
        kubectl = Kubectl(cluster, process.port, tmp_path)
        run = lab.drill(
            {"alpha": {"etcd_cluster": "alpha", "etcd_recipients": [lab.keys.recipient]}},
            playbook="extract",
            etcd_drill_extract={"namespaces": [SHOP]},
            etcd_drill_extract_dest=str(out),
            etcd_drill_extract_diff=str(kubectl.config),
        )
        assert run.status == 0, run.text
        status, said = kubectl("delete", "configmap", "--namespace", SHOP, "--all")
        assert status == 0, said
        again = lab.drill(
            {"alpha": {"etcd_cluster": "alpha", "etcd_recipients": [lab.keys.recipient]}},
            playbook="extract",
            etcd_drill_extract={"namespaces": [SHOP], "resources": ["configmaps"]},
            etcd_drill_extract_dest=str(tmp_path / "again"),
            etcd_drill_extract_diff=str(kubectl.config),
        )
    assert outcome(run, "alpha")["outcome"] == "passed"
    found = {path.name: path for path in out.rglob("*") if path.is_file()}
    assert set(found) == {"objects.yaml", "secrets.yaml.zst.age"}
    kinds = {each["kind"] for each in yaml.safe_load_all(found["objects.yaml"].read_text())}
    assert {"Namespace", "Deployment", "ConfigMap"} <= kinds
    assert "Secret" not in kinds
    opened = _opened(found["secrets.yaml.zst.age"], lab.keys)
    assert {each["kind"] for each in yaml.safe_load_all(opened)} == {"Secret"}
    assert str(run.said("s1", "Show them")["msg"]) == "[]", run.text
    assert "+kind: ConfigMap" in str(again.said("s1", "Show them")["msg"]), again.text
    lab.assert_nothing_left()


def test_extract_that_names_no_folder_is_refused_before_anything_starts(lab: DrillLab) -> None:
    lab.add()
    run = lab.drill(
        {"alpha": {"etcd_cluster": "alpha"}},
        playbook="extract",
        etcd_drill_extract={"namespaces": [SHOP]},
    )
    assert run.status == 2
    assert "etcd_drill_extract_dest" in run.text
    lab.assert_nothing_left()


def _opened(path: Path, keys: Keys) -> str:
    command = 'age -d -i "$1" "$2" | zstd -q -d -c'
    argv = ["bash", "-o", "pipefail", "-c", command, "-", str(keys.identity), str(path)]
    return subprocess.run(argv, check=True, capture_output=True).stdout.decode()
