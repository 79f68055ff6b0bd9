# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host's files can hold that nobody meant: told, never a traceback, never an endless look."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import OptionInvalid
from ansible_collections.controlplane.etcd.plugins.module_utils._kit import collect
from lab.certified import Host, look_at
from lab.pki import CLIENT, issue

LEVELS = "".join(
    f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 9)}]\n" for level in range(1, 10)
)
BOMB = f"kind: EncryptionConfiguration\nl0: &l0 [x]\n{LEVELS}"
IMPOSSIBLE = ['users: !!int ""', "users: !!bool PLANTED", "a: !!timestamp PLANTED", "[" * 5000]


def encryption_config(host: Host) -> str:
    """Return the path that the API server's manifest names."""
    manifest = host.kubernetes / "manifests/kube-apiserver.yaml"
    flag = "--encryption-provider-config="
    named = [word for word in manifest.read_text().split() if word.startswith(flag)]
    assert named, "the tree has one"
    return named[0][len(flag) :]


@pytest.mark.parametrize(
    "text", [BOMB, "a: &x [*x]\nb: c", "1: a\nb: c\n", "2026-01-01: b\n", "a: !!set {b, c}\n"]
)
def test_check_encryption_config_that_is_none_ends_and_is_compared(host: Host, text: str) -> None:
    path = host.root / encryption_config(host).lstrip("/")
    path.write_text(text)
    first = host.check()["shared"]["encryption-config"]
    assert first == host.check()["shared"]["encryption-config"]
    path.write_text(text + "# more\nz: 1\n")
    assert first not in (None, host.check()["shared"]["encryption-config"])


def test_check_encryption_config_is_compared_by_what_it_says(host: Host) -> None:
    path = host.root / encryption_config(host).lstrip("/")
    before = host.check()["shared"]["encryption-config"]
    path.write_text("# a comment\n" + path.read_text())
    assert host.check()["shared"]["encryption-config"] == before


@pytest.mark.parametrize("text", IMPOSSIBLE)
@pytest.mark.parametrize("name", ["admin.conf", "manifests/etcd.yaml"])
def test_check_yaml_that_is_no_value_is_critical(host: Host, name: str, text: str) -> None:
    (host.kubernetes / name).write_text(text)
    result = host.check()
    bad = [each for each in result["findings"] if each["severity"] == "critical"]
    assert any(name.partition("/")[2] in each["where"] + each["message"] for each in bad)
    assert "PLANTED" not in str(result)


def take_away(path: Path, how: str) -> None:
    """Leave something at a path that can't be looked at."""
    path.unlink()
    if how == "fifo":
        os.mkfifo(path)
    elif how == "loop":
        path.symlink_to(path.name)
    else:
        with path.open("wb") as sparse:
            sparse.truncate(3 << 30 if how == "huge" else 20 << 20)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("pki/apiserver.crt", "fifo"),
        ("pki/apiserver.crt", "huge"),
        ("pki/apiserver.crt", "loop"),
        ("pki/apiserver.key", "fifo"),
        ("pki/etcd/server.crt", "fifo"),
        ("pki/ca.crt", "fifo"),
        ("pki/sa.key", "fifo"),
        ("pki/sa.pub", "large"),
        ("scheduler.conf", "fifo"),
        ("scheduler.conf", "large"),
    ],
)
def test_check_what_is_needed_and_cannot_be_looked_at_is_critical(
    host: Host, name: str, how: str
) -> None:
    take_away(host.kubernetes / name, how)
    bad = [
        each
        for each in host.check()["findings"]
        if each["where"] == f"/etc/kubernetes/{name}" and each["severity"] == "critical"
    ]
    assert {each["name"] for each in bad} == {name.partition("pki/")[2] or name}


def test_check_a_file_nobody_knows_that_cannot_be_looked_at_is_a_warning(host: Host) -> None:
    os.mkfifo(host.folder / "somebody.crt")
    assert host.findings() == [
        ("warning", "not_looked_at", "/etc/kubernetes/pki/somebody.crt"),
    ]


