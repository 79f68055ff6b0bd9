# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""RESTORE.txt: how to open an entry, and bring its cluster back, with nothing of ours.

Sections begin with `==== [name] title`; lines beginning with `$ ` are run as they stand, in one
bash, and a test does so.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._archive.names import MAIN
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.restore_hosts import (
    addresses,
    default,
    host_variables,
    kits,
    plain,
    quoted,
    send,
)

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.manifest import (
        File,
        Manifest,
        Member,
    )

__all__ = ["NAME", "restore_text"]

NAME = "RESTORE.txt"
_BUMP = 1_000_000_000


def restore_text(manifest: Manifest, *, signer: str) -> str:
    """Write RESTORE.txt for an entry whose files are all in `manifest`; `signer` is a public key."""
    members = _restorable(manifest)
    tool = restoring_tool(manifest.etcd.server_version)
    sections = [
        _head(manifest),
        _variables(manifest, members),
        _check(manifest, signer),
        _open(manifest),
        addresses(manifest, members),
        kits(manifest),
        *[
            send(manifest, number, member, tool=tool)
            for number, member in enumerate(members, start=1)
        ],
        _stop(manifest),
        *[_restore(manifest, number, member) for number, member in enumerate(members, start=1)],
        _start(manifest),
        _otherwise(manifest),
    ]
    return "\n".join("\n".join(section).rstrip() + "\n" for section in sections if section)


def can_bump(server_version: str) -> bool:
    """Tell whether this etcd's restore knows --bump-revision and --mark-compacted.

    They came with 3.4.27, 3.5.10 and 3.6.0 (etcd CHANGELOG-3.4.md, CHANGELOG-3.5.md).
    """
    version = _version(server_version)
    first = {(3, 4): 27, (3, 5): 10}.get(version[:2], 0)
    return version[:2] >= (3, 4) and version[2] >= first


def restoring_tool(server_version: str) -> str:
    """Return the program of this etcd that restores: etcdutl, or before 3.5 etcdctl."""
    return "etcdctl" if _version(server_version)[:2] < (3, 5) else "etcdutl"


def _version(text: str) -> tuple[int, int, int]:
    numbers = [int(number) for number in re.findall(r"\d+", text)[:3]]
    major, minor, patch = (numbers + [0, 0, 0])[:3]
    return major, minor, patch


def _restorable(manifest: Manifest) -> list[Member]:
    return [
        member
        for member in manifest.cluster.members
        if member.name and member.peer_urls and not member.is_learner
    ]


def _head(manifest: Manifest) -> list[str]:
    cluster, snapshot, kubernetes = manifest.cluster, manifest.snapshot, manifest.kubernetes
    lines = [
        f"RESTORE {plain(cluster.name)}, from the archive's entry {manifest.id}",
        "",
        "This text was made with the entry, and manifest.json, which is signed, holds its sha256.",
        "It needs bash, coreutils, grep, find, tar, zstd, age, ssh-keygen and etcd's own tools: nothing",
        "of the collection controlplane.etcd that made the entry.",
        "",
        f"cluster        {plain(cluster.name)} (etcd instance {plain(cluster.instance)})",
        f"started        {manifest.created_at} by the clock of the machine that ran the backup",
        f"etcd           {plain(manifest.etcd.server_version)}, cluster ID {cluster.cluster_id}",
        f"Kubernetes     {plain(kubernetes.version or 'unknown')}, {kubernetes.object_count} objects, "
        f"kube-system UID {plain(cluster.identity.kube_system_uid or 'unknown')}",
        f"snapshot       revision {snapshot.revision}, {snapshot.key_count} keys, "
        f"{snapshot.db_size_bytes} bytes, from member {plain(snapshot.source_member.name)}",
        f"sealed         {'yes' if manifest.sealed else 'NO: whoever reads this folder has it'}",
    ]
    if manifest.mode != "regular":
        lines.append("mode           EMERGENCY: one member's state, taken without quorum")
    for member in cluster.members:
        where = f"host {plain(member.host)}" if member.host else "no host in the inventory"
        learner = ", a learner" if member.is_learner else ""
        lines.append(
            f"member         {plain(member.name) or '(never started)'} ({member.id}{learner}), "
            f"{where}, {plain(','.join(member.peer_urls))}"
        )
    for host in cluster.missing_hosts:
        lines.append(f"MISSING        host {plain(host)} could not be reached: its kit is not here")
    return [*lines, ""]


