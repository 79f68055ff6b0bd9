# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Completeness drops for each part that is gone: from real kits of real trees, a test each."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import json
import os
import shutil
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    assemble,
    completeness,
    entries,
    lacks,
    manifest,
    names,
    trust,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.summary import summary
from ansible_collections.controlplane.etcd.plugins.module_utils._kit import take
from lab import kubeadm, kubespray
from lab.pki import ClusterPki, write
from lab.static_pods import EtcdSettings, Node

TREES = Path(__file__).parents[3] / "fixtures" / "trees"
HOSTS = {"cp1": "8e9e05c52164694d", "cp2": "91bc3c398fb3c146", "cp3": "fd422379fda50e48"}
SEALED = {"scheme": "age", "recipients": ["age1x"]}
TOOL = manifest.Tool("etcdutl", "3.6.16", "linux-amd64", "tools/x/etcdutl", 1, "0" * 64)
WHEEL = manifest.WheelhouseFile("wheelhouse/x.whl", 1, "0" * 64)
SHA256 = "0" * 64
Roots = dict[str, Path]


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Roots]:
    """Three hosts of each layout."""
    folder = tmp_path_factory.mktemp("trees")
    pki = ClusterPki()
    found: dict[str, Roots] = {"kubeadm": {}, "kubespray": {}, "k3s": {}, "rke2": {}}
    nodes = {
        kind: [
            Node(host, f"10.0.0.1{n}", "3.6.16", folder / kind / host, "", 2379, 2380, 2381, 6443)
            for n, host in enumerate(HOSTS)
        ]
        for kind in ("kubeadm", "kubespray")
    }
    for number, node in enumerate(nodes["kubeadm"]):
        settings = EtcdSettings(f"{node.name}={node.peer_url}")
        kubeadm.write_tree(node, pki, settings, first=not number)
    for node in nodes["kubespray"]:
        kubespray.write_tree(node, pki, nodes["kubespray"], endpoint="api.example.test")
    spec = importlib.util.spec_from_file_location("trees_build", TREES / "build.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for kind in ("k3s", "rke2"):
        for host in HOSTS:
            module.build(kind, folder / kind / host)
    for kind, roots in found.items():
        roots.update({host: folder / kind / host for host in HOSTS})
    return found


@functools.cache
def look(host: str, root: Path, **options: t.Any) -> take.Plan:
    """Look at a tree, which is not changed afterwards."""
    return take.plan(take.Options(host=host, root=str(root), **options))


def kit_of(host: str, root: Path, **options: t.Any) -> dict[str, t.Any]:
    """Return the record of a real kit, as if its files had been sealed."""
    plan = look(host, root, **options)
    record = take.record(plan, (), {"encryption": ("age1x",), "pki": ("age1x",)})
    record["files"] = [
        {**file, "size_bytes": 1, "sha256": SHA256, "compression": "zstd", "encryption": SEALED}
        for file in record["files"]
    ]
    return {"host": host, "member_id": HOSTS[host], "result": record}


def member(host: str, scheme: str = "https") -> dict[str, t.Any]:
    return {
        "id": HOSTS[host],
        "name": host,
        "peer_urls": [f"{scheme}://{host}:2380"],
        "client_urls": [f"{scheme}://{host}:2379"],
        "is_learner": False,
    }


def manifest_of(
    kits: t.Sequence[dict[str, t.Any]],
    *,
    encrypted: dict[str, int] | None = None,
    scheme: str = "https",
    missing_hosts: tuple[str, ...] = (),
    hosts: t.Collection[str] = tuple(HOSTS),
) -> manifest.Manifest:
    """Merge kits into a manifest, as the archive does."""
    keys = {"aescbc/key1": 63} if encrypted is None else encrypted
    members = [member(host, scheme) for host in HOSTS]
    snapshot: dict[str, t.Any] = {
        "cluster_id": "cdf818194e3a8c32",
        "snapshot": {
            "revision": 18274,
            "db_size_bytes": 20968,
            "sha256": SHA256,
            "key_count": 1034,
            "source_member": {"id": HOSTS["cp1"], "name": "cp1"},
        },
        "etcd": {"server_version": "3.6.16"},
        "kubernetes": {
            "object_count": 987,
            "secrets": keys,
            "encrypted": keys,
            "kube_system_uid": "0c2f2a0e-6d8c-4d55-9d6b-5f0c1a7a9f5e",
        },
        "files": [
            {
                "name": "data.db.zst.age",
                "part": "data",
                "size_bytes": 1,
                "sha256": SHA256,
                "compression": "zstd",
                "encryption": SEALED,
            }
        ],
    }
    info = {"cluster_id": "cdf818194e3a8c32", "members": members}
    records = assemble.Records(
        snapshot=snapshot,
        info=info,
        hosts=tuple(
            {"host": host, "info": {**info, "local_member": {"id": HOSTS[host]}}} for host in hosts
        ),
        kits=tuple(kits),
        missing_hosts=missing_hosts,
    )
    claims = assemble.file_claims(records)
    return assemble.assemble(
        records,
        names.Prefix("prod"),
        entry="20261123T145000Z-f09ad7d2",
        created_at="2026-11-23T14:50:00Z",
        collection_version="0.1.0",
        files=tuple(
            dataclasses.replace(claim[0], host=claim[0].host if len(claim) == 1 else None)
            for claim in claims.values()
        ),
        lineage=(),
        tools=(TOOL,),
        wheelhouse=(WHEEL,),
    )


def judged(roots: Roots, **changes: t.Any) -> lacks.Verdict:
    kits = [kit_of(host, root) for host, root in roots.items()]
    return completeness.judge(manifest_of(kits, **changes))


def said(verdict: lacks.Verdict) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(lack.code, lack.part, lack.hosts) for lack in verdict.lacks]


