# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Whether a certificate chains to the authorities beside it, and to whose it does if not.

The verdict follows what Go's crypto/x509 asks of a chain, since all of the control plane is written
in it: names of issuers, signatures, a CA's basicConstraints. cryptography's own verification is then
asked for what is not looked at here (name constraints, path lengths, key usages), where it fits:

- its default profile is the web's: it refuses client certificates without alternative names (all of
  kubeadm's), and CAs without keyUsage or critical basicConstraints (openssl's default, kubespray's).
  From cryptography 45 on, a policy can ask for less; before, it is left out.
- it knows no P-224, Ed25519, SHA-1 or short RSA keys: those chains are judged here alone.
- it speaks of one moment: dates are judged one by one (dates.py), so it is asked about a moment at
  which all of the chain is valid, if there is one.

It does not say what is wrong in words for an engineer; that is what the walk here is for.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import typing as t
import warnings

from ansible_collections.controlplane.etcd.plugins.module_utils import _deps, _time

from . import reading, table
from .dates import is_urgent
from .keys import WEAK_HASHES
from .model import Carrier, Certificate, Finding, Kind, Limits, Pair, Severity

__all__ = ["check_chain", "short", "signed_by"]

_DEEPEST = 8
_EDWARDS = ("1.3.101.112", "1.3.101.113")  # RFC 8410
_EXTENSION_POLICIES = 45  # the version of cryptography that got them
_STRONG_HASHES = ("sha256", "sha384", "sha512")
_STRONG_BITS = {"RSA": (2048, 1 << 16), "EC": (256, 521)}


@dataclasses.dataclass(frozen=True)
class _Walk:
    """From a leaf up: the chain found, and whether it ends in an authority."""

    chain: tuple[Certificate, ...]
    anchored: bool
    verified: bool = True
    """Whether all signatures could be verified; else some were taken by their names."""


def short(certificate: Certificate) -> str:
    """Name a certificate so that two of the same subject differ."""
    return f"{certificate.subject or '(no subject)'} (sha256 {certificate.fingerprint[:12]})"


def signed_by(child: Certificate, issuer: Certificate) -> bool | None:
    """Tell whether names match and `issuer`'s key made the signature of `child`.

    None: the names do, but nobody here can verify such a signature (SHA-1 and MD5 in
    newer versions of cryptography, algorithms that it never knew).
    """
    if child.issuer != issuer.subject:
        return False
    if not issuer.public_key:
        return None
    exceptions = _deps.load("cryptography.exceptions")
    loaded = reading.foreign(child)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded.verify_directly_issued_by(reading.foreign(issuer))
    except exceptions.InvalidSignature:
        return False
    except (ValueError, TypeError, exceptions.UnsupportedAlgorithm):
        # One error for a key of another kind and for an algorithm that is not known any more.
        known = child.signature_hash is not None and child.signature_hash not in WEAK_HASHES
        return False if known or loaded.signature_algorithm_oid.dotted_string in _EDWARDS else None
    return True


def check_chain(
    pair: Pair, *, limits: Limits, layout: str, at_hand: t.Sequence[tuple[str, Certificate]]
) -> list[Finding]:
    """Return whether the first certificate of a pair is issued by its authorities.

    Silent where nobody knows what to expect: a role unknown to the table, and no authorities.
    """
    certificates = pair.certificate.contents.certificates
    if not certificates:
        return []
    leaf = certificates[0]
    role = table.ROLES.get(pair.role or "")
    if role and role.is_ca and not leaf.is_ca:
        return [_finding(pair, layout, "It is not marked as a CA: nothing that it issued counts.")]
    if leaf.self_signed and (not role or role.is_ca) and not pair.authorities:
        if signed_by(leaf, leaf) is not False:
            return []
        return [_finding(pair, layout, "It names itself as its issuer, but another key signed it.")]
    if not pair.authorities:
        if role and role.ca:
            return [_unknown(pair, f"The CA that must have issued it ({role.ca}) is not at hand.")]
        return []
    walk = _walk(leaf, certificates[1:], pair.authorities)
    if not walk.anchored:
        return [_finding(pair, layout, _why_not(pair, walk, at_hand))]
    return (
        _unverified(pair, walk)
        + _ends_first(pair, limits, layout, walk)
        + _second_opinion(pair, layout, walk)
    )


def _walk(
    leaf: Certificate, between: t.Sequence[Certificate], authorities: t.Sequence[Certificate]
) -> _Walk:
    """Follow issuers from the leaf; an authority wins over an intermediate certificate."""
    chain = [leaf]
    anchors = {each.fingerprint for each in authorities}
    verified = True
    while len(chain) <= _DEEPEST:
        last = chain[-1]
        if last.fingerprint in anchors:
            return _Walk(tuple(chain), True, verified)
        above = [
            (each, sure)
            for each in (*authorities, *between)
            if each.is_ca and each not in chain
            for sure in (signed_by(last, each),)
            if sure is not False
        ]
        if not above:
            break
        # Of a CA that was renewed with its key, the one that lives longest counts.
        above.sort(
            key=lambda each: (
                each[1] is None,
                each[0].fingerprint not in anchors,
                -each[0].not_after.timestamp(),
            )
        )
        verified = verified and above[0][1] is True
        chain.append(above[0][0])
    return _Walk(tuple(chain), False, verified)