def _variables(manifest: Manifest, members: list[Member]) -> list[str]:
    version = manifest.etcd.server_version
    tool = restoring_tool(version)
    archived = _archived_tool(manifest)
    parts = sorted({file.part for file in manifest.files if file.encryption.scheme != "none"})
    lines = [
        "==== [variables] Set what differs here; a variable that is set already is kept",
        "# Run everything in one bash, as root, standing in this entry's folder.",
        "$ set -eu -o pipefail; umask 077",
        "$ ENTRY=${ENTRY:-$PWD}",
        "# Clear text goes here: never to a shared folder or a tmpfs; remove it afterwards.",
        default("OUT", f"/var/tmp/restore-{manifest.id}"),
        f"# {tool} as the cluster ran it ({plain(version)}); never one of an older minor.",
    ]
    if archived:
        lines.append(f"$ TOOL=${{TOOL:-$ENTRY/{archived[0]}}}")
    else:
        lines.append(f"$ TOOL=${{TOOL:-{tool}}}")
    if parts:
        lines += [
            "# The private halves of the keys that the files are sealed to: age identity files, or",
            "# ssh private keys. manifest.json lists the public keys, per file.",
            "$ IDENTITY=${IDENTITY:-$HOME/identity}",
        ]
        lines += [
            f"$ IDENTITY_{part.upper()}=${{IDENTITY_{part.upper()}:-$IDENTITY}}" for part in parts
        ]
    return [*lines, *host_variables(members)]


def _archived_tool(manifest: Manifest) -> tuple[str, str] | None:
    """Return where the restoring tool lies below $ENTRY, for a shell, and its sha256."""
    tool = restoring_tool(manifest.etcd.server_version)
    up = "../../.." if manifest.cluster.instance != MAIN else "../.."
    for item in manifest.tools:
        if item.name == tool:
            return f"{up}/{quoted(item.path)}", item.sha256
    return None


def _check(manifest: Manifest, signer: str) -> list[str]:
    lines = [
        "==== [check] Is it what was archived? Anyone can encrypt to a public key: look first",
        "# SIGNER: a file with the public key that signs your backups, from YOUR records. Not from",
        "# here: whoever forges an entry writes his own key into it. The one that signed this was",
        f"#   {plain(signer)}",
        '$ mkdir -p "$OUT"',
        '$ echo "controlplane.etcd $(cut -d\' \' -f1,2 "$SIGNER")" > "$OUT/allowed_signers"',
        '$ ssh-keygen -Y verify -f "$OUT/allowed_signers" -I controlplane.etcd \\',
        '$   -n controlplane.etcd -s "$ENTRY/manifest.json.sig" < "$ENTRY/manifest.json"',
        "# The signed manifest names this entry and this text:",
        f'$ grep -q \'"id": "{manifest.id}"\' "$ENTRY/manifest.json"',
        '$ grep -q "$(sha256sum < "$ENTRY/RESTORE.txt" | cut -c1-64)" "$ENTRY/manifest.json"',
    ]
    return [*lines, "# and this text the files: the sums are in the next section.", ""]


def _open(manifest: Manifest) -> list[str]:
    lines = [
        "==== [open] Open it",
        '$ mkdir -p "$OUT"; cd "$ENTRY"',
        "# Each file is as it was archived:",
    ]
    for file in manifest.files:
        lines.append(f"$ echo {quoted(f'{file.sha256}  {file.name}')} | sha256sum -c -")
    archived = _archived_tool(manifest)
    if archived:
        where, sha256 = archived
        lines += [
            "# So is the tool, which lies beside the entries; one that you named is your own affair:",
            f'$ test ! "$TOOL" -ef "$ENTRY"/{where} || echo "{sha256}  $TOOL" | sha256sum -c -',
        ]
    for file in manifest.files:
        base = file.name.replace(".zst.age", "").replace(".zst", "")
        if base == "data.db":
            lines += [
                "# The etcd snapshot, exactly as etcd sent it: the image, then the 32 bytes of its",
                f"# sha256, which {restoring_tool(manifest.etcd.server_version)} compares when it restores.",
                f'$ {_clear(file)} > "$OUT/snapshot.db"',
                f'$ test "$(head -c {manifest.snapshot.db_size_bytes} "$OUT/snapshot.db" | '
                f'sha256sum | cut -c1-64)" = {manifest.snapshot.sha256}',
                '$ "$TOOL" snapshot status "$OUT/snapshot.db" -w table',
            ]
        elif base.endswith(".tar"):
            folder = quoted(base[: -len(".tar")])
            what = "Encryption at rest" if file.part == "encryption" else "A host's own files"
            lines += [
                f"# {what}; paths inside are those of the host, without the leading slash:",
                f'$ mkdir -p "$OUT"/{folder}',
                f'$ {_clear(file)} | tar -x -p --numeric-owner -f - -C "$OUT"/{folder}',
            ]
        else:
            lines.append(f'$ {_clear(file)} > "$OUT"/{quoted(base.replace("/", "-"))}')
    return [*lines, ""]


