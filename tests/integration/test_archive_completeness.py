# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an entry of a real cluster brings back: its kits file by file, its lacks, who opens it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import re
import shutil
import stat
import subprocess
import typing as t
from pathlib import Path

import pyrage
import pytest

from lab import binaries
from lab.archived import Keys, ask, asked
from lab.loopback import Cluster

SECTION = re.compile(r"^==== \[([^\]]+)\]")
PROGRAMS = ("age", "zstd", "tar", "sha256sum", "mkdir", "head", "cut")
# Nothing of the control plane: etcd's data, the logs, and folders that every host has.
ENCRYPTION = "etc/kubernetes/enc"
NO_KIT = re.compile(r"^(var/lib/etcd(/|$)|[^/]*\.log$|etc$|var$|var/lib$)")


@dataclasses.dataclass(frozen=True)
class Made:
    """A cluster that is gone, its hosts' trees and its archive."""

    cluster: Cluster
    archive: Path
    keys: Keys
    escrow: Path
    entry: dict[str, t.Any]
    poorer: dict[str, t.Any]
    damaged: dict[str, t.Any]

    def info(self, **options: t.Any) -> dict[str, t.Any]:
        return asked(
            "etcd_archive_info",
            archive=str(self.archive),
            etcd_cluster="alpha",
            allowed_signers=[f"{self.keys.signing_key}.pub"],
            **options,
        )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Made]:
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: no kit can be opened without us")
    folder = tmp_path_factory.mktemp("made")
    keys = Keys.make(folder)
    escrow = folder / "escrow"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(escrow)], check=True)
    recipients = [keys.recipient, Path(f"{escrow}.pub").read_text().strip()]
    with Cluster("alpha", size=3, root=folder / "hosts") as alpha:
        _make_odd(alpha)
        alpha.etcdctl("put", "/registry/secrets/default/s", "k8s:enc:aescbc:v1:key1:xxxxxxxx")
        alpha.etcdctl("put", "/registry/configmaps/default/c", "k8s:enc:secretbox:v1:key2:xxxxx")
        damaged = _back_up_damaged(alpha, keys, folder, recipients)
        added = [
            _back_up(alpha, keys, folder, recipients, exclude=exclude)["entry"]
            for exclude in (["*/pki/sa.key"], [])
        ]
    yield Made(alpha, folder / "archive", keys, escrow, added[1], added[0], damaged)


def _make_odd(alpha: Cluster) -> None:
    """Give files owners, modes and links of their own, as hosts have them."""
    root = alpha.root / "alpha-cp2"
    pki = root / "etc/kubernetes/pki"
    (pki / "etcd").chmod(0o751)
    (pki / "sa.pub").chmod(0o640)
    os.chown(pki / "sa.pub", 1234, 2345)
    os.chown(pki / "etcd", 1234, 2345)
    (pki / "old").mkdir(mode=0o710)
    (pki / "old" / "ca.crt").symlink_to("../ca.crt")
    (pki / "a name with ' and ünlike").write_bytes(bytes(range(256)))
    os.utime(pki / "sa.key", (1_700_000_000, 1_700_000_000))


