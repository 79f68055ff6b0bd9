# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""RESTORE.txt, run as it stands: the open part with age, zstd, etcdutl, sha256sum and tar alone.

The restore part is run against real etcds in tests/integration/test_archive.py.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    manifest,
    restore_text,
)

GOLDEN = Path(__file__).parent / "fixtures" / "manifest-v1.json"


@pytest.fixture
def golden() -> manifest.Manifest:
    """The golden manifest."""
    return manifest.from_json(GOLDEN.read_bytes(), "golden")


@pytest.mark.parametrize(
    ("version", "bump", "tool"),
    [
        ("3.4.23", False, "etcdctl"),
        ("3.4.27", True, "etcdctl"),
        ("3.5.9", False, "etcdutl"),
        ("3.5.10", True, "etcdutl"),
        ("3.6.0", True, "etcdutl"),
        ("3.7.3", True, "etcdutl"),
        ("3.6.16-k3s1", True, "etcdutl"),
    ],
)
def test_restore_text_fits_the_version(
    golden: manifest.Manifest, version: str, bump: bool, tool: str
) -> None:
    found = dataclasses.replace(golden, etcd=manifest.EtcdVersions(version), tools=())
    text = restore_text.restore_text(found, signer="ssh-ed25519 AAAA")
    assert ("--bump-revision 1000000000 --mark-compacted" in text) == bump
    assert f"$ TOOL=${{TOOL:-{tool}}}" in text
    assert ("restart every controller" in text) != bump


def test_restore_text_hostile_names_stay_words(golden: manifest.Manifest) -> None:
    evil = "x\n$ touch /tmp/owned; '$(reboot)' `reboot`"
    member = dataclasses.replace(golden.cluster.members[0], name=evil, host=evil)
    cluster = dataclasses.replace(golden.cluster, members=(member,))
    text = restore_text.restore_text(
        dataclasses.replace(golden, cluster=cluster), signer=f"ssh-ed25519 {evil}"
    )
    for line in text.splitlines():
        assert not line.startswith("$ touch")
        if line.startswith("$ NAME_1="):
            value = re.sub(r"^\$ NAME_1=\$\{NAME_1:-(.*)\}$", r"\1", line)
            assert shlex.split(value) == [evil.replace("\n", "?")]


def test_restore_text_learners_are_no_voters(golden: manifest.Manifest) -> None:
    first, *rest = golden.cluster.members
    members = (dataclasses.replace(first, is_learner=True), *rest)
    cluster = dataclasses.replace(golden.cluster, members=members)
    text = restore_text.restore_text(dataclasses.replace(golden, cluster=cluster), signer="")
    assert "NAME_1=${NAME_1:-cp2}" in text
    assert "NAME_3" not in text
    assert "cp1 (8e9e05c52164694d, a learner)" in text


def test_restore_text_unsealed_needs_no_identity(golden: manifest.Manifest) -> None:
    files = tuple(
        dataclasses.replace(
            file,
            name=file.name.replace(".age", ""),
            encryption=manifest.Encryption("none", ()),
        )
        for file in golden.files
    )
    text = restore_text.restore_text(dataclasses.replace(golden, files=files), signer="")
    assert "IDENTITY" not in text
    assert "age -d" not in text
    assert 'zstd -d -c data.db.zst > "$OUT/snapshot.db"' in text
    assert "NO: whoever reads this folder has it" in text


def test_restore_text_separate_wal_alarms_and_missing_hosts(golden: manifest.Manifest) -> None:
    layout = manifest.MemberLayout("systemd", "/var/lib/etcd", "/var/lib/etcd-wal")
    members = tuple(dataclasses.replace(one, layout=layout) for one in golden.cluster.members)
    found = dataclasses.replace(
        golden,
        cluster=dataclasses.replace(golden.cluster, members=members, missing_hosts=("cp3",)),
        etcd=dataclasses.replace(golden.etcd, alarms=("NOSPACE on 1",)),
    )
    text = restore_text.restore_text(found, signer="")
    assert "WAL_DIR_3=${WAL_DIR_3:-/var/lib/etcd-wal}" in text
    assert "alarm disarm" in text
    assert "MISSING        host cp3" in text
    assert "systemctl stop etcd" in text


