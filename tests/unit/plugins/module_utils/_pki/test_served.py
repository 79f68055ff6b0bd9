# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is served against what lies on disk, whichever of the two is newer; and clocks."""

from __future__ import annotations

import datetime as dt
import typing as t

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._pki import reading, served
from ansible_collections.controlplane.etcd.plugins.module_utils._pki.model import (
    Carrier,
    Contents,
    Finding,
    Handshake,
    Kind,
    Severity,
)
from lab.certificates import DAY, NOW, Made, authority, make

ENDPOINT = "https://[fd00::11]:2379"


def shown(made: Made | None, problem: str | None = None, role: str = "etcd/server") -> Handshake:
    certificate = reading.read(made.pem).certificates[0] if made else None
    return Handshake(ENDPOINT, role, certificate, problem)


def check(bench: t.Any, handshake: Handshake, disk: Made | None, **more: t.Any) -> list[Finding]:
    on_disk = bench.carrier(disk.pem) if disk else None
    return served.check_served(
        handshake, on_disk=on_disk, limits=bench.limits, layout="kubeadm", **more
    )


def only(found: list[Finding]) -> Finding:
    assert len(found) == 1, [(each.kind.value, each.message) for each in found]
    assert found[0].where == ENDPOINT and found[0].action
    return found[0]


def aged(bench: t.Any, begins: float, ends: float, **more: t.Any) -> Made:
    return make(by=bench.ca, begins=NOW + begins * DAY, ends=NOW + ends * DAY, **more)


def test_served_from_disk_is_loaded_and_silent(bench: t.Any) -> None:
    made = aged(bench, -400, -1)
    assert served.served_state(shown(made), on_disk=bench.carrier(made.pem)) == "loaded"
    assert check(bench, shown(made), made, names_wanted=["elsewhere"]) == []


def test_served_from_disk_with_its_chain_is_loaded(bench: t.Any) -> None:
    made = aged(bench, -4, 90)
    carrier = bench.carrier(made.pem + bench.ca.pem)
    assert served.served_state(shown(made), on_disk=carrier) == "loaded"


@pytest.mark.parametrize(
    ("ends", "severity", "word"),
    [(60, "warning", "ends"), (3, "critical", "ends"), (-1, "critical", "ended")],
)
def test_served_older_than_disk_says_what_to_restart(
    bench: t.Any, ends: float, severity: str, word: str
) -> None:
    old, new = aged(bench, -300, ends), aged(bench, -1, 364)
    finding = only(check(bench, shown(old), new))
    assert (finding.kind, finding.severity.value) == (Kind.NOT_LOADED, severity)
    assert f"which {word} on" in finding.message and "was renewed since" in finding.message
    assert "/etc/kubernetes/pki/etcd/server.crt" in finding.message
    assert finding.action.startswith("Restart etcd: mv /etc/kubernetes/manifests/etcd.yaml")
    assert (finding.name, finding.days_left) == ("etcd/server.crt", ends)
    state = served.served_state(shown(old), on_disk=bench.carrier(new.pem))
    assert state == "not_loaded"


@pytest.mark.parametrize(("ends", "severity"), [(60, "warning"), (3, "critical"), (-1, "critical")])
def test_served_newer_than_disk_warns_of_the_next_start(
    bench: t.Any, ends: float, severity: str
) -> None:
    new, old = aged(bench, -1, 364), aged(bench, -300, ends)
    finding = only(check(bench, shown(new), old))
    assert (finding.kind, finding.severity.value) == (Kind.NOT_LOADED, severity)
    assert "holds an older one" in finding.message and "next start would load it" in finding.message
    assert "before anything is restarted" in finding.action


def test_served_before_a_renewal_that_kept_the_key_is_not_loaded(bench: t.Any) -> None:
    old = aged(bench, -300, 60)
    finding = only(check(bench, shown(old), aged(bench, -1, 364, key=old.key)))
    assert finding.kind == Kind.NOT_LOADED


def test_served_another_of_the_same_age_names_both_issuers(bench: t.Any) -> None:
    other = make(by=authority("other-ca"), begins=NOW - DAY)
    finding = only(check(bench, shown(other), aged(bench, -1, 300)))
    assert "holds another one" in finding.message
    assert "issued by CN=other-ca, the file's by CN=etcd-ca" in finding.message


