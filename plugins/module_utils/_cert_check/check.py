# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""From options to an answer: look at a host, or bring several hosts' answers together."""

from __future__ import annotations

import dataclasses
import datetime as dt
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _query, _time
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    CertificatesUnsound,
    LayoutError,
    OptionInvalid,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._node import handshake
from ansible_collections.controlplane.etcd.plugins.module_utils._pki import (
    checks,
    reading,
    served,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._pki.model import (
    Carrier,
    Certificate,
    Finding,
    Handshake,
    Limits,
    Pair,
    Severity,
)

from . import endpoints as places
from . import kubeconfigs, report, started, trust
from .look import Looked, look
from .pairing import pairs as pairs_of

__all__ = ["Answer", "Options", "check"]

_SHOWN = 5
_Names = t.Mapping[str, t.Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Options:
    """What to look at, and from when on what counts."""

    layout: str = "auto"
    certificates_dir: str | None = None
    static_pod_path: str | None = None
    data_dir: str | None = None
    paths: tuple[str, ...] = ()
    served: bool = True
    endpoints: tuple[str, ...] = ()
    timeout: float = 5.0
    warn_days: int = 30
    fail_days: int = 7
    fail_on: str = "critical"
    ca_key_forbidden: bool = False
    controller_time: str | None = None
    max_clock_skew: float = 30.0
    query: str | None = None
    root: str = "/"
    """Another place of the host's file tree, for recorded trees."""

    def __post_init__(self) -> None:
        if not 0 <= self.fail_days <= self.warn_days:
            raise OptionInvalid(
                f"Option fail_days is {self.fail_days} and warn_days {self.warn_days}: a warning "
                "would come after the failure.",
                hint="Have 0 <= fail_days <= warn_days.",
            )
        if self.timeout <= 0:
            raise OptionInvalid(
                "Option timeout is 0: no endpoint answers in no time.", hint="Use 5s."
            )


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the module returns, and why it fails."""

    result: t.Mapping[str, t.Any]
    failed: CertificatesUnsound | None


@dataclasses.dataclass(frozen=True)
class _Seen:
    """A handshake, and the file on disk that it is compared with."""

    handshake: Handshake
    on_disk: Carrier | None


def check(options: Options, *, now: dt.datetime) -> Answer:
    """Look at this host.

    :raises LayoutError: there is no control plane here, or not one certificate.
    :raises OptionInvalid: nothing lies at the paths, or an option can't be used.
    """
    query = (
        _query.Query(options.query, noun="certificates", example="[?days_left < `60`].path")
        if options.query
        else None
    )
    controller = _moment(options.controller_time) if options.controller_time else None
    named = [places.parse(text) for text in options.endpoints]
    looked = look(
        options.layout,
        certificates_dir=options.certificates_dir,
        static_pod_path=options.static_pod_path,
        data_dir=options.data_dir,
        paths=options.paths,
        root=options.root,
    )
    limits = Limits(now, options.warn_days, options.fail_days, options.ca_key_forbidden)
    pairs = pairs_of(looked)
    if not pairs:
        raise _no_certificate(looked, options.paths)
    seen = _see(looked, named, pairs, options)
    wanted = places.names_wanted(looked)
    findings = [
        *looked.findings,
        *_of_files(looked, pairs, limits, wanted),
        *_of_served(looked, seen, pairs, limits, wanted),
        *(started.not_loaded(looked) if options.served else ()),
    ]
    skew = report.clock_skew(now, controller)
    if skew is not None:
        findings += served.check_clock(
            skew,
            limit_seconds=options.max_clock_skew,
            where="this host's clock",
            against="the controller's",
        )
    findings = checks.worst_first(report.soften(findings, looked.unused))
    certificates = report.show(pairs, limits, unused=looked.unused)
    soonest = report.soonest(certificates)
    result: dict[str, t.Any] = {
        "layout": looked.layout,
        "certificates": certificates,
        "findings": [each.as_dict() for each in findings],
        "served": report.served(
            (
                each.handshake,
                each.on_disk,
                served.served_state(each.handshake, on_disk=each.on_disk),
            )
            for each in seen
        ),
        "soonest": soonest,
        "days_left": soonest["days_left"] if soonest else None,
        "counts": report.count(findings, len(certificates)),
        "shared": report.shared(looked),
        "clock_skew_seconds": None if skew is None else round(skew),
    }
    if query:
        result["query_result"] = query.apply(certificates)
    return Answer(result, failure(result["findings"], options.fail_on))


def _moment(text: str) -> dt.datetime:
    try:
        return _time.parse_rfc3339(text)
    except ValueError as exc:
        raise OptionInvalid(f"Option controller_time: {exc}.", hint="Correct the option.") from exc


def failure(
    findings: t.Sequence[t.Mapping[str, t.Any]], fail_on: str
) -> CertificatesUnsound | None:
    """Return the error to fail with, if any finding is as bad as `fail_on`."""
    bad = {
        "critical": (Severity.CRITICAL.value,),
        "warning": (Severity.CRITICAL.value, Severity.WARNING.value),
        "never": (),
    }[fail_on]
    worst = [each for each in findings if each["severity"] in bad]
    if not worst:
        return None
    told = [
        f"{each['where']}: {each['message']} {each['action']}".strip() for each in worst[:_SHOWN]
    ]
    more = f" And {len(worst) - _SHOWN} more, in findings." if len(worst) > _SHOWN else ""
    return CertificatesUnsound(
        f"{len(worst)} finding(s) about certificates are {' or '.join(bad)}. "
        + " ".join(told)
        + more,
        path=str(worst[0]["where"]),
    )


def _no_certificate(looked: Looked, paths: t.Sequence[str]) -> LayoutError | OptionInvalid:
    first = f" {looked.findings[0].message}" if looked.findings else ""
    if paths:
        return OptionInvalid(
            f"Not one certificate was found at {', '.join(paths)} (option paths).{first}",
            hint="Name files or folders with certificates or kubeconfigs.",
        )
    return LayoutError(
        f"Not one certificate was found on this host (layout {looked.layout}).{first}",
        hint="Run it on a control-plane host, with become; see certificates_dir and paths.",
    )


def _of_files(
    looked: Looked, pairs: t.Sequence[Pair], limits: Limits, wanted: _Names
) -> t.Iterator[Finding]:
    authorities = _authorities(looked)
    for pair in pairs:
        yield from checks.check_pair(
            pair,
            limits=limits,
            layout=looked.layout,
            names_wanted=[name for role in _roles(looked, pair) for name in wanted.get(role, ())],
            at_hand=authorities,
        )
    ca_public_keys = {each.public_key for _where, each in authorities}
    paired = {(each.certificate.path, each.certificate.field) for each in pairs}
    for carrier in looked.carriers:
        if carrier.contents.keys:
            yield from checks.check_key_file(
                carrier, limits=limits, layout=looked.layout, ca_public_keys=ca_public_keys
            )
        elif (carrier.path, carrier.field) not in paired:
            yield from checks.check_contents(carrier, layout=looked.layout)
    yield from report.sa_mismatch(looked)
    yield from trust.mistrust(looked)
    yield from kubeconfigs.mistaken(looked)


def _roles(looked: Looked, pair: Pair) -> tuple[str, ...]:
    """Return all roles of a certificate: kubespray's members serve clients and peers with one."""
    if pair.certificate.field is None and pair.role:
        return looked.roles_of(pair.certificate.path) or (pair.role,)
    return (pair.role or "",)


def _authorities(looked: Looked) -> list[tuple[str, Certificate]]:
    return [
        (carrier.where, each)
        for carrier in looked.carriers
        for each in carrier.contents.certificates
        if each.is_ca
    ]


def _see(
    looked: Looked, named: t.Sequence[places.Endpoint], pairs: t.Sequence[Pair], options: Options
) -> list[_Seen]:
    own = places.endpoints(looked) if options.served else []
    known = {each.target for each in own}
    wanted = [*own, *(each for each in named if each.target not in known)]
    answers = handshake.see_all(
        [handshake.Request(each.target, each.client) for each in wanted], timeout=options.timeout
    )
    leaves = {
        each.certificate.contents.certificates[0].fingerprint: each.certificate for each in pairs
    }
    found = []
    for endpoint in wanted:
        answer = answers[endpoint.target]
        leaf = reading.certificate(answer.der) if answer.der else None
        problem = answer.problem
        if answer.der and leaf is None:
            problem = "its certificate can't be read"
        on_disk = looked.file_at(endpoint.path)
        if on_disk is None and leaf is not None:
            on_disk = leaves.get(leaf.fingerprint)
        found.append(_Seen(Handshake(str(endpoint.target), endpoint.role, leaf, problem), on_disk))
    return found


def _of_served(
    looked: Looked,
    seen: t.Sequence[_Seen],
    pairs: t.Sequence[Pair],
    limits: Limits,
    wanted: _Names,
) -> t.Iterator[Finding]:
    authorities = {each.role: each.authorities for each in pairs if each.role}
    for each in seen:
        role = each.handshake.role
        yield from served.check_served(
            each.handshake,
            on_disk=each.on_disk,
            limits=limits,
            layout=looked.layout,
            names_wanted=wanted.get(role, ()),
            authorities=authorities.get(role, ()),
        )