def without(roots: Roots, tmp_path: Path, name: str, hosts: t.Iterable[str]) -> Roots:
    """Copy the trees, without the file of a standard name on some hosts."""
    found, removed = dict(roots), 0
    for host in hosts:
        root = found[host] = copied(roots[host], tmp_path / host)
        gone = [file for file in look(host, roots[host]).collection.files if name in file.names]
        for path in [path for file in gone for path in (file.path, *file.links)]:
            Path(f"{root}{path}").unlink()
            removed += 1
    assert removed
    return found


def copied(root: Path, to: Path) -> Path:
    """Copy a tree, its files as hard links."""
    shutil.copytree(root, to, symlinks=True, copy_function=os.link)
    return to


DATA_ONLY = lacks.Completeness.DATA_ONLY
SAME_HOSTS = lacks.Completeness.SAME_HOSTS
COMPLETE = lacks.Completeness.COMPLETE
# What it comes to when a part is on no host: with what code.
SHARED = {
    "sa.key": (DATA_ONLY, "no_sa_key"),
    "sa.pub": (SAME_HOSTS, "no_sa_pub"),
    "ca.crt": (DATA_ONLY, "no_ca"),
    "ca.key": (SAME_HOSTS, "no_ca_key"),
    "front-proxy-ca.crt": (SAME_HOSTS, "no_front_proxy_ca"),
    "front-proxy-ca.key": (SAME_HOSTS, "no_ca_key"),
    "etcd/ca.crt": (DATA_ONLY, "no_etcd_ca"),
    "etcd/ca.key": (SAME_HOSTS, "no_ca_key"),
    "encryption-config": (DATA_ONLY, "no_encryption_config"),
}
PAIRS = (
    "apiserver",
    "apiserver-etcd-client",
    "apiserver-kubelet-client",
    "etcd/healthcheck-client",
    "etcd/peer",
    "etcd/server",
    "front-proxy-client",
)
OWN = {
    **{f"{pair}.crt": (SAME_HOSTS, "no_certificate") for pair in PAIRS},
    **{f"{pair}.key": (SAME_HOSTS, "no_key") for pair in PAIRS},
    "admin.conf": (SAME_HOSTS, "no_kubeconfig"),
    "controller-manager.conf": (SAME_HOSTS, "no_kubeconfig"),
    "scheduler.conf": (SAME_HOSTS, "no_kubeconfig"),
    "kubelet.conf": (SAME_HOSTS, "no_kubelet_file"),
    "kubelet/client-current.pem": (SAME_HOSTS, "no_kubelet_file"),
    "kubelet/config.yaml": (SAME_HOSTS, "no_kubelet_file"),
    "kubelet/kubeadm-flags.env": (SAME_HOSTS, "no_kubelet_file"),
    **{
        f"manifests/{component}.yaml": (DATA_ONLY, "no_manifest")
        for component in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
    },
    "admission-control-config": (SAME_HOSTS, "no_file"),
    "audit-policy": (SAME_HOSTS, "no_file"),
}
# The first host's administrator, and what the kubelet makes by itself.
NOT_NEEDED = {"super-admin.conf", "kubelet/pki/kubelet.crt", "kubelet/pki/kubelet.key"}