def _run(text: str, *sections: str, script: str, **variables: str) -> list[str]:
    """Run the lines of some sections, then `script`; return the words that it prints."""
    lines: list[str] = []
    within = ""
    for line in text.splitlines():
        match = re.match(r"==== \[(.+?)\]", line)
        within = match[1] if match else within
        if within in sections and line.startswith("$ "):
            lines.append(line[2:])
    environment = {"PATH": os.environ["PATH"], "HOME": "/nowhere", **variables}
    argv = ["bash", "-c", "\n".join([*lines, script])]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_restore_text_addresses_and_members_make_the_initial_cluster(
    golden: manifest.Manifest,
) -> None:
    first, second, third = golden.cluster.members
    second = dataclasses.replace(
        second, peer_urls=("https://10.0.0.2:2380", "https://10.0.0.2:2390")
    )
    third = dataclasses.replace(third, peer_urls=("https://[fd00::3]:2380",))
    members = (
        dataclasses.replace(first, peer_urls=("https://10.0.0.1:2380",)),
        second,
        third,
    )
    cluster = dataclasses.replace(golden.cluster, members=members)
    text = restore_text.restore_text(dataclasses.replace(golden, cluster=cluster), signer="")
    script = 'echo "$INITIAL_CLUSTER"'
    names = [member.name for member in members]
    urls = ["https://10.0.0.1:2380", "https://10.0.0.2:2380", "https://10.0.0.2:2390"]
    as_it_was = [
        f"{names[0]}={urls[0]},{names[1]}={urls[1]},{names[1]}={urls[2]},"
        f"{names[2]}=https://[fd00::3]:2380"
    ]
    assert _run(text, "variables", script=script) == as_it_was
    moved = _run(text, "variables", script=script, MEMBERS="2 3", ADDRESS_2="10.9.9.9")
    assert moved == [
        f"{names[1]}=https://10.9.9.9:2380,{names[1]}=https://10.9.9.9:2390,"
        f"{names[2]}=https://[fd00::3]:2380"
    ]


def test_restore_text_addresses_that_change_places_are_not_mixed_up(
    golden: manifest.Manifest, tmp_path: Path
) -> None:
    text = restore_text.restore_text(golden, signer="")
    old = [re.search(r"//([0-9.]+):", member.peer_urls[0]) for member in golden.cluster.members]
    one, two, three = [match[1] for match in old if match]
    file = tmp_path / "pki" / "cp1" / "etc" / "etcd.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(f"a={one}:2380,b={two}:2380 {one},{one} 1{one} {one}1 {three}\n")
    script = f"cat {shlex.quote(str(file))}"
    variables = {"OUT": str(tmp_path), "ADDRESS_1": two, "ADDRESS_2": one}
    said = _run(text, "variables", "addresses", script=script, **variables)
    assert " ".join(said).endswith(f"a={two}:2380,b={one}:2380 {two},{two} 1{one} {one}1 {three}")
    file.write_text(f"{one} stays\n")
    said = _run(text, "variables", "addresses", script=script, OUT=str(tmp_path))
    assert said == [one, "stays"]


def test_restore_text_authentication_is_told(golden: manifest.Manifest) -> None:
    snapshot = dataclasses.replace(golden.snapshot, auth_enabled=True)
    with_auth = dataclasses.replace(golden, snapshot=snapshot)
    assert "--user root:PASSWORD" in restore_text.restore_text(with_auth, signer="")
    assert "--user root:PASSWORD" not in restore_text.restore_text(golden, signer="")


@pytest.mark.parametrize(("instance", "up"), [("main", "../.."), ("events", "../../..")])
def test_restore_text_compares_the_tool_that_it_runs(
    golden: manifest.Manifest, instance: str, up: str, tmp_path: Path
) -> None:
    """Whoever can write the archive could have his own program run by who restores."""
    sha256 = hashlib.sha256(b"good\n").hexdigest()
    tool = manifest.Tool("etcdutl", "3.6.16", "linux-amd64", "tools/e/etcdutl", 5, sha256)
    found = dataclasses.replace(
        golden,
        tools=(tool,),
        cluster=dataclasses.replace(golden.cluster, instance=instance),
        etcd=manifest.EtcdVersions("3.6.16"),
    )
    text = restore_text.restore_text(found, signer="")
    (line,) = (line[2:] for line in text.splitlines() if line.startswith("$ test !"))
    assert f'"$ENTRY"/{up}/tools/e/etcdutl' in line
    entry = tmp_path / "a" / "b" / "c"
    path = Path(os.path.normpath(entry / up)) / "tools" / "e" / "etcdutl"
    entry.mkdir(parents=True)
    path.parent.mkdir(parents=True)
    for content, named, status in (
        ("good\n", f"{entry}/{up}/tools/e/etcdutl", 0),
        ("evil\n", f"{entry}/{up}/tools/e/etcdutl", 1),
        ("evil\n", str(path), 1),
        ("evil\n", "/usr/local/bin/etcdutl", 0),  # one's own
    ):
        path.write_text(content)
        environ = {**os.environ, "ENTRY": str(entry), "TOOL": named}
        done = subprocess.run(["bash", "-ec", line], env=environ, capture_output=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr
