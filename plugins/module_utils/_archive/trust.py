# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Signatures on what the archive keeps: SSHSIG, made and checked by ssh-keygen.

Format: https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.sshsig
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import dataclasses
import enum
import os
import re
import struct
import subprocess
import tempfile
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _files
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    OptionInvalid,
    TrustError,
)

__all__ = ["NAMESPACE", "PRINCIPAL", "Signers", "Signing", "TrustState", "signing_from_key"]

NAMESPACE = "controlplane.etcd"
PRINCIPAL = "controlplane.etcd"
# An agent may ask its owner to confirm, or to touch a key; nobody sits there for ever.
_SECONDS = 60
_KEY_TYPES = re.compile(r"(ssh-(ed25519|rsa|dss)|ecdsa-sha2-\S+|sk-\S+@openssh\.com)(\s|$)")
_OPENSSH_PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----"


class TrustState(str, enum.Enum):
    """How far an entry can be trusted; only `trusted` ones may be restored without being asked."""

    TRUSTED = "trusted"
    NOT_CHECKED = "not_checked"
    UNSIGNED = "unsigned"
    FORGED = "forged"
    UNKNOWN_SIGNER = "unknown_signer"
    FOREIGN = "foreign"
    INCOMPLETE = "incomplete"
    DAMAGED = "damaged"


@dataclasses.dataclass(frozen=True)
class Signing:
    """A key to sign with: a private key's file, or a public one whose private half an agent has."""

    path: str
    public_key: str

    def sign(self, data: bytes) -> bytes:
        """Return the armoured SSHSIG of `data`.

        :raises TrustError: ssh-keygen is missing or too old, or the key can't sign unattended.
        """
        done = _ssh_keygen(["-Y", "sign", "-f", self.path, "-n", NAMESPACE], data)
        if done.returncode or b"BEGIN SSH SIGNATURE" not in done.stdout:
            raise TrustError(
                f"ssh-keygen cannot sign with {self.path} on the controller: {_said(done)}.",
                hint="A key with a passphrase has to be in the agent of the run (SSH_AUTH_SOCK; "
                "ssh-add KEY): nothing is asked here. A public key file works only with its "
                "private half in the agent. A private key's file must be readable to its owner "
                "alone (mode 0600).",
                path=self.path,
            )
        return done.stdout


@dataclasses.dataclass(frozen=True)
class Signers:
    """The public keys whose signatures count, as lines of an allowed signers file."""

    lines: tuple[str, ...]

    @classmethod
    def parse(cls, value: t.Any, *, default: str | None = None) -> Signers:
        """Read a list of public keys, or the path of a file with them (or an allowed signers file).

        `default` is the one key that counts when `value` is empty.

        :raises OptionInvalid: there is no key, or something else than keys.
        """
        given = [value] if isinstance(value, str) and value else value or []
        lines: list[str] = []
        for entry in given or ([default] if default else []):
            lines += [entry] if _KEY_TYPES.match(entry.strip()) else _lines_of(entry)
        if not lines:
            raise OptionInvalid(
                "No signer is allowed, so no signature could ever count.",
                hint="Set etcd_allowed_signers: public keys, or a file with them.",
            )
        return cls(tuple(_signer(line) for line in lines))

    def check(self, data: bytes, signature: bytes | None) -> tuple[TrustState, str]:
        """Tell whether `signature` is one of `data` by an allowed signer, and why not.

        :raises TrustError: ssh-keygen is missing or too old.
        """
        if not signature:
            return TrustState.UNSIGNED, "There is no signature."
        with tempfile.TemporaryDirectory(prefix="controlplane-etcd-") as folder:
            names = {"signers": "\n".join(self.lines).encode() + b"\n", "sig": signature}
            for name, content in names.items():
                with open(os.path.join(folder, name), "wb") as target:
                    target.write(content)
            signers, sig = (os.path.join(folder, name) for name in names)
            for principal in _principals(signers, sig):
                argv = ["-Y", "verify", "-f", signers, "-I", principal, "-n", NAMESPACE, "-s", sig]
                if _ssh_keygen(argv, data).returncode == 0:
                    return TrustState.TRUSTED, ""
            valid = _ssh_keygen(["-Y", "check-novalidate", "-n", NAMESPACE, "-s", sig], data)
        if valid.returncode:
            return TrustState.FORGED, f"The signature is not one of this content: {_said(valid)}."
        key = re.search(rb"SHA256:[A-Za-z0-9+/=]+", valid.stdout)
        signer = key.group().decode() if key else "an unknown key"
        return TrustState.UNKNOWN_SIGNER, f"It was signed by {signer}, which is not allowed."


def signing_from_key(path: str) -> Signing:
    """Return how to sign with the key in `path`.

    :raises TrustError: the file can't be read or holds no ssh key.
    """
    try:
        text = _files.read_small(path).decode("utf-8", "replace")
    except OSError as exc:
        raise TrustError(
            f"Signing key {path} cannot be read on the controller: {exc.strerror}.",
            hint="Set etcd_signing_key to an ssh private key (ssh-keygen -t ed25519 -f FILE), or to "
            "a public one whose private half is in the agent.",
            path=path,
        ) from exc
    if _KEY_TYPES.match(text):
        public = " ".join(text.split()[:2])
    elif text.startswith(_OPENSSH_PRIVATE):
        public = _public_half(text, path)
    else:
        done = _ssh_keygen(["-y", "-P", "", "-f", path], b"")
        public = " ".join(done.stdout.decode("utf-8", "replace").split()[:2])
        if done.returncode or not public:
            raise TrustError(
                f"Signing key {path} on the controller is no ssh key that can be used: "
                f"{_said(done)}.",
                hint="Make one with ssh-keygen -t ed25519 -f FILE.",
                path=path,
            )
    return Signing(path=path, public_key=public)