def test_served_without_a_name_that_is_wanted(bench: t.Any) -> None:
    old, new = aged(bench, -300, 60, names=["cp1"]), aged(bench, -1, 364, names=["cp1", "10.0.0.1"])
    found = check(bench, shown(old), new, names_wanted=["cp1", "10.0.0.1"])
    assert [each.kind for each in found] == [Kind.NOT_LOADED, Kind.NAMES_MISSING]
    assert found[1].where == ENDPOINT


def test_served_without_a_file_is_judged_alone(bench: t.Any) -> None:
    made = aged(bench, -300, -2)
    authorities = reading.read(bench.ca.pem).certificates
    finding = only(check(bench, shown(made), None, authorities=authorities))
    assert (finding.kind, finding.severity) == (Kind.EXPIRED, Severity.CRITICAL)
    assert check(bench, shown(aged(bench, -3, 90)), None, authorities=authorities) == []
    foreign = make(by=authority("other-ca"))
    assert only(check(bench, shown(foreign), None, authorities=authorities)).kind == Kind.CHAIN
    assert served.served_state(shown(made), on_disk=None) == "not_on_disk"
    blank = Carrier("/x", None, Contents(problems=("it is empty",)))
    assert served.served_state(shown(made), on_disk=blank) == "not_on_disk"


@pytest.mark.parametrize(
    ("role", "layout", "words"),
    [
        ("etcd/server", "kubeadm", "crictl ps -a --name etcd"),
        ("etcd/peer", "systemd", "systemctl status etcd"),
        ("apiserver", "systemd", "crictl ps -a --name kube-apiserver"),
        ("kubelet", "kubeadm", "systemctl status kubelet"),
        ("apiserver", "rke2", "systemctl status rke2-server"),
        ("nonsense", "", "its log"),
    ],
)
def test_not_served_says_why_and_where_to_look(
    bench: t.Any, role: str, layout: str, words: str
) -> None:
    handshake = shown(None, "connection refused", role)
    found = served.check_served(handshake, on_disk=None, limits=bench.limits, layout=layout)
    finding = only(found)
    assert (finding.kind, finding.severity) == (Kind.NOT_SERVED, Severity.WARNING)
    assert "connection refused." in finding.message and words in finding.action
    assert served.served_state(handshake, on_disk=None) == "connection refused"


def test_not_served_without_a_reason_is_still_told(bench: t.Any) -> None:
    assert only(check(bench, shown(None), None)).kind == Kind.NOT_SERVED


@pytest.mark.parametrize(("seconds", "fires"), [(-60, False), (0, False), (1, True), (9000, True)])
def test_started_before_its_file_was_written_is_not_loaded(seconds: int, fires: bool) -> None:
    found = served.check_started(
        "/etc/kubernetes/scheduler.conf",
        name="scheduler.conf",
        written=NOW + dt.timedelta(seconds=seconds),
        component="kube-scheduler",
        pid=4711,
        started=NOW,
        layout="kubeadm",
    )
    if not fires:
        assert found == []
        return
    (finding,) = found
    assert (finding.kind, finding.severity) == (Kind.NOT_LOADED, Severity.WARNING)
    assert finding.where == "/etc/kubernetes/scheduler.conf" and "pid 4711" in finding.message
    assert "manifests/kube-scheduler.yaml" in finding.action


@pytest.mark.parametrize(
    ("skew", "words"),
    [(0, None), (30, None), (-30, None), (31, "31 s ahead of"), (-4000.4, "4000 s behind")],
)
def test_clock_that_is_off_is_told(skew: float, words: str | None) -> None:
    found = served.check_clock(skew, limit_seconds=30, where="cp1", against="the controller")
    if words is None:
        assert found == []
        return
    (finding,) = found
    assert (finding.kind, finding.severity) == (Kind.CLOCK_OFF, Severity.WARNING)
    assert words in finding.message and "the controller" in finding.message
    assert finding.where == "cp1" and "chronyc tracking" in finding.action
