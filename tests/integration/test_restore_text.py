# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An entry that the real playbook made is opened and brought back by its RESTORE.txt, word by word.

Only the programs that the text names can be found; etcd and the tool that restores come out of the
archive, the certificates that the restored members speak with out of the entry's own kits.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pyrage
import pytest
import yaml

from lab import binaries, objects, versions
from lab.loopback import Cluster
from lab.member import free_port

VENV = Path(__file__).resolve().parents[2] / ".venv"
COLLECTIONS = os.environ.get("ANSIBLE_COLLECTIONS_PATH", str(VENV / "collections"))
SECTION = re.compile(r"^==== \[([^\]]+)\]")
# What the text's head names, with GNU coreutils spelled out.
PROGRAMS = ("age", "zstd", "tar", "grep", "find", "ssh-keygen", "bash")
COREUTILS = (
    *("basename", "cat", "chmod", "chown", "cp", "cut", "date", "dirname", "du", "echo", "head"),
    *("id", "ls", "mkdir", "mv", "printf", "pwd", "rm", "rmdir", "sha256sum", "sort", "tail"),
    *("test", "tr", "true", "uniq", "wc"),
)
# Debian's etcd, which restores by etcdctl and can't bump; and today's.
VERSIONS = (versions.ETCD_DEBIAN, versions.ETCD_DEFAULT)
Answer = dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Made:
    """An entry, the keys to it, and what its cluster held."""

    version: str
    entry: Path
    identity: Path
    signer: Path
    kvs: list[Answer]
    revision: int
    cluster_id: int
    hash_kv: int

    @property
    def manifest(self) -> Answer:
        return dict(json.loads((self.entry / "manifest.json").read_text()))

    @property
    def text(self) -> str:
        return (self.entry / "RESTORE.txt").read_text()

    @property
    def archived_etcd(self) -> Path:
        """The server's binary as the archive keeps it."""
        [path] = [tool["path"] for tool in self.manifest["tools"] if tool["name"] == "etcd"]
        return self.entry.parents[1] / path


