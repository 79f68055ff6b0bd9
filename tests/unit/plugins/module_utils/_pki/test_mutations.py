# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Damaged bytes of every kind through the reader and all checks: problems and findings, no raises."""

from __future__ import annotations

import base64
import random
import typing as t

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from ansible_collections.controlplane.etcd.plugins.module_utils._pki import (
    checks,
    kubeconfig,
    reading,
    served,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._pki.model import (
    Contents,
    Handshake,
    Pair,
)
from lab.certificates import Made, key_bytes, make

ROUNDS = 500
ALPHABET = b"ABCDEFghijkl0123456789+/=\n -\x00\xff\x30\x82"


def mutated(data: bytes, dice: random.Random) -> bytes:
    """Return `data` with one to four bytes flipped, cut out, doubled or put in."""
    changed = bytearray(data)
    for _round in range(dice.randint(1, 4)):
        at = dice.randrange(max(1, len(changed)))
        kind = dice.randrange(5)
        if kind == 0 and changed:
            changed[at] ^= 1 << dice.randrange(8)
        elif kind == 1:
            del changed[at : at + dice.randint(1, 60)]
        elif kind == 2:
            changed[at:at] = bytes(dice.choices(ALPHABET, k=dice.randint(1, 20)))
        elif kind == 3:
            changed[at:at] = changed[: dice.randint(1, 200)]
        elif changed:
            changed[at] = dice.choice(ALPHABET)
    return bytes(changed)


def armoured(der: bytes) -> bytes:
    body = base64.encodebytes(der)
    return b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"


def judge(bench: t.Any, contents: Contents, leaf: Made) -> None:
    """Run every check; whatever is not the good leaf itself must be found wrong somewhere."""
    carrier = bench.carrier(contents)
    key = bench.carrier(leaf.key_pem, "etcd/server.key")
    authorities = bench.pair(leaf).authorities
    hand = [("/x", each) for each in contents.certificates]
    found = checks.check_pair(
        Pair(carrier, key, authorities, "etcd/server"),
        limits=bench.limits,
        layout="kubeadm",
        names_wanted=["cp1", "10.0.0.1"],
        at_hand=hand,
    )
    first = contents.certificates[0] if contents.certificates else None
    # What is signed counts: around it, older versions of cryptography overlook a stray bit.
    is_good = first and reading.foreign(first).tbs_certificate_bytes == (
        leaf.certificate.tbs_certificate_bytes
    )
    assert found or is_good, "what was damaged is all good"
    found += checks.check_key_file(carrier, limits=bench.limits)
    for each in contents.certificates:
        found += served.check_served(
            Handshake("https://a:1", "etcd/server", each),
            on_disk=bench.carrier(leaf.pem),
            limits=bench.limits,
            names_wanted=["elsewhere"],
        )
    for finding in checks.worst_first(found):
        assert finding.message and finding.where and finding.action and finding.as_dict()


@pytest.mark.parametrize("form", ["pem", "der", "der-in-pem", "ed25519", "key", "kubeconfig"])
def test_mutations_never_raise(bench: t.Any, form: str) -> None:
    dice = random.Random(f"pki {form}")
    key = ed25519.Ed25519PrivateKey.generate() if form == "ed25519" else None
    leaf = make("cp1", by=bench.ca, names=["cp1", "10.0.0.1", "::1"], key=key)
    private = rsa.generate_private_key(65537, 2048)
    for _round in range(ROUNDS):
        if form == "pem":
            data = mutated(leaf.pem + bench.ca.pem, dice)
        elif form == "der":
            data = mutated(leaf.der, dice)
        elif form == "key":
            data = mutated(key_bytes(private, form=dice.choice(["PKCS8", "OpenSSH"])), dice)
        elif form == "kubeconfig":
            field = base64.b64encode(leaf.pem)
            text = b"users: [{name: a, user: {client-certificate-data: %s, client-key: b}}]" % field
            found = kubeconfig.parse("/x/admin.conf", mutated(text, dice))
            for carrier in found.embedded:
                judge(bench, carrier.contents, leaf)
            continue
        else:
            data = armoured(mutated(leaf.der, dice))
        contents = reading.read(data)
        assert contents.certificates or contents.keys or contents.public_keys or contents.problems
        judge(bench, contents, leaf)
