# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record what a real kube-apiserver writes into a real etcd: makes recorded.json.gz anew.

    .venv/bin/python tests/lab/objects/record.py

Builds kube-apiserver (versions.KUBERNETES_RECORDED) from Go modules into the cache, which takes some
minutes of two cores and needs Go on PATH, and openssl; starts it on etcd on loopback, three times
with another encryption at rest; creates the objects of manifests.py and workloads.py through the
API; updates and deletes some; and writes down every change that etcd then holds, in order, with
its raw value. Nothing of it comes from a real cluster; all secret values are made up and marked.
"""

from __future__ import annotations

import base64
import datetime
import gzip
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import grpc
from etcd3.etcdrpc import rpc_pb2, rpc_pb2_grpc

from lab import binaries, kubeadm, versions
from lab.objects import RECORDED, apiserver, manifests, workloads

PLANTED = re.compile(r"PLANTED-SECRET-[A-Za-z0-9-]+")


def encryption(*order: str) -> str:
    """Return an EncryptionConfiguration for Secrets with the providers in that order."""
    providers: list[object] = []
    for provider in order:
        if provider == "identity":
            providers.append({"identity": {}})
            continue
        name, value = kubeadm.ENCRYPTION_KEYS[provider]
        key = {"name": name, "secret": base64.b64encode(value).decode()}
        providers.append({provider: {"keys": [key]}})
    wish = {"resources": ["secrets"], "providers": providers}
    version = "apiserver.config.k8s.io/v1"
    return json.dumps(
        {"apiVersion": version, "kind": "EncryptionConfiguration", "resources": [wish]}, indent=2
    )


class Api:
    """Creates and changes objects by their manifests; knows each kind's path from discovery."""

    def __init__(self, server: apiserver.Server) -> None:
        self.server = server
        self._resources: dict[tuple[str, str], tuple[str, bool]] = {}
        self.planted: set[str] = set()

    def _path(self, made: manifests.Manifest) -> str:
        version, kind = made["apiVersion"], made["kind"]
        base = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if (version, kind) not in self._resources:
            for entry in self.server.call("GET", base)["resources"]:
                if "/" not in entry["name"]:
                    found = (entry["name"], entry["namespaced"])
                    self._resources[version, entry["kind"]] = found
        name, namespaced = self._resources[version, kind]
        folder = f"/namespaces/{made['metadata']['namespace']}" if namespaced else ""
        return f"{base}{folder}/{name}"

    def create(self, made: manifests.Manifest) -> manifests.Manifest:
        """Create it; return it as the API server answers."""
        self.planted.update(PLANTED.findall(json.dumps(made)))
        created = self.server.call("POST", self._path(made), made)
        return {**created, "apiVersion": made["apiVersion"], "kind": made["kind"]}

    def patch(self, made: manifests.Manifest, change: object, *, part: str = "") -> None:
        """Merge a change into an object, or into its part `/status`."""
        path = f"{self._path(made)}/{made['metadata']['name']}{part}"
        self.server.call("PATCH", path, change, patch=True)

    def delete(self, made: manifests.Manifest) -> None:
        """Delete an object, without waiting for a kubelet that isn't there."""
        path = f"{self._path(made)}/{made['metadata']['name']}"
        self.server.call("DELETE", path, {"gracePeriodSeconds": 0, "propagationPolicy": "Orphan"})