def test_whole_kits_are_complete(trees: dict[str, Roots]) -> None:
    for kind in ("kubeadm", "kubespray"):
        verdict = judged(trees[kind])
        assert (kind, verdict.completeness, said(verdict)) == (kind, COMPLETE, [])
    for kind in ("k3s", "rke2"):
        verdict = judged(trees[kind], encrypted={"aescbc/aescbckey": 3})
        assert (kind, verdict.completeness, said(verdict)) == (kind, COMPLETE, [])


def test_tables_name_all_that_a_kit_has(trees: dict[str, Roots]) -> None:
    present = set(kit_of("cp1", trees["kubeadm"]["cp1"])["result"]["kit"]["present"])
    assert present == {*SHARED, *OWN, *NOT_NEEDED}


@pytest.mark.parametrize("name", [*SHARED, *OWN])
def test_part_that_no_host_has_drops_it(trees: dict[str, Roots], tmp_path: Path, name: str) -> None:
    verdict = judged(without(trees["kubeadm"], tmp_path, name, HOSTS))
    expected, code = {**SHARED, **OWN}[name]
    assert verdict.completeness is expected
    [lack] = [lack for lack in verdict.lacks if lack.part == name]
    assert lack.code == code
    assert lack.meaning.endswith(".")
    assert lack.hosts == (() if name in SHARED else tuple(HOSTS))
    worst = lacks.Severity.CRITICAL if expected is DATA_ONLY else lacks.Severity.WARNING
    assert lack.severity is worst


@pytest.mark.parametrize("name", [*SHARED, *OWN])
def test_part_that_one_host_lacks(trees: dict[str, Roots], tmp_path: Path, name: str) -> None:
    verdict = judged(without(trees["kubeadm"], tmp_path, name, ["cp2"]))
    if name in SHARED:
        assert said(verdict) == [], "one copy is enough"
        assert verdict.completeness is COMPLETE
    else:
        assert verdict.completeness is SAME_HOSTS
        assert said(verdict) == [(OWN[name][1], name, ("cp2",))]


@pytest.mark.parametrize("name", sorted(NOT_NEEDED))
def test_part_that_is_made_anew_is_not_asked_for(
    trees: dict[str, Roots], tmp_path: Path, name: str
) -> None:
    assert judged(without(trees["kubeadm"], tmp_path, name, HOSTS)).completeness is COMPLETE


def test_kits_without_ca_keys_restore_on_the_same_hosts(trees: dict[str, Roots]) -> None:
    kits = [kit_of(host, root, include_ca_keys=False) for host, root in trees["kubeadm"].items()]
    verdict = completeness.judge(manifest_of(kits))
    assert verdict.completeness is SAME_HOSTS
    assert [code for code, _part, _hosts in said(verdict)] == ["no_ca_key"] * 3
    assert all("left out as asked" in lack.meaning for lack in verdict.lacks)


