# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which options of a drill are refused."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._drill.options import wish_from
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import OptionInvalid

PARAMS: dict[str, t.Any] = {
    "delivery": "/var/tmp/delivery",
    "identity": "/run/key",
    "work_dir": "/var/tmp",
    "tools": [],
    "isolation": "auto",
    "memory_max": "2G",
    "cpu_quota": "100%",
    "remove_delivery": True,
    "api": False,
    "extract": None,
}


@pytest.mark.parametrize("path", ["/var/tmp", "/srv/drill-1.2/a_b/"])
def test_a_plain_work_folder_is_taken(path: str) -> None:
    assert wish_from({**PARAMS, "work_dir": path}, start_seconds=1).work_dir == path


@pytest.mark.parametrize(
    "path", ["", "/", "tmp", "/a b", "/a%n", "/a;b", "/a\nb", "/a\n", "/a$b", "/a:b", "/ä"]
)
def test_a_work_folder_that_systemd_would_read_otherwise_is_refused(path: str) -> None:
    with pytest.raises(OptionInvalid, match="work_dir"):
        wish_from({**PARAMS, "work_dir": path}, start_seconds=1)
