# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Every error of the collection.

EtcdToolError
├── DependencyMissing          a Python library is not in this interpreter's environment
├── OptionInvalid              what the person gave can't be used
├── LayoutError                what lies on this host is not a layout we know, or is one we refuse
├── EndpointError              one etcd endpoint: `endpoint` says which
│   ├── EndpointUnreachable    refused, no route, closed while speaking
│   ├── CertificateRejected    TLS failed: which side, which certificate, why
│   ├── NotEtcd                something answers, but not etcd
│   ├── AuthenticationFailed   etcd's own users and roles
│   ├── NoQuorum               a linearizable read got no leader
│   ├── RevisionUnavailable    the revision asked for is compacted, or not there yet
│   └── EndpointTimeout        no answer within the deadline
├── ClusterRefused             no member may be backed up; the message says why and what the ways on are
├── SnapshotInvalid            the stream or the image is not what it must be
├── DatabaseInvalid            a bbolt file breaks its own format
├── SpaceMissing               a file system has not enough room
├── CageRefused                this host can't run a throw-away server apart from all else
├── ApiServerFailed            the kube-apiserver of a drill died, hangs, or can't be used
├── Locked                     another run holds the lock
├── SealError                  recipients or identities can't be used
│   ├── KeyMissing             no identity that was given opens what is sealed
│   └── SealDamaged            a sealed file is damaged or cut off
├── CertificatesUnsound        findings about certificates are as bad as fail_on says
├── KitError                   a file of the control plane can't be taken
├── TransferError              a file did not arrive whole
├── ManifestInvalid            a manifest, proof or record breaks its schema
├── TrustError                 a signature or sha256 that must hold does not
├── IdentityMismatch           an archive's cluster is not this one
├── ToolUnusable               a program of etcd's own can't be run here, or can't do what is asked
├── RestoreFailed              a program of etcd's own broke off over a snapshot; says its last words
├── RestoreRefused             a data folder is not made or changed as asked: it says why, nothing was touched
├── RetentionRefused           nothing may be removed from an archive; the message says why
│   ├── PolicyEmpty            the policy keeps nothing
│   ├── ClockImplausible       the newest entry is from the future
│   └── RemovalsCapped         more would be removed than in a run may be
└── ArchiveError               the archive's folder or store can't be used as asked
"""

from __future__ import annotations

import typing as t

__all__ = [
    "ApiServerFailed",
    "ArchiveError",
    "AuthenticationFailed",
    "CageRefused",
    "CertificateRejected",
    "CertificatesUnsound",
    "ClockImplausible",
    "ClusterRefused",
    "DatabaseInvalid",
    "DependencyMissing",
    "EndpointError",
    "EndpointTimeout",
    "EndpointUnreachable",
    "EtcdToolError",
    "IdentityMismatch",
    "KeyMissing",
    "KitError",
    "LayoutError",
    "Locked",
    "ManifestInvalid",
    "NoQuorum",
    "NotEtcd",
    "OptionInvalid",
    "PolicyEmpty",
    "RemovalsCapped",
    "RestoreFailed",
    "RestoreRefused",
    "RetentionRefused",
    "RevisionUnavailable",
    "SealDamaged",
    "SealError",
    "SnapshotInvalid",
    "SpaceMissing",
    "ToolUnusable",
    "TransferError",
    "TrustError",
]


class EtcdToolError(Exception):
    """Tell what failed on which object and why (`message`), and what to do next (`hint`)."""

    kind: t.ClassVar[str] = "error"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        endpoint: str | None = None,
        path: str | None = None,
    ) -> None:
        super().__init__(f"{message} {hint}".rstrip())
        self.message = message
        self.hint = hint
        self.endpoint = endpoint
        self.path = path

    def as_dict(self) -> dict[str, str | None]:
        """Return what a playbook's rescue can branch on: the RETURN value `error`."""
        return {
            "kind": self.kind,
            "message": self.message,
            "hint": self.hint,
            "endpoint": self.endpoint,
            "path": self.path,
        }


class DependencyMissing(EtcdToolError):
    """A Python library is not in this interpreter's environment."""

    kind = "dependency_missing"