@pytest.mark.parametrize(
    "name", ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"]
)
def test_check_manifest_that_is_not_followed_is_critical(host: Host, name: str) -> None:
    (host.kubernetes / f"manifests/{name}.yaml").write_text("a: [PLANTED")
    result = host.check()
    bad = [each for each in result["findings"] if each["severity"] == "critical"]
    assert any(f"{name}.yaml" in each["where"] + each["message"] for each in bad)
    assert "PLANTED" not in str(result)


@pytest.mark.parametrize(
    "path", ["/", "//", "/.", "/etc/..", "/proc", "/proc/1", "/sys/", "/dev", "/dev/fd/../shm"]
)
def test_check_paths_that_never_end_are_refused(path: str) -> None:
    with pytest.raises(OptionInvalid, match="paths"):
        look_at("/", paths=(path,))


def test_check_paths_link_to_what_never_ends_is_refused(tmp_path: Path) -> None:
    (tmp_path / "all").symlink_to("/proc")
    with pytest.raises(OptionInvalid, match="all"):
        look_at("/", paths=(str(tmp_path / "all"),))


def test_check_paths_of_too_many_entries_end_and_say_so(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(60):
        (host.folder / f"z{number}").mkdir()
    monkeypatch.setattr(collect, "MAX_ENTRIES", 50)
    found = host.check(paths=("/etc/kubernetes/pki", "/etc/kubernetes/manifests"))["findings"]
    ends = [each for each in found if "more than 50 entries" in each["message"]]
    assert [(each["severity"], each["kind"]) for each in ends] == [("critical", "not_looked_at")]
    assert "what follows" in ends[0]["message"]


def to_der(path: Path) -> None:
    """Have openssl write a certificate or a key as DER."""
    tool = "x509" if path.suffix == ".crt" else "pkey"
    if path.suffix == ".pub":
        tool = "pkey -pubin"
    other = path.with_suffix(".new")
    words = f"openssl {tool} -in {path} -outform der -out {other}".split()
    subprocess.run(words, check=True, capture_output=True)
    other.replace(path)


@pytest.mark.parametrize(
    "name",
    ["apiserver.crt", "apiserver.key", "ca.crt", "etcd/server.crt", "etcd/peer.key", "sa.key"],
)
def test_check_der_where_programs_read_pem_only(host: Host, name: str) -> None:
    path = host.folder / name
    to_der(path)
    (found,) = host.check()["findings"]
    assert (found["severity"], found["kind"], found["name"]) == ("critical", "unreadable", name)
    assert found["message"] == "It is DER: etcd and Kubernetes read PEM only."
    assert "openssl" in found["action"] and f"/etc/kubernetes/pki/{name}.pem" in found["action"]
    # What it says to do mends it.
    command, _then, moving = found["action"].partition(": ")[2].rstrip(".").partition(", then ")
    inside = f"{command} && {moving}".replace("/etc/kubernetes", str(host.kubernetes))
    subprocess.run(["sh", "-c", inside], check=True, capture_output=True)
    assert host.findings() == []


def test_check_sa_pub_as_der(host: Host) -> None:
    to_der(host.folder / "sa.pub")
    assert host.findings() == [("critical", "unreadable", "/etc/kubernetes/pki/sa.pub")]


def test_check_der_of_a_file_that_a_flag_names(host: Host) -> None:
    made = issue(host.pki.ca, "kube-apiserver-kubelet-client", usages=(CLIENT,))
    made.write(host.folder / "own-client")
    manifest = host.kubernetes / "manifests/kube-apiserver.yaml"
    manifest.write_text(
        manifest.read_text().replace("pki/apiserver-kubelet-client.", "pki/own-client.")
    )
    assert host.findings() == []
    to_der(host.folder / "own-client.crt")
    assert ("critical", "unreadable", "/etc/kubernetes/pki/own-client.crt") in host.findings()


def test_check_der_in_a_kubeconfig(host: Host) -> None:
    path = host.kubernetes / "scheduler.conf"
    document = yaml.safe_load(path.read_text())
    user = document["users"][0]["user"]
    pem = base64.b64decode(user["client-certificate-data"])
    der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    user["client-certificate-data"] = base64.b64encode(der).decode()
    path.write_text(yaml.safe_dump(document))
    (found,) = host.check()["findings"]
    assert (found["severity"], found["kind"], found["name"]) == (
        "critical",
        "unreadable",
        "scheduler.conf",
    )
