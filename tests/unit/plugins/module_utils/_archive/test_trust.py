# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures, with the real ssh-keygen and a real agent."""

from __future__ import annotations

import os
import stat
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import trust
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.trust import TrustState
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    OptionInvalid,
    TrustError,
)

DATA = b'{"id": "20261123T145000Z-7c9e1a2b"}\n'


def _keygen(path: Path, kind: str = "ed25519", passphrase: str = "", *more: str) -> Path:
    argv = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "who", "-f", str(path), *more]
    subprocess.run(argv, check=True)
    return path


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _keygen(tmp_path_factory.mktemp("signing") / "key")


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[None]:
    sock = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(sock)], stdout=subprocess.DEVNULL)
    try:
        while not sock.exists():
            assert process.poll() is None
        monkeypatch.setenv("SSH_AUTH_SOCK", str(sock))
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_sign_then_check_is_trusted(tmp_path: Path, kind: str) -> None:
    signing = trust.signing_from_key(str(_keygen(tmp_path / "key", kind)))
    assert signing.public_key == " ".join((tmp_path / "key.pub").read_text().split()[:2])
    signers = trust.Signers.parse(None, default=signing.public_key)
    assert signers.check(DATA, signing.sign(DATA)) == (TrustState.TRUSTED, "")


def test_check_with_a_pem_key(tmp_path: Path) -> None:
    signing = trust.signing_from_key(str(_keygen(tmp_path / "key", "rsa", "", "-m", "PEM")))
    signers = trust.Signers.parse([signing.public_key])
    assert signers.check(DATA, signing.sign(DATA))[0] is TrustState.TRUSTED


def test_check_changed_content_is_forged(key: Path) -> None:
    signing = trust.signing_from_key(str(key))
    signers = trust.Signers.parse([signing.public_key])
    state, why = signers.check(DATA.replace(b"7c", b"8c"), signing.sign(DATA))
    assert (state, "not one of this content" in why) == (TrustState.FORGED, True)
    assert signers.check(DATA, b"garbage")[0] is TrustState.FORGED


def test_check_signature_for_another_namespace_is_forged(key: Path) -> None:
    done = subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-f", str(key), "-n", "git"],
        input=DATA,
        capture_output=True,
        check=True,
    )
    signers = trust.Signers.parse(str(key) + ".pub")
    assert signers.check(DATA, done.stdout)[0] is TrustState.FORGED


def test_check_no_signature_is_unsigned(key: Path) -> None:
    assert trust.Signers.parse(str(key) + ".pub").check(DATA, None)[0] is TrustState.UNSIGNED


def test_check_another_key_is_an_unknown_signer(key: Path, tmp_path: Path) -> None:
    other = trust.signing_from_key(str(_keygen(tmp_path / "other")))
    state, why = trust.Signers.parse(str(key) + ".pub").check(DATA, other.sign(DATA))
    assert state is TrustState.UNKNOWN_SIGNER
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(tmp_path / "other.pub")], capture_output=True, check=True
    )
    assert shown.stdout.split()[1].decode() in why


def test_signers_parse_allowed_signers_file(key: Path, tmp_path: Path) -> None:
    public = Path(f"{key}.pub").read_text().split()[1]
    lines = {
        "own": f"# who\n\nann@example.org,bob@example.org ssh-ed25519 {public} comment\n",
        "options": f'*@example.org namespaces="controlplane.etcd" ssh-ed25519 {public}\n',
        "elsewhere": f'ann namespaces="git" ssh-ed25519 {public}\n',
        "expired": f'ann valid-before="20200101" ssh-ed25519 {public}\n',
    }
    signature = trust.signing_from_key(str(key)).sign(DATA)
    states = {}
    for name, text in lines.items():
        (tmp_path / name).write_text(text)
        states[name] = trust.Signers.parse(str(tmp_path / name)).check(DATA, signature)[0]
    assert states == {
        "own": TrustState.TRUSTED,
        "options": TrustState.TRUSTED,
        "elsewhere": TrustState.UNKNOWN_SIGNER,
        "expired": TrustState.UNKNOWN_SIGNER,
    }