def _back_up_damaged(
    alpha: Cluster, keys: Keys, folder: Path, recipients: list[str]
) -> dict[str, t.Any]:
    """Add an entry while every host has four files that bring nothing back; mend them again."""
    kept: dict[Path, tuple[bytes, os.stat_result]] = {}
    for host in alpha.members:
        etc = alpha.root / host / "etc/kubernetes"
        pki, encryption = etc / "pki", etc / "enc/encryption-config.yaml"
        for path, data in (
            (pki / "sa.key", b""),
            (pki / "ca.crt", (pki / "etcd/ca.crt").read_bytes()),
            (pki / "front-proxy-ca.key", (pki / "front-proxy-ca.key").read_bytes()[:100]),
            (encryption, encryption.read_bytes().replace(b'"secret": "', b'"secret": "!')),
        ):
            kept[path] = (path.read_bytes(), path.stat())
            path.write_bytes(data)
    try:
        return t.cast(
            "dict[str, t.Any]",
            _back_up(alpha, keys, folder, recipients, exclude=[])["entry"],
        )
    finally:
        for path, (data, facts) in kept.items():
            path.write_bytes(data)
            os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _back_up(
    alpha: Cluster, keys: Keys, folder: Path, recipients: list[str], *, exclude: list[str]
) -> dict[str, t.Any]:
    """Add an entry with the real kit of every host."""
    options = {
        "archive": str(folder / "archive"),
        "etcd_cluster": "alpha",
        "signing_key": str(keys.signing_key),
    }
    started = asked("etcd_archive_add", state="started", **options)
    hosts, kits = [], []
    files: dict[str, str] = {}
    for name, member in alpha.members.items():
        where = {
            "certificates_dir": str(member.certificates_dir),
            "static_pod_path": str(member.static_pod_path),
            "data_dir": str(member.data_dir),
        }
        staging = folder / started["id"] / name
        staging.mkdir(parents=True, mode=0o700)
        info = asked("etcd_info", **where)
        hosts.append({"host": name, "info": info})
        kit = ask(
            "etcd_kit",
            name=name,
            dest_dir=str(staging),
            recipients=recipients,
            exclude=exclude,
            **where,
        )
        assert not kit.get("failed"), kit
        # A playbook has them as texts; a module hands them over as objects of ansible-core's own.
        kit["warnings"] = [str(each) for each in kit.get("warnings", ())]
        kits.append({"host": name, "member_id": info["local_member"]["id"], "result": kit})
        files.update({file["name"]: file["path"] for file in kit["files"]})
        if "snapshot" not in started:
            started["snapshot"] = asked(
                "etcd_snapshot",
                dest_dir=str(staging),
                recipients=recipients,
                spool_dir=str(staging),
                **where,
            )
    snapshot = started["snapshot"]
    files.update({file["name"]: file["path"] for file in snapshot["files"]})
    for name, path in files.items():
        target = Path(started["path"], name)
        target.parent.mkdir(exist_ok=True)
        shutil.move(path, target)
    tools = binaries.get(alpha.version)
    return asked(
        "etcd_archive_add",
        id=started["id"],
        snapshot=snapshot,
        info=hosts[0]["info"],
        hosts=hosts,
        kits=kits,
        tools=[
            {"name": path.name, "version": alpha.version, "path": str(path)}
            for path in (tools.etcd, tools.snapshot_tool)
        ],
        **options,
    )