def _clear(file: File) -> str:
    name = quoted(file.name)
    if file.encryption.scheme == "none":
        return f"zstd -d -c {name}" if file.compression == "zstd" else f"cat {name}"
    return f'age -d -i "$IDENTITY_{file.part.upper()}" {name} | zstd -d -c'


def _kinds(manifest: Manifest) -> set[str]:
    return {member.layout.kind for member in manifest.cluster.members if member.layout}


def _stop(manifest: Manifest) -> list[str]:
    lines = [
        "==== [stop] Stop ALL API servers on ALL hosts, then ALL etcds",
        "# One API server or one old member left running mixes two histories.",
    ]
    kinds = _kinds(manifest)
    if "kubeadm" in kinds or not kinds:
        lines += [
            "# kubeadm, on every control-plane host; first this on all of them:",
            "#   mkdir -p /etc/kubernetes/parked",
            "#   mv /etc/kubernetes/manifests/kube-apiserver.yaml /etc/kubernetes/parked/",
            "#   until ! pgrep -x kube-apiserver; do sleep 1; done",
            "# then this on all of them:",
            "#   mv /etc/kubernetes/manifests/etcd.yaml /etc/kubernetes/parked/",
            "#   until ! pgrep -x etcd; do sleep 1; done",
        ]
    if "systemd" in kinds:
        lines += [
            "# etcd as a service: park kube-apiserver.yaml as kubeadm has it (see above), or stop its",
            "# unit, on all hosts; then on all of them: systemctl stop etcd",
        ]
    for name in sorted(kinds & {"k3s", "rke2"}):
        unit = "rke2-server" if name == "rke2" else "k3s"
        lines += [
            f"# {name}: systemctl stop {unit} on all servers, then on ONE of them, in place of [restore]:",
            f"#   {name} server --cluster-reset --cluster-reset-restore-path=SNAPSHOT.db",
            "# start it; on the others remove the folder server/db and start them: they join.",
        ]
    return [*lines, ""]


def _restore(manifest: Manifest, number: int, member: Member) -> list[str]:
    version = manifest.etcd.server_version
    aside = f"before-{manifest.id}"
    data, new = f'"$DATA_DIR_{number}"', f'"$DATA_DIR_{number}/restored-{manifest.id}"'
    command = 'ETCDCTL_API=3 "$TOOL"' if restoring_tool(version) == "etcdctl" else '"$TOOL"'
    lines = [
        f"==== [restore {number}] On host {plain(member.host or 'unknown')}: member {plain(member.name)}",
        "# As root in bash there, with what [send] brought; the SAME snapshot and TOKEN on every host.",
        "# What is there is set aside. Works where the data folder is a mount point, too (mount it",
        "# first): only what is inside it moves.",
        f"$ set -eu; umask 077; OUT=${{OUT:-/var/tmp/restore-{manifest.id}}}",
        '$ if test -e "$OUT/variables.sh"; then . "$OUT/variables.sh"; fi',
        f"$ TOOL=${{TOOL:-$OUT/{restoring_tool(version)}}}",
        '$ : "${TOKEN:?set it to a word never used before, the same on every host}"',
        f"$ mkdir -p {data}; chmod 700 {data}",
        f"$ if test -e {data}/member; then mv {data}/member {data}/member.{aside}; fi",
        f'$ {command} snapshot restore "$OUT/snapshot.db" --data-dir {new} \\',
        f'$   --name "$NAME_{number}" --initial-advertise-peer-urls "$PEER_{number}" \\',
        '$   --initial-cluster "$INITIAL_CLUSTER" --initial-cluster-token "$TOKEN"',
    ]
    if can_bump(version):
        lines[-1] += " \\"
        lines.append(f"$   --bump-revision {_BUMP} --mark-compacted")
    else:
        lines += [
            f"# etcd {plain(version)} cannot raise the revision: restart every controller, operator and",
            "# node agent that watches the API, or it goes on with what it remembers.",
        ]
    lines += [
        f"$ mv {new}/member {data}/member; rmdir {new}",
        f"$ chown -R --reference={data} {data}/member",
    ]
    wal = member.layout and member.layout.wal_dir
    if wal:
        lines += [
            "# This member kept its write-ahead log in a folder of its own:",
            default(f"WAL_DIR_{number}", wal),
            f'$ mkdir -p "$WAL_DIR_{number}/{aside}"',
            f'$ find "$WAL_DIR_{number}" -maxdepth 1 -type f -exec mv -t "$WAL_DIR_{number}/{aside}" {{}} +',
            f'$ mv {data}/member/wal/* "$WAL_DIR_{number}"/; rmdir {data}/member/wal',
            f'$ chown -R --reference={data} "$WAL_DIR_{number}"',
        ]
    return [*lines, ""]