def test_signers_parse_several_keys_any_counts(key: Path, tmp_path: Path) -> None:
    other = _keygen(tmp_path / "other")
    signers = trust.Signers.parse([f"{key}.pub", Path(f"{other}.pub").read_text()])
    for path in (key, other):
        assert signers.check(DATA, trust.signing_from_key(str(path)).sign(DATA))[0] == "trusted"


@pytest.mark.parametrize("value", [None, [], ""])
def test_signers_parse_none_is_refused(value: t.Any) -> None:
    with pytest.raises(OptionInvalid, match="etcd_allowed_signers"):
        trust.Signers.parse(value)


def test_signers_parse_garbage_is_refused(tmp_path: Path, key: Path) -> None:
    with pytest.raises(OptionInvalid, match="nowhere"):
        trust.Signers.parse([str(tmp_path / "nowhere")])
    (tmp_path / "text").write_text("hello world\n")
    with pytest.raises(OptionInvalid, match="hello world"):
        trust.Signers.parse(str(tmp_path / "text"))
    with pytest.raises(OptionInvalid, match="PRIVATE") as caught:
        trust.Signers.parse(str(key))
    assert key.read_text().splitlines()[1] not in str(caught.value)


def test_sign_locked_key_without_agent_fails_without_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    asked = tmp_path / "asked"
    script = tmp_path / "askpass"
    script.write_text(f"#!/bin/sh\ntouch {asked}\necho secret\n")
    script.chmod(stat.S_IRWXU)
    monkeypatch.setenv("SSH_ASKPASS", str(script))
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    monkeypatch.setenv("DISPLAY", ":0")
    signing = trust.signing_from_key(str(_keygen(tmp_path / "key", "ed25519", "secret")))
    with pytest.raises(TrustError, match="SSH_AUTH_SOCK") as caught:
        signing.sign(DATA)
    assert str(tmp_path / "key") in str(caught.value)
    assert not asked.exists()


def test_sign_locked_key_in_the_agent(tmp_path: Path, agent: None) -> None:
    locked = _keygen(tmp_path / "key", "ed25519", "secret")
    plain = tmp_path / "plain"
    plain.write_bytes(locked.read_bytes())
    plain.chmod(0o600)
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-P", "secret", "-N", "", "-f", str(plain)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    subprocess.run(["ssh-add", "-q", str(plain)], check=True)
    for path in (locked, Path(f"{locked}.pub")):
        signing = trust.signing_from_key(str(path))
        signers = trust.Signers.parse(None, default=signing.public_key)
        assert signers.check(DATA, signing.sign(DATA))[0] is TrustState.TRUSTED


def test_sign_public_key_alone_names_the_agent(tmp_path: Path, agent: None) -> None:
    _keygen(tmp_path / "key")
    (tmp_path / "key").unlink()
    with pytest.raises(TrustError, match="private half in the agent"):
        trust.signing_from_key(str(tmp_path / "key.pub")).sign(DATA)


def test_sign_key_open_to_all_says_so(tmp_path: Path) -> None:
    _keygen(tmp_path / "key").chmod(0o644)
    with pytest.raises(TrustError, match="0600"):
        trust.signing_from_key(str(tmp_path / "key")).sign(DATA)


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"]
)
def test_signing_from_key_garbage_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(TrustError, match="on the controller is") as caught:
        trust.signing_from_key(str(tmp_path / "key"))
    assert str(tmp_path / "key") in str(caught.value)


def test_signing_from_key_missing_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="etcd_signing_key"):
        trust.signing_from_key(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("tool", [None, "old"])
def test_sign_without_a_usable_ssh_keygen_says_which(
    key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str | None
) -> None:
    signing = trust.signing_from_key(str(key))
    if tool:
        # What OpenSSH 7.9's getopt says to -Y.
        fake = tmp_path / "ssh-keygen"
        fake.write_text("#!/bin/sh\necho 'unknown option -- Y' >&2\nexit 1\n")
        fake.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/nowhere")
    with pytest.raises(TrustError, match=r"8\.1"):
        signing.sign(DATA)