class OptionInvalid(EtcdToolError):
    """An option's value can't be used."""

    kind = "option_invalid"


class LayoutError(EtcdToolError):
    """What lies on this host is not a layout we know, or is one we refuse."""

    kind = "layout"


class EndpointError(EtcdToolError):
    """One etcd endpoint failed."""

    kind = "endpoint"


class EndpointUnreachable(EndpointError):
    """Nothing answers at an endpoint, or it hung up."""

    kind = "endpoint_unreachable"


class CertificateRejected(EndpointError):
    """TLS with an endpoint failed over a certificate."""

    kind = "certificate_rejected"


class NotEtcd(EndpointError):
    """Something answers at an endpoint, but it is not etcd."""

    kind = "not_etcd"


class AuthenticationFailed(EndpointError):
    """etcd refused the user or its permissions."""

    kind = "authentication_failed"


class NoQuorum(EndpointError):
    """A linearizable read found no leader."""

    kind = "no_quorum"


class RevisionUnavailable(EndpointError):
    """A member has compacted the revision asked for, or has not reached it."""

    kind = "revision_unavailable"


class EndpointTimeout(EndpointError):
    """An endpoint did not answer within its deadline."""

    kind = "endpoint_timeout"


class ClusterRefused(EtcdToolError):
    """No member of a cluster may be used as the source."""

    kind = "cluster_refused"


class SnapshotInvalid(EtcdToolError):
    """A snapshot's stream or image is not what it must be."""

    kind = "snapshot_invalid"


class DatabaseInvalid(EtcdToolError):
    """A bbolt file breaks its own format."""

    kind = "database_invalid"


class SpaceMissing(EtcdToolError):
    """A file system has not enough room."""

    kind = "space_missing"


class CageRefused(EtcdToolError):
    """This host can't run a throw-away server apart from all else."""

    kind = "cage_refused"


class ApiServerFailed(EtcdToolError):
    """The kube-apiserver of a drill died, hangs, or answers what it must not."""

    kind = "api_server"


class Locked(EtcdToolError):
    """Another run holds the lock."""

    kind = "locked"


class SealError(EtcdToolError):
    """Recipients or identities can't be used."""

    kind = "seal"


class SealDamaged(SealError):
    """A sealed file is damaged or cut off."""

    kind = "seal_damaged"


class KeyMissing(SealError):
    """No identity that was given opens what is sealed."""

    kind = "key_missing"


class CertificatesUnsound(EtcdToolError):
    """Findings about certificates are as bad as `fail_on` says."""

    kind = "certificates"


class KitError(EtcdToolError):
    """A file of the control plane can't be taken."""

    kind = "kit"


class TransferError(EtcdToolError):
    """A file did not arrive whole."""

    kind = "transfer"


class ManifestInvalid(EtcdToolError):
    """A manifest, proof or record breaks its schema."""

    kind = "manifest_invalid"


class TrustError(EtcdToolError):
    """A signature or a sha256 that must hold does not."""

    kind = "trust"


class IdentityMismatch(EtcdToolError):
    """An archive's cluster is not this one."""

    kind = "identity_mismatch"


class ToolUnusable(EtcdToolError):
    """A program of etcd's own can't be run here, or can't do what is asked."""

    kind = "tool_unusable"


class RestoreFailed(EtcdToolError):
    """A program of etcd's own broke off over a snapshot."""

    kind = "restore_failed"


class RestoreRefused(EtcdToolError):
    """A data folder is not made or changed as asked, and nothing was touched."""

    kind = "restore_refused"


class RetentionRefused(EtcdToolError):
    """Nothing may be removed from an archive."""

    kind = "retention_refused"


class PolicyEmpty(RetentionRefused):
    """A policy keeps nothing."""

    kind = "policy_empty"


class ClockImplausible(RetentionRefused):
    """The newest entry of an archive is from the future."""

    kind = "clock_implausible"


class RemovalsCapped(RetentionRefused):
    """More would be removed than in one run may be."""

    kind = "removals_capped"


class ArchiveError(EtcdToolError):
    """The archive's folder or store can't be used as asked."""

    kind = "archive"
