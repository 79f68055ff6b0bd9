# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file that was written since its reader was started."""

from __future__ import annotations

import datetime as dt

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._pki.model import Finding, Severity
from ansible_collections.controlplane.etcd.plugins.module_utils._pki.served import check_started

START = dt.datetime(2026, 6, 1, 12, 0, 0, 250000, tzinfo=dt.timezone.utc)


def checked(written: dt.datetime, layout: str = "kubeadm") -> list[Finding]:
    return check_started(
        "/etc/kubernetes/scheduler.conf",
        name="scheduler.conf",
        written=written,
        component="kube-scheduler",
        pid=4711,
        started=START,
        layout=layout,
    )


def test_started_file_written_since_is_not_loaded() -> None:
    [found] = checked(START + dt.timedelta(days=170))
    assert (found.kind.value, found.severity) == ("not_loaded", Severity.WARNING)
    assert found.where == "/etc/kubernetes/scheduler.conf"
    for word in ("2026-11-18T12:00:00Z", "kube-scheduler (pid 4711)", "2026-06-01T12:00:00Z"):
        assert word in found.message
    assert "mv /etc/kubernetes/manifests/kube-scheduler.yaml" in found.action


@pytest.mark.parametrize("before", [dt.timedelta(milliseconds=250), dt.timedelta(days=9)])
def test_started_file_that_was_there_is_loaded(before: dt.timedelta) -> None:
    assert checked(START - before) == []