def test_certificate_without_its_ca_key_cannot_be_made(
    trees: dict[str, Roots], tmp_path: Path
) -> None:
    bare = without(trees["kubeadm"], tmp_path / "a", "ca.key", HOSTS)
    verdict = judged(without(bare, tmp_path / "b", "apiserver.crt", HOSTS))
    assert verdict.completeness is DATA_ONLY
    assert verdict.lacks[0].part == "apiserver.crt"
    assert "there is no ca.key" in verdict.lacks[0].meaning
    # One host still has one: the others join it.
    verdict = judged(without(bare, tmp_path / "c", "apiserver.crt", ["cp1", "cp3"]))
    assert verdict.completeness is SAME_HOSTS


def test_kubespray_keys_on_the_first_host_only_are_enough(
    trees: dict[str, Roots], tmp_path: Path
) -> None:
    hosts = {host: kit_of(host, root) for host, root in trees["kubespray"].items()}
    with_key = [h for h, kit in hosts.items() if "etcd/ca.key" in kit["result"]["kit"]["present"]]
    assert with_key == ["cp1"]
    assert said(judged(trees["kubespray"])) == []
    none = without(trees["kubespray"], tmp_path / "none", "etcd/ca.key", HOSTS)
    assert said(judged(none)) == [("no_ca_key", "etcd/ca.key", ())]


def test_hosts_of_etcd_alone_are_not_asked_for_an_api_server(
    trees: dict[str, Roots], tmp_path: Path
) -> None:
    roots = {host: copied(root, tmp_path / host) for host, root in trees["kubespray"].items()}
    for host in roots:
        for folder in ("etc/kubernetes", "var/lib/kubelet"):
            shutil.rmtree(roots[host] / folder)
    etcd = [kit_of(host, root) for host, root in roots.items()]
    assert {code for code, _part, _hosts in said(completeness.judge(manifest_of(etcd)))} >= {
        "no_api_server",
        "no_sa_key",
    }
    # The control plane's own host, which is no member of etcd.
    both = kit_of("cp1", trees["kubespray"]["cp1"])["result"]
    for file in both["files"]:
        file["name"] = file["name"].replace("cp1", "api1")
    api = {"host": "api1", "result": both}
    verdict = completeness.judge(manifest_of([*etcd, api]))
    assert (verdict.completeness, said(verdict)) == (COMPLETE, [])


def test_kubeadm_hosts_of_etcd_alone_are_not_asked_for_an_api_server(
    trees: dict[str, Roots], tmp_path: Path
) -> None:
    # kubeadm's "external etcd": hosts whose kubelet runs nothing but etcd's static pod.
    roots = {host: copied(root, tmp_path / host) for host, root in trees["kubeadm"].items()}
    for root in roots.values():
        etc = root / "etc/kubernetes"
        for path in [*etc.glob("*.conf"), *etc.glob("manifests/kube-*"), *etc.glob("pki/*.*")]:
            path.unlink()
        shutil.rmtree(etc / "enc")
    etcd = [kit_of(host, root) for host, root in roots.items()]
    api = kit_of("cp1", trees["kubeadm"]["cp1"])["result"]
    for file in api["files"]:
        file["name"] = file["name"].replace("cp1", "api1")
    verdict = completeness.judge(manifest_of([*etcd, {"host": "api1", "result": api}]))
    assert (verdict.completeness, said(verdict)) == (COMPLETE, [])
    gone = completeness.judge(manifest_of(etcd))
    assert gone.completeness is DATA_ONLY
    assert {"no_api_server", "no_sa_key"} <= {code for code, _part, _hosts in said(gone)}