@pytest.fixture(scope="module", params=VERSIONS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Back a real cluster up by the playbook, then lose it."""
    version: str = request.param
    folder = tmp_path_factory.mktemp("controller")
    identities = [pyrage.x25519.Identity.generate() for _turn in range(2)]
    (folder / "identity").write_text(f"{identities[0]}\n")
    key = folder / "signing_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    with Cluster("alpha", size=3, version=version) as alpha:
        objects.fill(alpha, name=version)
        held = alpha.etcdctl("get", "", "--from-key")
        revision = held["header"]["revision"]
        [hashed] = alpha.etcdctl(
            *("endpoint", "hashkv", "--rev", str(revision)), endpoints=alpha.endpoints[:1]
        )
        _back_up(alpha, folder, [str(each.to_public()) for each in identities], key)
        alpha.etcdctl("put", "after-the-backup", "lost")
    [entry] = (folder / "archive" / "alpha").glob("2*")
    return Made(
        version=version,
        entry=entry,
        identity=folder / "identity",
        signer=key.with_suffix(".pub"),
        kvs=held["kvs"],
        revision=revision,
        cluster_id=held["header"]["cluster_id"],
        hash_kv=hashed["HashKV"]["hash"],
    )


def _back_up(cluster: Cluster, folder: Path, recipients: list[str], key: Path) -> None:
    (folder / "spool").mkdir()
    inventory = cluster.inventory(
        ansible_become=False,
        etcd_archive=str(folder / "archive"),
        etcd_recipients=recipients,
        etcd_signing_key=str(key),
        etcd_backup_install_runtime=False,
        etcd_backup_include_wheelhouse=False,
        etcd_backup_staging_dir=str(folder / "spool"),
        etcd_backup_spool_dir=str(folder / "spool"),
    )
    (folder / "inventory.yml").write_text(yaml.safe_dump(inventory))
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "ETCDCTL_"))}
    own = {
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_COLLECTIONS_PATH": COLLECTIONS,
        "ANSIBLE_NOCOLOR": "1",
        "PATH": f"{binaries.get(cluster.version).directory}:{kept['PATH']}",
    }
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "controlplane.etcd.backup"]
        + ["-i", str(folder / "inventory.yml")],
        cwd=folder,
        env={**kept, **own},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with the programs that the text names, for a PATH of nothing else."""
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: RESTORE.txt cannot be followed here")
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in (*PROGRAMS, *COREUTILS):
        (folder / name).symlink_to(str(shutil.which(name)))
    return folder


def lines_of(text: str, sections: t.Sequence[str]) -> list[str]:
    """Return the lines that are to be run, as they stand, in the order of the text."""
    lines: dict[str, list[str]] = {name: [] for name in sections}
    within = ""
    for line in text.splitlines():
        found = SECTION.match(line)
        if found:
            within = found[1]
        elif within in lines and line.startswith("$ "):
            lines[within].append(line[2:])
    assert all(lines.values()), {name: len(found) for name, found in lines.items()}
    return [line for found in lines.values() for line in found]


def follow(made: Made, programs: Path, sections: t.Sequence[str], **variables: str) -> str:
    """Run sections of RESTORE.txt in one bash, standing in the entry's folder."""
    done = subprocess.run(
        ["/bin/bash", "-c", "\n".join(lines_of(made.text, sections))],
        cwd=made.entry,
        env={
            "PATH": str(programs),
            "HOME": "/nowhere",
            "IDENTITY": str(made.identity),
            "SIGNER": str(made.signer),
            **variables,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@dataclasses.dataclass(frozen=True)
class Restored:
    """Members of a restored cluster: their ports, data folders and certificates."""

    made: Made
    out: Path
    folder: Path
    names: tuple[str, ...]
    peers: tuple[str, ...]
    clients: tuple[str, ...]

    @classmethod
    def planned(cls, made: Made, folder: Path, count: int) -> Restored:
        taken: set[int] = set()
        urls = [f"https://127.0.0.1:{free_port(taken)}" for _turn in range(2 * count)]
        names = tuple(f"alpha-cp{number + 1}" for number in range(count))
        out = folder / "out"
        return cls(made, out, folder, names, tuple(urls[:count]), tuple(urls[count:]))

    @property
    def variables(self) -> dict[str, str]:
        """What a person sets: other ports, other folders."""
        found = {"OUT": str(self.out), "TOKEN": f"restored-{self.folder.name}"}
        for number, peer in enumerate(self.peers, start=1):
            found[f"PEER_{number}"] = peer
            found[f"DATA_DIR_{number}"] = str(self.folder / f"data{number}")
        return found

    def pki(self, name: str) -> Path:
        """The host's PKI, out of the kit that was opened."""
        [server] = (self.out / "pki" / name).rglob("pki/etcd/server.key")
        return server.parent

    @contextlib.contextmanager
    def running(self) -> t.Iterator[None]:
        """Start the members with the archive's own etcd."""
        started = []
        try:
            for number, name in enumerate(self.names, start=1):
                pki, peer, client = self.pki(name), self.peers[number - 1], self.clients[number - 1]
                tls = {"trusted-ca-file": "ca.crt", "cert-file": "server.crt"}
                tls |= {"key-file": "server.key", "peer-trusted-ca-file": "ca.crt"}
                tls |= {"peer-cert-file": "peer.crt", "peer-key-file": "peer.key"}
                argv = [self.made.archived_etcd, "--name", name, "--client-cert-auth"]
                argv += ["--data-dir", self.folder / f"data{number}", "--peer-client-cert-auth"]
                argv += ["--listen-client-urls", client, "--advertise-client-urls", client]
                argv += ["--listen-peer-urls", peer]
                argv += [f"--{flag}={pki / file}" for flag, file in tls.items()]
                log = (self.folder / f"{name}.log").open("wb")
                started.append(subprocess.Popen(argv, stdout=log, stderr=log))
            yield
        finally:
            for process in started:
                process.kill()
                process.wait()

    def ask(self, *words: str, wait: bool = False, client: str = "") -> t.Any:
        """Ask by etcdctl; `wait` until there is an answer."""
        pki = self.pki(self.names[0])
        env = {key: value for key, value in os.environ.items() if not key.startswith("ETCD")}
        env |= {"ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": client or ",".join(self.clients)}
        env |= {"ETCDCTL_CACERT": str(pki / "ca.crt"), "ETCDCTL_KEY": str(pki / "server.key")}
        env["ETCDCTL_CERT"] = str(pki / "server.crt")
        argv = [str(binaries.get(self.made.version).etcdctl), *words, "-w", "json"]
        end = time.monotonic() + (90 if wait else 0)
        while True:
            done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return json.loads(done.stdout.splitlines()[-1])
            logs = "".join(path.read_text()[-1500:] for path in self.folder.glob("*.log"))
            assert time.monotonic() < end, done.stderr + logs
            time.sleep(0.5)


def assert_brought_back(restored: Restored) -> None:
    """Assert that each member holds, key by key, what the cluster held at the backup."""
    made = restored.made
    bumped = "--bump-revision" in made.text
    assert bumped == (made.version != versions.ETCD_DEBIAN)
    hashes = set()
    got = restored.ask("get", "", "--from-key", wait=True)
    assert got["header"]["cluster_id"] != made.cluster_id
    assert got["header"]["revision"] - made.revision == (1_000_000_000 if bumped else 0)
    for client in restored.clients:
        got = restored.ask("get", "", "--from-key", client=client)
        # Values, leases, and the revisions of their creation and last change.
        assert got["kvs"] == made.kvs
        [hashed] = restored.ask("endpoint", "hashkv", client=client)
        hashes.add(hashed["HashKV"]["hash"])
    assert len(hashes) == 1
    if not bumped:  # the same revisions, and so the same hash as before
        assert hashes == {made.hash_kv}
    members = restored.ask("member", "list")["members"]
    assert sorted(member["name"] for member in members) == list(restored.names)
    # It goes on: a write is taken, at a revision above all that were.
    put = restored.ask("put", "new", "life")
    assert put["header"]["revision"] == got["header"]["revision"] + 1


def test_three_members_come_back_elsewhere(made: Made, programs: Path, tmp_path: Path) -> None:
    restored = Restored.planned(made, tmp_path, 3)
    before = {path: path.read_bytes() for path in made.entry.rglob("*") if path.is_file()}
    sections = ["variables", "check", "open", "restore 1", "restore 2", "restore 3"]
    said = follow(made, programs, sections, **restored.variables)
    assert 'Good "controlplane.etcd" signature' in said
    # All but RESTORE.txt itself, which the signed manifest names.
    # All files but RESTORE.txt itself, and the tool.
    assert said.count(": OK") == len(made.manifest["files"]) - 1 + 1 >= 7
    assert before == {path: path.read_bytes() for path in made.entry.rglob("*") if path.is_file()}
    for folder in (restored.out, *(tmp_path / f"data{number}" for number in (1, 2, 3))):
        assert not folder.stat().st_mode & 0o077, folder
    # What etcd does not hold came out, too.
    for name in restored.names:
        assert (restored.pki(name).parent / "sa.key").read_text().startswith("-----BEGIN")
    [encryption] = (restored.out / "encryption").rglob("encryption-config.yaml")
    assert encryption.read_text() == objects.encryption_configuration()
    catalog = json.loads((restored.out / "catalog.json").read_text())
    assert catalog
    with restored.running():
        assert_brought_back(restored)


def test_one_member_comes_back_alone(made: Made, programs: Path, tmp_path: Path) -> None:
    restored = Restored.planned(made, tmp_path, 1)
    variables = {**restored.variables, "INITIAL_CLUSTER": f"alpha-cp1={restored.peers[0]}"}
    # Something is there already: it is set aside, not overwritten.
    wreck = tmp_path / "data1" / "member" / "snap"
    wreck.mkdir(parents=True)
    (wreck / "db").write_bytes(b"wreck")
    follow(made, programs, ["variables", "check", "open", "restore 1"], **variables)
    aside = tmp_path / "data1" / f"member.before-{made.entry.name}" / "snap" / "db"
    assert aside.read_bytes() == b"wreck"
    with restored.running():
        assert_brought_back(restored)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("signer", "Could not verify signature"),
        ("manifest.json", "incorrect signature"),
        ("RESTORE.txt", 'Good "controlplane.etcd" signature'),
        ("data.db.zst.age", "data.db.zst.age: FAILED"),
        ("tool", ": FAILED"),
    ],
)
def test_what_was_changed_is_not_opened(
    made: Made, programs: Path, tmp_path: Path, broken: str, said: str
) -> None:
    """The text stops before anything clear is written, at whatever was changed since."""
    copied = tmp_path / "archive" / "alpha" / made.entry.name
    shutil.copytree(made.entry, copied)
    shutil.copytree(made.entry.parents[1] / "tools", tmp_path / "archive" / "tools")
    signer = made.signer
    if broken == "signer":
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")]
        subprocess.run(argv, check=True)
        signer = tmp_path / "other.pub"
    elif broken == "tool":
        # Whoever can write the archive could have his own program run by who restores.
        for tool in (tmp_path / "archive" / "tools").glob("*/etcd?*tl"):
            tool.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    else:
        data = bytearray((copied / broken).read_bytes())
        data[-2] ^= 1
        (copied / broken).write_bytes(data)
    changed = dataclasses.replace(made, entry=copied, signer=signer)
    with pytest.raises(AssertionError, match=re.escape(said)):
        follow(changed, programs, ["variables", "check", "open"], OUT=str(tmp_path / "out"))
    assert not (tmp_path / "out" / "snapshot.db").exists()
    assert not (tmp_path / "ran").exists()