def _lines_of(path: str) -> list[str]:
    try:
        with _files.open_regular(path) as source:
            lines = [line.strip() for line in source.read().decode("utf-8").split("\n")]
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not text"
        raise OptionInvalid(
            f"Allowed signers {path!r} can be neither used as a public key nor read as a file on "
            f"the controller: {why}.",
            hint="Give public keys (ssh-ed25519 AAAA…) or the path of a file with them.",
        ) from exc
    return [line for line in lines if line and not line.startswith("#")]


def _signer(line: str) -> str:
    if "PRIVATE KEY" in line:
        raise OptionInvalid(
            "Allowed signers hold a PRIVATE key: it was not used, and is not shown here.",
            hint="Give the .pub file.",
        )
    if _KEY_TYPES.match(line.strip()):
        return f'{PRINCIPAL} namespaces="{NAMESPACE}" {" ".join(line.split()[:2])}'
    if not any(_KEY_TYPES.match(word) for word in line.split()[1:]):
        raise OptionInvalid(
            f"Allowed signer {line[:60]!r} is neither a public key nor a line of an allowed signers "
            "file.",
            hint="See ALLOWED SIGNERS in ssh-keygen(1).",
        )
    return line


def _principals(signers: str, sig: str) -> t.Iterator[str]:
    # Plain public keys stand under our own name; find-principals (8.2) is for people's own files.
    yield PRINCIPAL
    found = _ssh_keygen(["-Y", "find-principals", "-s", sig, "-f", signers], b"")
    if found.returncode == 0:
        for line in found.stdout.decode("utf-8", "replace").splitlines():
            yield from (name for name in line.split(",") if name and name != PRINCIPAL)


def _public_half(text: str, path: str) -> str:
    # The public half of an OpenSSH private key lies in clear even behind a passphrase:
    # "openssh-key-v1\0", cipher, kdf, kdf options, number of keys, public key blob
    # (openssh-portable/PROTOCOL.key).
    try:
        blob = base64.b64decode("".join(text.split("-----")[2].split()))
        magic, rest = blob[:15], blob[15:]
        if magic != b"openssh-key-v1\0":
            raise ValueError("wrong magic")
        for _turn in range(3):
            rest = rest[4 + struct.unpack(">I", rest[:4])[0] :]
        key = _string(rest[4:])
        return f"{_string(key).decode('ascii')} {base64.b64encode(key).decode('ascii')}"
    except (ValueError, IndexError, struct.error, binascii.Error) as exc:
        raise TrustError(
            f"Signing key {path} on the controller is a damaged OpenSSH private key.",
            hint="Make one with ssh-keygen -t ed25519 -f FILE.",
            path=path,
        ) from exc


def _string(data: bytes) -> bytes:
    size = struct.unpack(">I", data[:4])[0]
    if len(data) < 4 + size:
        raise ValueError("too short")
    return data[4 : 4 + size]


def _ssh_keygen(argv: list[str], data: bytes) -> subprocess.CompletedProcess[bytes]:
    # No terminal, no graphical prompt: a question would hang an unattended run.
    env = {name: value for name, value in os.environ.items() if name not in _PROMPTS}
    env.update({"SSH_ASKPASS_REQUIRE": "never", "LC_ALL": "C"})
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            ["ssh-keygen", *argv],
            input=data,
            capture_output=True,
            check=False,
            env=env,
            start_new_session=True,
            timeout=_SECONDS,
        )
    except FileNotFoundError as exc:
        raise TrustError(
            "Manifests cannot be signed or checked: ssh-keygen is not installed on the controller.",
            hint="Install openssh-client, 8.1 or newer.",
        ) from exc
    except subprocess.TimeoutExpired as exc:
        raise TrustError(
            f"ssh-keygen {' '.join(argv[:2])} gave no answer within {_SECONDS} s.",
            hint="If the agent asks for a confirmation or a touch, somebody has to give it.",
        ) from exc
    with contextlib.suppress(UnicodeDecodeError):
        said = done.stderr.decode()
        if re.search(r"(unknown|illegal|invalid) option -- '?Y", said):
            raise TrustError(
                "Manifests cannot be signed or checked: the controller's ssh-keygen is older than "
                "8.1 and knows no signatures of files.",
                hint="Install openssh-client, 8.1 or newer.",
            )
    return done


_PROMPTS = ("DISPLAY", "WAYLAND_DISPLAY", "SSH_ASKPASS")


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = [line.strip() for line in done.stderr.decode("utf-8", "replace").splitlines()]
    useful = [line for line in lines if line and not set(line) <= {"@"}]
    return "; ".join(useful)[:300].rstrip(".") or f"exit status {done.returncode}"