def test_etcd_without_tls_needs_no_certificates(trees: dict[str, Roots], tmp_path: Path) -> None:
    roots = trees["kubeadm"]
    for number, name in enumerate(("etcd/server.crt", "etcd/ca.key", "apiserver-etcd-client.key")):
        roots = without(roots, tmp_path / str(number), name, HOSTS)
    assert judged(roots, scheme="http").completeness is COMPLETE
    assert judged(roots).completeness is DATA_ONLY


def test_no_kit_is_data_only() -> None:
    verdict = completeness.judge(manifest_of([], encrypted={}))
    assert verdict.completeness is DATA_ONLY
    assert said(verdict) == [("no_kit", "kit", ())]
    assert "no_encryption_config" in [code for code, *_rest in said(judged({}))]


def test_summary_tells_the_first_lacks_and_their_count(trees: dict[str, Roots]) -> None:
    found = manifest_of([kit_of("cp1", trees["kubeadm"]["cp1"])])
    kit = (dataclasses.replace(found.kit[0], present=("apiserver.crt",)),)
    bare = dataclasses.replace(found, kit=kit)
    prefix = names.Prefix("prod")
    told = summary(entries.Entry(bare.id, prefix, trust.TrustState.TRUSTED, "", bare))
    assert told["lack_count"] == len(completeness.judge(bare).lacks) > 20
    assert [lack["severity"] for lack in told["lacks"]] == ["critical"] * 20


def test_members_without_kit_are_named(trees: dict[str, Roots]) -> None:
    roots = {"cp1": trees["kubeadm"]["cp1"]}
    verdict = judged(roots, missing_hosts=("cp3", "cp9"), hosts=["cp1", "cp3"])
    assert verdict.completeness is SAME_HOSTS
    assert said(verdict) == [
        ("member_without_kit", "kit of cp2", ()),
        ("member_without_kit", "kit of cp3", ("cp3",)),
        ("host_missing", "kit", ("cp9",)),
    ]
    meanings = [lack.meaning for lack in verdict.lacks]
    assert "the inventory has no host" in meanings[0]
    assert "could not be reached" in meanings[1]


def test_kit_whose_file_is_not_in_the_entry_does_not_count(trees: dict[str, Roots]) -> None:
    kits = [kit_of(host, root) for host, root in trees["kubeadm"].items()]
    found = manifest_of(kits)
    kept = tuple(file for file in found.files if file.part != "pki")
    verdict = completeness.judge(dataclasses.replace(found, files=kept))
    assert verdict.completeness is DATA_ONLY
    kept = tuple(file for file in found.files if file.part != "encryption")
    verdict = completeness.judge(dataclasses.replace(found, files=kept))
    assert said(verdict) == [("no_encryption_config", "encryption-config", ())]


def test_encryption_config_nobody_needs_is_a_file_that_is_named(
    trees: dict[str, Roots], tmp_path: Path
) -> None:
    roots = without(trees["kubeadm"], tmp_path, "encryption-config", HOSTS)
    verdict = judged(roots, encrypted={})
    assert (verdict.completeness, said(verdict)) == (
        SAME_HOSTS,
        [("no_file", "encryption-config", tuple(HOSTS))],
    )


def test_encryption_key_that_the_config_lacks(trees: dict[str, Roots]) -> None:
    verdict = judged(trees["kubeadm"], encrypted={"aescbc/key1": 60, "aescbc/older": 3})
    assert verdict.completeness is DATA_ONLY
    assert said(verdict) == [("no_encryption_key", "aescbc/older", ())]
    assert "3 objects" in verdict.lacks[0].meaning


def test_encryption_key_that_one_host_lacks(trees: dict[str, Roots], tmp_path: Path) -> None:
    roots = {**trees["kubeadm"], "cp2": copied(trees["kubeadm"]["cp2"], tmp_path / "cp2")}
    path = roots["cp2"] / "etc/kubernetes/enc/encryption-config.yaml"
    document = yaml.safe_load(path.read_text())
    for provider in document["resources"][0]["providers"]:
        for key in (provider.get("aescbc") or {}).get("keys", []):
            key["name"] = "other"
    write(path, yaml.safe_dump(document))
    verdict = judged(roots)
    assert said(verdict) == [("no_encryption_key", "aescbc/key1", ("cp2",))]
    assert verdict.completeness is DATA_ONLY