def _why_not(pair: Pair, walk: _Walk, at_hand: t.Sequence[tuple[str, Certificate]]) -> str:
    last = walk.chain[-1]
    expected = " or ".join(short(each) for each in pair.authorities[:3])
    marked = [each for each in pair.authorities if signed_by(last, each) and not each.is_ca]
    if marked:
        return f"The certificate that issued it, {short(marked[0])}, is not marked as a CA."
    if last.self_signed and len(walk.chain) == 1:
        return f"It has signed itself; expected a certificate of {expected}."
    whose = "It is" if last is walk.chain[0] else f"Its chain ends in {short(last)},"
    signers = [(where, each) for where, each in at_hand if signed_by(last, each)]
    if signers:
        where, signer = signers[0]
        return f"{whose} signed by {short(signer)} of {where}; expected {expected}."
    if any(last.issuer == each.subject for each in pair.authorities):
        return (
            f"{whose} issued in the name of {last.issuer}, but not signed by the key of {expected}: "
            "that CA was replaced, or another cluster has one of the same name."
        )
    return f"{whose} issued by {last.issuer or '(nobody)'}; expected {expected}."


def _unverified(pair: Pair, walk: _Walk) -> list[Finding]:
    """Tell of signatures that were taken by their names; weak ones are told as such already."""
    unknown = [each for each in walk.chain if each.signature_hash not in WEAK_HASHES]
    if walk.verified or len(unknown) < len(walk.chain):
        return []
    return [_unknown(pair, "Its CA is named right, but no such signature can be verified here.")]


def _ends_first(pair: Pair, limits: Limits, layout: str, walk: _Walk) -> list[Finding]:
    leaf = walk.chain[0]
    first = min(walk.chain[1:], key=lambda each: each.not_after, default=leaf)
    if first.not_after >= leaf.not_after:
        return []
    known = table.ROLES.get(pair.role or "")
    ended = first.not_after < limits.now
    return [
        dataclasses.replace(
            _finding(
                pair,
                layout,
                f"It lasts until {_time.rfc3339(leaf.not_after)}, but its CA {short(first)} "
                f"{'ended' if ended else 'ends'} before, on {_time.rfc3339(first.not_after)}: "
                "nothing trusts it from then on.",
            ),
            kind=Kind.CA_ENDS_FIRST,
            severity=Severity.CRITICAL if is_urgent(first, limits) else Severity.WARNING,
            action=("" if ended else "Plan to replace the CA before that day. ")
            + table.renewal(known.ca if known and known.ca else "ca", layout=layout),
        )
    ]


def _second_opinion(pair: Pair, layout: str, walk: _Walk) -> list[Finding]:
    start = max(each.not_before for each in walk.chain)
    end = min(each.not_after for each in walk.chain)
    fits = (
        int(_deps.load("cryptography").__version__.split(".")[0]) >= _EXTENSION_POLICIES
        and start <= end
        and all(_is_plain(each) for each in walk.chain)
        and len(walk.chain) > 1
    )
    if not fits:
        return []
    x509 = _deps.load("cryptography.x509")
    verification = _deps.load("cryptography.x509.verification")
    policies = verification.ExtensionPolicy
    authorities = policies.permit_all().require_present(
        x509.BasicConstraints, verification.Criticality.AGNOSTIC, None
    )
    moment = start.astimezone(dt.timezone.utc).replace(tzinfo=None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            store = verification.Store([reading.foreign(walk.chain[-1])])
            builder = verification.PolicyBuilder().store(store).time(moment)
            builder = builder.extension_policies(
                ca_policy=authorities, ee_policy=policies.permit_all()
            )
            between = [reading.foreign(each) for each in walk.chain[1:-1]]
            builder.build_client_verifier().verify(reading.foreign(walk.chain[0]), between)
    except verification.VerificationError as exc:
        # Only names of fields and rules of RFC 5280, and the certificate's subject.
        reason = str(exc).split(" (encountered", maxsplit=1)[0]
        return [
            dataclasses.replace(
                _finding(pair, layout, f"Its chain breaks a rule of RFC 5280: {reason[:200]}."),
                severity=Severity.WARNING,
            )
        ]
    except ValueError:
        return [_unknown(pair, "Its chain can't be verified: an extension of it can't be read.")]
    return []


def _is_plain(certificate: Certificate) -> bool:
    """Tell whether cryptography's verification knows its algorithms."""
    least, most = _STRONG_BITS.get(certificate.key_algorithm, (1, 0))
    bits = certificate.key_bits or 0
    return least <= bits <= most and certificate.signature_hash in _STRONG_HASHES


def _finding(pair: Pair, layout: str, message: str) -> Finding:
    action = f"{table.renewal(pair.role, layout=layout)} {table.restart(pair.role, layout=layout)}"
    role = table.ROLES.get(pair.role or "")
    known = role is not None and role.ca and layout in ("kubeadm", "systemd")
    beside = f"{role.ca}.crt" if role and known else "the CA beside it"
    return Finding(
        kind=Kind.CHAIN,
        severity=Severity.CRITICAL,
        subject=_subject(pair.certificate),
        where=pair.certificate.where,
        message=message,
        action=f"If {beside} was replaced, put the right one back from a backup. Otherwise: "
        f"{action.strip()}",
        name=pair.certificate.name,
    )


def _unknown(pair: Pair, message: str) -> Finding:
    return Finding(
        kind=Kind.NOT_LOOKED_AT,
        severity=Severity.WARNING,
        subject=_subject(pair.certificate),
        where=pair.certificate.where,
        message=f"{message} Its chain was not verified.",
        action="Put the CA's certificate back, or name it in paths.",
        name=pair.certificate.name,
    )


def _subject(carrier: Carrier) -> str:
    return carrier.contents.certificates[0].subject