def _start(manifest: Manifest) -> list[str]:
    lines = [
        "==== [start] Start etcd on all hosts, then the API servers, then refresh the rest",
        "# kubeadm, on all hosts: mv /etc/kubernetes/parked/etcd.yaml /etc/kubernetes/manifests/",
        "# (a service: systemctl start etcd), and systemctl start kubelet where it was stopped. Ask each",
        "# member by its own address, with its certificates. etcdctl is in etcd's container, so on the",
        "# host under /proc/$(pgrep -xo etcd)/root/usr/local/bin:",
        "#   etcdctl --endpoints https://ADDRESS:2379 --cacert /etc/kubernetes/pki/etcd/ca.crt \\",
        "#     --cert /etc/kubernetes/pki/etcd/server.crt --key /etc/kubernetes/pki/etcd/server.key \\",
        "#     endpoint status -w table",
        "# All members there, one leader, the same revision? Only then, on all hosts:",
        "#   mv /etc/kubernetes/parked/kube-apiserver.yaml /etc/kubernetes/manifests/",
        "# and once kubectl get --raw /readyz answers ok: restart kube-controller-manager and",
        "# kube-scheduler (move their manifests out, wait 20 s, and back), and kubelets on all nodes",
        "# (systemctl restart kubelet): they remember a future that did not happen.",
    ]
    if manifest.snapshot.auth_enabled:
        lines.append(
            "# etcd's own authentication is on in this snapshot: etcdctl --user root:PASSWORD, from YOUR records."
        )
    if manifest.etcd.alarms:
        alarms = plain(", ".join(manifest.etcd.alarms))
        lines += [
            f"# The snapshot carries alarms ({alarms}); a restore keeps them. After making room",
            "# (etcdctl defrag): etcdctl alarm disarm",
        ]
    return [
        *lines,
        "# Pods and volumes made after the backup are unknown to it now: kubelets stop such pods, and",
        "# volumes stay behind. Compare before you delete anything.",
        f"# Remove $OUT, which is clear text, and member.before-{manifest.id} when all is well.",
        "",
    ]


def _otherwise(manifest: Manifest) -> list[str]:
    return [
        "==== [otherwise] When the hosts are not what they were",
        "# Other addresses: set each ADDRESS_n before [variables] and run [addresses]. --initial-cluster in",
        "# etcd.yaml may name old members: etcd doesn't look at it once there is data. To have kubeadm",
        "# issue certificates instead: keep the CAs (pki/ca.*, pki/etcd/ca.*, pki/front-proxy-ca.*) and",
        "# sa.*, remove the others under pki, and: kubeadm init phase certs all --config FILE",
        "# with a FILE of two documents. Its values are in the kit; apiserver.crt there has the names",
        "# (openssl x509 -noout -ext subjectAltName) that certSANs needs beyond these:",
        "#   kind InitConfiguration: localAPIEndpoint.advertiseAddress, nodeRegistration.name (old name)",
        "#   kind ClusterConfiguration: controlPlaneEndpoint (server: in admin.conf), clusterName and",
        "#   networking.podSubnet (kube-controller-manager.yaml), networking.serviceSubnet",
        "#   (--service-cluster-ip-range in kube-apiserver.yaml), networking.dnsDomain (clusterDomain in",
        "#   /var/lib/kubelet/config.yaml), certificatesDir",
        "# A host is missing: leave its number out of MEMBERS and restore the members that are there. Later",
        "# add the others to the running cluster: kubeadm join --control-plane, or etcdctl member add",
        "# --learner NAME --peer-urls URL, an EMPTY data folder, --initial-cluster-state existing. Its node",
        "# object is in the data and stays NotReady until it joins or kubectl delete node.",
        "# No quorum is needed to restore: each member named in INITIAL_CLUSTER gets its own copy.",
        "# Less than half of the members at hand? Restore to these alone; a cluster of one works.",
        "# Owners: on most hosts root owns /var/lib/etcd, with services often user etcd: chown as it was.",
        f"# The sha256 of the etcd image without its trailer is {manifest.snapshot.sha256}.",
        "",
    ]