def _opened(made: Made, out: Path, identity: Path) -> None:
    """Run the commands of RESTORE.txt that open the entry, in a bash that finds nothing of ours."""
    entry = made.archive / "alpha" / made.entry["id"]
    lines, within = [], ""
    for line in (entry / "RESTORE.txt").read_text().splitlines():
        found = SECTION.match(line)
        within = found[1] if found else within
        if not found and within in ("variables", "open") and line.startswith("$ "):
            lines.append(line[2:])
    programs = out.parent / "programs"
    programs.mkdir()
    for name in PROGRAMS:
        (programs / name).symlink_to(str(shutil.which(name)))
    done = subprocess.run(
        ["/bin/bash", "-c", "\n".join(lines)],
        cwd=entry,
        env={"PATH": str(programs), "HOME": "/nowhere", "OUT": str(out), "IDENTITY": str(identity)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _facts(root: Path) -> dict[str, tuple[t.Any, ...]]:
    """Return what there is of files, folders and links: owner, mode, time, content."""
    found: dict[str, tuple[t.Any, ...]] = {}
    for path in sorted(root.rglob("*")):
        name, facts = str(path.relative_to(root)), path.lstat()
        owner = (facts.st_uid, facts.st_gid)
        if stat.S_ISLNK(facts.st_mode):
            found[name] = ("link", *owner, os.readlink(path))
        elif stat.S_ISDIR(facts.st_mode):
            found[name] = ("folder", *owner, stat.S_IMODE(facts.st_mode))
        else:
            mode, when = stat.S_IMODE(facts.st_mode), int(facts.st_mtime)
            found[name] = ("file", *owner, mode, when, path.read_bytes())
    return found


@pytest.mark.parametrize("key", ["age", "ssh"])
def test_kit_put_back_in_an_empty_folder_equals_the_original(
    made: Made, tmp_path: Path, key: str
) -> None:
    out = tmp_path / "out"
    _opened(made, out, made.keys.identity if key == "age" else made.escrow)
    for host in made.cluster.members:
        root = made.cluster.root / host
        back = tmp_path / "back" / host
        back.mkdir(parents=True)
        for part in (out / "pki" / host, out / "encryption"):
            inside = part / str(root).lstrip("/")
            if part.name == "encryption" and not inside.exists():
                # Each host has the same one, under its own path; one host's is archived.
                continue
            subprocess.run(["cp", "-a", f"{inside}/.", str(back)], check=True)
        there = {name: each for name, each in _facts(root).items() if not NO_KIT.match(name)}
        here = {name: each for name, each in _facts(back).items() if not NO_KIT.match(name)}
        if host != _giver(made):
            there = {n: each for n, each in there.items() if not n.startswith(ENCRYPTION)}
        assert here == there
        assert {"etc/kubernetes/pki/sa.key", "var/lib/kubelet/config.yaml"} <= set(here)


def _giver(made: Made) -> str:
    # All three gave one of the same name; the last one moved is the one that stays.
    return list(made.cluster.members)[-1]


def test_entry_of_whole_kits_is_complete(made: Made) -> None:
    [entry] = made.info(latest=True)["entries"]
    assert entry["id"] == made.entry["id"]
    assert entry["completeness"] == "complete"
    assert [lack["code"] for lack in entry["lacks"]] == ["no_wheelhouse"]
    manifest = json.loads(
        (made.archive / "alpha" / entry["id"] / "manifest.json").read_text(encoding="utf-8")
    )
    assert manifest["kubernetes"]["encrypted"] == {"aescbc/key1": 1, "secretbox/key2": 1}
    keys = {"providers": ["aescbc", "secretbox", "identity"]}
    keys["key_names"] = ["aescbc/key1", "secretbox/key2"]
    assert [kit["encryption"] for kit in manifest["kit"]] == [keys] * 3
    assert [kit["layout"] for kit in manifest["kit"]] == ["kubeadm"] * 3


def test_entry_without_sa_key_is_data_only(made: Made) -> None:
    entry = made.info()["entries"][1]
    assert entry["id"] == made.poorer["id"]
    assert entry["completeness"] == "data_only"
    worst = entry["lacks"][0]
    assert (worst["code"], worst["part"], worst["severity"]) == ("no_sa_key", "sa.key", "critical")
    assert "tokens are void" in worst["meaning"]


def test_entry_of_damaged_files_is_data_only(made: Made) -> None:
    entry = made.info()["entries"][2]
    assert entry["id"] == made.damaged["id"]
    assert entry["completeness"] == "data_only"
    told = {lack["part"]: lack for lack in entry["lacks"]}
    codes = {part: (lack["code"], lack["severity"]) for part, lack in told.items()}
    assert codes == {
        "sa.key": ("no_sa_key", "critical"),
        "ca.crt": ("no_ca", "critical"),
        "encryption-config": ("no_encryption_config", "critical"),
        "front-proxy-ca.key": ("no_ca_key", "warning"),
        "wheelhouse": ("no_wheelhouse", "info"),
    }
    folder = made.archive / "alpha" / entry["id"]
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    names = ["ca.crt", "encryption-config", "front-proxy-ca.key", "sa.key"]
    for kit in manifest["kit"]:
        assert kit["damaged"] == names
        assert set(names) <= set(kit["present"]), "taken as they are"
        assert kit["encryption"]["key_names"] == []
    for name in names:
        assert any(f"{name} (" in text and "DAMAGED" in text for text in entry["warnings"])
        assert "damaged" in told[name]["meaning"]


def test_forecast_agrees_with_openssl(made: Made) -> None:
    told = made.info(latest=True, at="400d")["latest"]["certificates"]
    root = made.cluster.root
    ends = {
        (path.relative_to(root).parts[0], path.name): _end(path)
        for path in root.glob("*/etc/kubernetes/pki/**/*.crt")
        if path.parent.name != "old"
    }
    first = told["restorable_until_of"]
    soonest = min(end for (_host, name), end in ends.items() if not name.endswith("ca.crt"))
    assert dt.datetime.fromisoformat(told["restorable_until"]) <= soonest
    leaves = [name for name in ends if not name[1].endswith("ca.crt")]
    assert told["expired_count"] >= len(leaves) > 0
    assert first["host"] in made.cluster.members
    assert dt.datetime.fromisoformat(told["ca_ends_at"]) == min(
        end for (_host, name), end in ends.items() if name.endswith("ca.crt")
    )
    today = made.info(latest=True)["latest"]["certificates"]
    assert (today["expired_count"], today["expired"]) == (0, [])
    assert today["restorable_until"] == told["restorable_until"]


def _end(path: Path) -> dt.datetime:
    done = subprocess.run(
        ["openssl", "x509", "-noout", "-enddate", "-dateopt", "iso_8601", "-in", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    return dt.datetime.fromisoformat(done.stdout.strip().partition("=")[2])


def test_escrow_opens_with_each_key(made: Made, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    stranger.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    paths = [str(made.keys.identity), str(made.escrow), str(stranger)]
    found = made.info(latest=True, identities=paths)
    assert {(row["part"], row["state"], row["by"]) for row in found["escrow"]} == {
        (part, "opens", path) for part in ("data", "encryption", "pki") for path in paths[:2]
    }
    assert {row["entry"] for row in found["escrow"]} == {made.entry["id"]}
    sizes = {row["part"]: row["clear_bytes"] for row in found["escrow"]}
    image = found["latest"]["db_size_bytes"] + 32
    assert sizes["data"] > image
    [only] = {row["by"] for row in made.info(latest=True, identities=paths[:1])["escrow"]} - {None}
    assert only == paths[0]