def stamp() -> str:
    """Return now, as the API wants it."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def populate(api: Api) -> None:
    """Create the made-up cluster, let it live a little, delete a few things."""
    first = [*manifests.nodes(), *workloads.accounts(), *manifests.configuration()]
    made = [api.create(item) for item in [*first, *manifests.secrets_by_the_first_key()]]
    running = [api.create(item) for item in workloads.per_node()]
    address = 10
    for namespace, name, replicas, image, port in manifests.SERVICES:
        deployed = api.create(workloads.deployment(namespace, name, replicas, image, port))
        rolled = api.create(workloads.replica_set(deployed))
        front = api.create(workloads.service(namespace, name, port))
        addresses = []
        for wish in workloads.pods(rolled):
            pod = api.create(wish)
            address += 1
            addresses.append(f"10.244.3.{address}")
            status = workloads.pod_status(pod, addresses[-1], stamp())
            api.patch(pod, {"status": {**status, "phase": "Pending"}}, part="/status")
            api.patch(pod, {"status": status}, part="/status")
            running.append(pod)
            for reason in ("Scheduled", "Pulled", "Created", "Started"):
                text = f"{reason} {pod['metadata']['name']} with image {image}"
                made.append(api.create(workloads.event(pod, reason, text, stamp())))
        api.create(workloads.endpoint_slice(front, addresses))
        counts = {"replicas": replicas, "readyReplicas": replicas, "observedGeneration": 1}
        api.patch(deployed, {"status": counts}, part="/status")
        made.append(deployed)
    for item in [*workloads.storage(), *workloads.policies()]:
        api.create(item)
    api.create(workloads.definition())
    wait_for_kind(api)
    made += [api.create(item) for item in workloads.custom_objects()]
    live(api, made)
    remove(api, made, running)


def wait_for_kind(api: Api) -> None:
    """Wait until the API server serves the kind that was just defined."""
    path = f"/apis/{workloads.GROUP}/v1"
    for _turn in range(60):
        try:
            api.server.call("GET", path)
        except RuntimeError:
            time.sleep(0.5)
        else:
            return
    raise RuntimeError(f"{path} is not served 30 s after its definition")


def live(api: Api, made: list[manifests.Manifest]) -> None:
    """Let the cluster write as it does all day: heartbeats, leases, rollouts."""
    for beat in range(4):
        for item in made:
            if item["kind"] == "Node":
                status = manifests.node_status(item["metadata"]["name"], stamp())
                api.patch(item, {"status": status}, part="/status")
            elif item["kind"] == "Lease":
                now = stamp().replace("Z", f".{beat:06d}Z")
                api.patch(item, {"spec": {"renewTime": now}})
    for item in made:
        if item["kind"] == "Deployment":
            api.patch(item, {"metadata": {"annotations": {"deployed-by": "ci/run-4711"}}})
        elif item["kind"] == "Certificate":
            conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": stamp()}]
            api.patch(item, {"status": {"conditions": conditions}}, part="/status")
        elif item["kind"] == "ConfigMap" and item["metadata"]["name"] == "dashboard-nodes":
            api.patch(item, {"data": {"nodes.json": manifests.dashboard("nodes2", 90_000)}})


def remove(api: Api, made: list[manifests.Manifest], running: list[manifests.Manifest]) -> None:
    """Delete a few pods, all their first events, a rotated secret, a temporary configuration."""
    for pod in running[-3:]:
        api.delete(pod)
    for item in made:
        if item["kind"] == "Event" and item["reason"] == "Scheduled":
            api.delete(item)
    rotated = manifests.secret("ci", "rotated-token", token=manifests.planted("rotated-token"))
    api.delete(api.create(rotated))
    lock = manifests.manifest("v1 ConfigMap", "leader-lock", namespace="shop", data={"holder": "a"})
    api.delete(api.create(lock))


def history(endpoint: str) -> tuple[int, list[list[t.Any]], dict[str, int]]:
    """Return etcd's revision, every change up to it in order, and the leases' seconds."""
    with grpc.insecure_channel(endpoint, [("grpc.max_receive_message_length", -1)]) as channel:
        answer = rpc_pb2_grpc.KVStub(channel).Range(rpc_pb2.RangeRequest(key=b"\0"))
        revision = int(answer.header.revision)
        wish = rpc_pb2.WatchCreateRequest(key=b"\0", range_end=b"\0", start_revision=1)
        wishes = iter([rpc_pb2.WatchRequest(create_request=wish)])
        call = rpc_pb2_grpc.WatchStub(channel).Watch(wishes)
        changes: list[list[t.Any]] = []
        done = False
        for response in call:
            for event in response.events:
                if event.kv.mod_revision > revision:
                    done = True
                    break
                value = None if event.type else event.kv.value.decode("latin-1")
                lease = f"{event.kv.lease:x}" if event.kv.lease else ""
                changes.append([event.kv.key.decode(), value, lease])
                done = event.kv.mod_revision == revision
            if done:
                break
        call.cancel()
        seconds = {}
        for lease in sorted({lease for _key, _value, lease in changes if lease}):
            ask = rpc_pb2.LeaseTimeToLiveRequest(ID=int(lease, 16))
            granted = rpc_pb2_grpc.LeaseStub(channel).LeaseTimeToLive(ask).grantedTTL
            seconds[lease] = int(granted) or 15  # gone by now: the API server's own entry, 15 s
    return revision, changes, seconds


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def record(scratch: Path) -> dict[str, t.Any]:
    """Run the servers and return what they wrote."""
    binary = apiserver.build(versions.KUBERNETES_RECORDED, binaries.cache_dir() / "kubernetes")
    etcd = binaries.get(versions.ETCD_DEFAULT)
    client, peer = (f"http://127.0.0.1:{free_port()}" for _turn in range(2))
    command = [
        *(str(etcd.etcd), "--name=recorder", f"--data-dir={scratch / 'etcd'}"),
        *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
        *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
        f"--initial-cluster=recorder={peer}",
    ]
    config = scratch / "encryption.json"
    phases = (
        (("identity",), manifests.secrets_in_clear),
        (("secretbox", "identity"), manifests.secrets_by_the_second_key),
        (("aescbc", "secretbox", "identity"), None),
    )
    planted = {value.decode() for _name, value in kubeadm.ENCRYPTION_KEYS.values()}
    with (scratch / "etcd.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for number, (order, secrets) in enumerate(phases):
            config.write_text(encryption(*order))
            server = apiserver.Server(
                binary, scratch, etcd=client, port=free_port(), encryption=config
            )
            with server:
                api = Api(server)
                if number == 0:
                    for name in manifests.NAMESPACES:
                        api.create(manifests.manifest("v1 Namespace", name))
                if secrets is None:
                    populate(api)
                else:
                    for item in secrets():
                        api.create(item)
                planted |= api.planted
                # while the last API server runs: what it takes along as it stops is there still
                revision, changes, leases = history(client.partition("//")[2])
    finally:
        process.terminate()
        process.wait()
    return {
        "about": "Every change that a kube-apiserver made in etcd, in order; by record.py.",
        "kubernetes": versions.KUBERNETES_RECORDED,
        "etcd": etcd.version,
        "recorded_at": stamp(),
        "revision": revision,
        "encryption_configuration": config.read_text(),
        "planted": sorted(planted),
        "leases": leases,
        "changes": changes,
    }


def main() -> None:
    """Record, and say how much."""
    with tempfile.TemporaryDirectory(prefix="record-") as scratch:
        recorded = record(Path(scratch))
    text = json.dumps(recorded, ensure_ascii=False, separators=(",", ":"))
    RECORDED.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    changes = recorded["changes"]
    print(
        f"{len(changes)} changes, {len({key for key, *_rest in changes})} keys, {len(text)} bytes,"
    )
    print(f"{RECORDED.stat().st_size} bytes in {RECORDED}")


if __name__ == "__main__":
    main()
