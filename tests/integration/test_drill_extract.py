# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A namespace that was deleted comes back: extracted from an archive, applied to a live cluster."""

from __future__ import annotations

import base64
import dataclasses
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.controlplane.etcd.plugins.module_utils._drill import (
    encryption,
    extract,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._drill.api_client import Api
from ansible_collections.controlplane.etcd.plugins.module_utils._drill.discovery import (
    Discovery,
    definitions,
    discover,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._drill.served import Held
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    OptionInvalid,
    SealError,
)
from lab import drilled_api, objects
from lab.archived import Keys
from lab.kubectl import Kubectl
from lab.loopback import Cluster

if t.TYPE_CHECKING:
    from conftest import Reliability

SHOP = "shop"


@dataclasses.dataclass(frozen=True)
class Source:
    """A drill's API server on the archived data."""

    api: Api
    discovery: Discovery
    held: Held
    keys: Keys

    def extract(self, out: Path, **wish: t.Any) -> extract.Extracted:
        """Write what is chosen to a folder."""
        out.mkdir(exist_ok=True)
        params = {"dest_dir": str(out), "recipients": [self.keys.recipient], **wish}
        return extract.extract(
            self.api,
            self.discovery,
            extract.read_selection(params),
            revision=self.held.revision,
            encrypted=self.held.encrypted,
        )


@pytest.fixture(scope="module")
def config() -> encryption.EncryptionConfig:
    return encryption.parse(objects.encryption_configuration().encode(), "/etc/kubernetes/enc.yaml")


@pytest.fixture(scope="module")
def source(
    tmp_path_factory: pytest.TempPathFactory, config: encryption.EncryptionConfig
) -> t.Iterator[Source]:
    folder = tmp_path_factory.mktemp("source")
    with Cluster("archived", size=1) as cluster:
        objects.fill(cluster, name="archived")
        held = drilled_api.held(cluster, folder)
        with drilled_api.serving(cluster, folder, config=config) as (api, _process):
            yield Source(api, discover(api, definitions(api)), held, Keys.make(folder))


def documents(path: Path) -> list[dict[str, t.Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def opened(path: Path, keys: Keys) -> str:
    """Open a sealed file with age and zstd themselves."""
    command = 'age -d -i "$1" "$2" | zstd -q -d -c'
    argv = ["bash", "-o", "pipefail", "-c", command, "-", str(keys.identity), str(path)]
    return subprocess.run(argv, check=True, capture_output=True).stdout.decode()


def revisions(cluster: Cluster) -> dict[str, int]:
    """Return the revision that wrote each key outside the namespace."""
    kvs = cluster.etcdctl("get", "/registry/", "--prefix", "--keys-only")["kvs"]
    keys = {base64.b64decode(kv["key"]).decode(): int(kv["mod_revision"]) for kv in kvs}
    # Leases and events come and go, and Services' addresses are given out.
    passing = ("/registry/events/", "/registry/ranges/", "ipaddresses/", "leases/")
    return {
        key: revision
        for key, revision in keys.items()
        if f"/{SHOP}/" not in f"{key}/" and not any(each in key for each in passing)
    }


def test_deleted_namespace_comes_back_equal_and_the_rest_is_untouched(
    source: Source,
    config: encryption.EncryptionConfig,
    tmp_path: Path,
    reliability: Reliability,
) -> None:
    done = source.extract(tmp_path / "out", namespaces=[SHOP])
    clear, sealed = tmp_path / "out/objects.yaml", tmp_path / "out/secrets.yaml.zst.age"
    assert {each.name for each in done.files} == {clear.name, sealed.name}
    hidden = opened(sealed, source.keys)
    assert not [each for each in objects.planted_forms() if each in clear.read_text()]
    assert (
        "PLANTED-SECRET"
        in base64.b64decode(yaml.safe_load_all(hidden).__next__()["data"]["PASSWORD"]).decode()
    )
    with Cluster("live", size=1) as cluster:
        objects.fill(cluster, name="live")
        for key in deleted(cluster):
            cluster.etcdctl("del", key)
        with drilled_api.serving(cluster, tmp_path, config=config, admission=True) as (
            api,
            process,
        ):
            before = revisions(cluster)
            kubectl = Kubectl(cluster, process.port, tmp_path)
            absent = kubectl.diff(clear)
            kubectl.apply(clear)
            kubectl.apply("-", stdin=hidden)
            same = kubectl.diff(clear)
            found = discover(api, definitions(api))
            held = drilled_api.held(cluster, tmp_path)
            again = dataclasses.replace(source, api=api, discovery=found, held=held)
            redone = again.extract(tmp_path / "again", namespaces=[SHOP])
            after = revisions(cluster)
    assert absent[0] > 1 and 'namespaces "shop" not found' in absent[1]
    assert same == (0, "")
    assert documents(tmp_path / "again/objects.yaml") == documents(clear)
    assert opened(tmp_path / "again/secrets.yaml.zst.age", source.keys) == hidden
    assert dict(redone.objects) == dict(done.objects)
    assert done.objects["namespaces"] == 1
    assert done.objects["apps/deployments"] == 4
    assert done.objects["certs.example.org/certificates"] == 4
    assert done.objects["secrets"] == 7
    assert {key: after.get(key) for key in before} == before
    assert not sorted(set(after) - set(before))
    reliability(
        "A namespace was deleted: its objects extracted from the archive and created again",
        f"{sum(done.objects.values())} objects equal, no other key of etcd was written",
        area="drill",
    )


def test_diff_against_the_live_cluster_shows_what_applying_would_change(
    source: Source, config: encryption.EncryptionConfig, tmp_path: Path
) -> None:
    source.extract(tmp_path / "out", namespaces=["payments"])
    clear = tmp_path / "out/objects.yaml"
    with Cluster("drifted", size=1) as cluster:
        objects.fill(cluster, name="drifted")
        started = drilled_api.serving(cluster, tmp_path, config=config, admission=True)
        with started as (_api, process):
            kubectl = Kubectl(cluster, process.port, tmp_path)
            assert kubectl.diff(clear)[0] == 0, "nothing differs from what was archived"
            before = cluster.status("drifted-cp1")["header"]["revision"]
            words = ("-n", "payments", "scale", "deployment/gateway", "--replicas=1")
            assert kubectl(*words)[0] == 0
            cluster.etcdctl("del", "/registry/configmaps/payments/ledger-config")
            status, shown = kubectl.diff(clear)
            after = cluster.etcdctl("get", "/registry/", "--prefix", "--keys-only")["kvs"]
    assert status == 1
    assert "-  replicas: 1\n+  replicas: 3" in shown
    assert "+  name: ledger-config" in shown
    assert "PLANTED-SECRET" not in shown
    changed = [kv for kv in after if int(kv["mod_revision"]) > before]
    keys = {base64.b64decode(kv["key"]).decode() for kv in changed}
    assert not [key for key in keys if "payments" in key and "deployments" not in key]


def deleted(cluster: Cluster) -> list[str]:
    """Return the keys of the namespace and of what is in it."""
    kvs = cluster.etcdctl("get", "/registry/", "--prefix", "--keys-only")["kvs"]
    keys = [base64.b64decode(kv["key"]).decode() for kv in kvs]
    return [key for key in keys if f"/{SHOP}/" in f"{key}/"]


def test_objects_have_nothing_that_a_server_put_there(source: Source, tmp_path: Path) -> None:
    done = source.extract(tmp_path / "all", labels="app.kubernetes.io/name")
    taken = ("uid", "resourceVersion", "managedFields", "creationTimestamp", "generation")
    items = documents(tmp_path / "all/objects.yaml")
    assert len(items) == sum(done.objects.values()) - done.objects["secrets"] > 100
    for item in items:
        assert "status" not in item
        assert not set(taken) & set(item["metadata"])
        assert "ownerReferences" not in item["metadata"]
    kinds = [item["kind"] for item in items]
    assert kinds.index("Namespace") < kinds.index("CustomResourceDefinition")
    assert kinds.index("CustomResourceDefinition") < kinds.index("ConfigMap")
    assert kinds.index("Service") < kinds.index("Deployment") < kinds.index("Certificate")
    assert "Event" not in kinds
    assert done.left_out["passing"] > 10
    inside = source.extract(tmp_path / "all", namespaces=["shop", "payments", "monitoring"])
    assert inside.left_out["owned"] > 30
    assert inside.left_out["default"] == 3


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ({"resources": ["deploy"]}, {"apps/deployments": 12}),
        ({"resources": ["Deployment"], "namespaces": [SHOP]}, {"apps/deployments": 4}),
        (
            {"resources": ["certificates.certs.example.org"], "names": ["cart"]},
            {"certs.example.org/certificates": 1},
        ),
        ({"resources": ["secrets"], "names": ["psp-token"]}, {"secrets": 1}),
        ({"resources": ["pods"], "labels": "app=cart"}, {}),
        ({"resources": ["po"], "labels": "app=cart", "owned": True}, {"pods": 3}),
        ({"resources": ["events"]}, None),
    ],
    ids=["short name", "kind", "group", "secret", "owned pods", "owned", "events"],
)
def test_objects_are_chosen_as_kubectl_does(
    source: Source, tmp_path: Path, wish: dict[str, t.Any], expected: dict[str, int] | None
) -> None:
    done = source.extract(tmp_path / "chosen", **wish)
    objects_of = {name: count for name, count in done.objects.items() if name != "namespaces"}
    if expected is None:
        assert objects_of["events"] > 10
    else:
        assert objects_of == expected


def test_what_was_encrypted_in_etcd_is_sealed_too(source: Source, tmp_path: Path) -> None:
    held = dataclasses.replace(source.held, encrypted={"configmaps": {"aescbc/key1": 1}})
    also = dataclasses.replace(source, held=held)
    done = also.extract(
        tmp_path / "out", resources=["configmaps", "services"], names=["cart-config"]
    )
    assert [each.name for each in done.files] == ["secrets.yaml.zst.age"]
    with pytest.raises(SealError, match="configmaps would be extracted"):
        also.extract(tmp_path / "out", resources=["configmaps"], recipients=[])


def test_what_is_not_there_is_said(source: Source, tmp_path: Path) -> None:
    done = source.extract(tmp_path / "none", namespaces=["nope"], names=["nobody"])
    assert done.missing == ("namespace nope", "name nobody")
    assert done.files == ()
    assert list((tmp_path / "none").iterdir()) == []


def test_unknown_resource_is_refused(source: Source, tmp_path: Path) -> None:
    with pytest.raises(OptionInvalid, match="'gizmos': the archive's cluster has no such resource"):
        source.extract(tmp_path / "no", resources=["gizmos"])