def test_manifest_of_before_is_not_judged_by_key_names(trees: dict[str, Roots]) -> None:
    found = manifest_of([kit_of(host, root) for host, root in trees["kubeadm"].items()])
    kit = tuple(dataclasses.replace(each, encryption=None, layout=None) for each in found.kit)
    counted = dataclasses.replace(found.kubernetes, encrypted=None)
    verdict = completeness.judge(dataclasses.replace(found, kit=kit, kubernetes=counted))
    assert verdict.completeness is SAME_HOSTS, "nobody knows whether they can be read"
    assert said(verdict) == [("encryption_keys_not_told", "encryption-config", ())]


def test_kms_is_needed_outside(trees: dict[str, Roots], tmp_path: Path) -> None:
    roots = {host: copied(root, tmp_path / host) for host, root in trees["kubeadm"].items()}
    for root in roots.values():
        path = root / "etc/kubernetes/enc/encryption-config.yaml"
        document = yaml.safe_load(path.read_text())
        kms = {"apiVersion": "v2", "name": "vault", "endpoint": "unix:///run/kms.sock"}
        document["resources"][0]["providers"].insert(0, {"kms": kms})
        write(path, yaml.safe_dump(document))
    verdict = judged(roots, encrypted={"kms-v2/vault": 63})
    assert (verdict.completeness, said(verdict)) == (
        SAME_HOSTS,
        [("kms_needed", "kms-v2/vault", ())],
    )


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"tools": ()}, "no_tools"),
        ({"tools": (dataclasses.replace(TOOL, version="3.5.21"),)}, "no_tools"),
        ({"wheelhouse": ()}, "no_wheelhouse"),
    ],
)
def test_aids_that_are_not_there_are_said(
    trees: dict[str, Roots], changes: dict[str, t.Any], code: str
) -> None:
    found = manifest_of([kit_of(host, root) for host, root in trees["kubeadm"].items()])
    verdict = completeness.judge(dataclasses.replace(found, **changes))
    assert verdict.completeness is COMPLETE
    assert [code for code, *_rest in said(verdict)] == [code]


def test_entry_that_is_not_sealed_is_said(trees: dict[str, Roots]) -> None:
    found = manifest_of([kit_of(host, root) for host, root in trees["kubeadm"].items()])
    clear = tuple(
        dataclasses.replace(file, encryption=manifest.Encryption("none", ()))
        for file in found.files
    )
    verdict = completeness.judge(dataclasses.replace(found, files=clear))
    assert said(verdict) == [("not_sealed", "seal", ())]


@pytest.mark.parametrize(
    ("name", "expected", "code"),
    [
        ("token", DATA_ONLY, "no_token"),
        ("sa.key", SAME_HOSTS, "no_sa_key"),
        ("client-ca.key", SAME_HOSTS, "no_ca_key"),
        ("etcd/peer-ca.crt", SAME_HOSTS, "no_etcd_ca"),
        ("encryption-config", DATA_ONLY, "no_encryption_config"),
    ],
)
def test_k3s_part_that_no_host_has(
    trees: dict[str, Roots],
    tmp_path: Path,
    name: str,
    expected: lacks.Completeness,
    code: str,
) -> None:
    roots = without(trees["k3s"], tmp_path, name, HOSTS)
    verdict = judged(roots, encrypted={"aescbc/aescbckey": 3})
    assert (verdict.completeness, verdict.lacks[0].code) == (expected, code), said(verdict)


def test_k3s_certificate_of_one_host(trees: dict[str, Roots], tmp_path: Path) -> None:
    roots = without(trees["k3s"], tmp_path, "apiserver.crt", ["cp3"])
    verdict = judged(roots, encrypted={})
    assert said(verdict) == [("no_certificate", "apiserver.crt", ("cp3",))]
    assert verdict.completeness is SAME_HOSTS


def _apart(root: Path, name: str) -> Path:
    path = root / "etc/kubernetes" / name
    content = path.read_bytes()
    path.unlink()  # it is a hard link of the tree's
    write(path, content)
    return path


@pytest.mark.parametrize(
    ("name", "change", "expected", "code", "part"),
    [
        ("pki/sa.key", lambda root, data: b"", DATA_ONLY, "no_sa_key", "sa.key"),
        ("pki/ca.key", lambda root, data: data[:150], SAME_HOSTS, "no_ca_key", "ca.key"),
        (
            "pki/ca.crt",
            lambda root, data: (root / "etc/kubernetes/pki/etcd/ca.crt").read_bytes(),
            DATA_ONLY,
            "no_ca",
            "ca.crt",
        ),
        (
            "enc/encryption-config.yaml",
            lambda root, data: data.replace(b'"secret": "', b'"secret": "no base64!'),
            DATA_ONLY,
            "no_encryption_config",
            "encryption-config",
        ),
        (
            "audit/policy.yaml",
            lambda root, data: b"",
            SAME_HOSTS,
            "damaged",
            "audit-policy",
        ),
    ],
)
def test_damaged_file_counts_as_none(
    trees: dict[str, Roots],
    tmp_path: Path,
    name: str,
    change: t.Callable[[Path, bytes], bytes],
    expected: lacks.Completeness,
    code: str,
    part: str,
) -> None:
    roots = {host: copied(root, tmp_path / host) for host, root in trees["kubeadm"].items()}
    for root in roots.values():
        path = _apart(root, name)
        write(path, change(root, path.read_bytes()))
    verdict = judged(roots)
    assert verdict.completeness is expected, said(verdict)
    assert (verdict.lacks[0].code, verdict.lacks[0].part) == (code, part)
    assert len(verdict.lacks) == 1, said(verdict)
    assert "damaged" in verdict.lacks[0].meaning
    # One host alone: what all share is whole elsewhere, and that is said.
    one = judged({**trees["kubeadm"], "cp2": roots["cp2"]})
    if part in ("sa.key", "ca.key", "ca.crt"):
        assert one.completeness is COMPLETE
        assert said(one) == [("damaged", part, ("cp2",))]
        assert one.lacks[0].severity is lacks.Severity.INFO
    else:
        assert one.completeness is expected, said(one)


def test_key_whose_secret_is_damaged_does_not_count(
    trees: dict[str, Roots], tmp_path: Path
) -> None:
    roots = {host: copied(root, tmp_path / host) for host, root in trees["kubeadm"].items()}
    for root in roots.values():
        path = _apart(root, "enc/encryption-config.yaml")
        document = yaml.safe_load(path.read_text())
        document["resources"][0]["providers"][0]["aescbc"]["keys"][0]["secret"] = "!"
        write(path, yaml.safe_dump(document))
    lost = judged(roots, encrypted={"aescbc/key1": 63})
    assert lost.completeness is DATA_ONLY
    assert lost.lacks[0].code == "no_encryption_key"
    # The data need another one; the API server still refuses the file.
    other = judged(roots, encrypted={"secretbox/key2": 3})
    assert other.completeness is SAME_HOSTS
    assert said(other) == [("damaged", "encryption-config", tuple(HOSTS))]


def test_manifest_without_damaged_is_judged_by_names(trees: dict[str, Roots]) -> None:
    found = manifest_of([kit_of(host, root) for host, root in trees["kubeadm"].items()])
    document = json.loads(found.to_json())
    for kit in document["kit"]:
        del kit["damaged"]
    read = manifest.from_json(json.dumps(document).encode(), "old")
    assert [kit.damaged for kit in read.kit] == [(), (), ()]
    assert completeness.judge(read).completeness is COMPLETE
