# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive in the container of an AWX job is told from one on a mount."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._archive.awx import awx_warning
from ansible_collections.controlplane.etcd.plugins.module_utils._node.space import file_system

# /proc is a mount of its own on every Linux.
MOUNT = "/proc"


def test_awx_warning_outside_awx_is_empty(tmp_path: Path) -> None:
    assert awx_warning(str(tmp_path), {}) == ""


@pytest.mark.parametrize("private", ["", "/archive"], ids=["same place", "below the same mount"])
def test_awx_warning_in_the_jobs_own_file_system_names_the_archive(
    tmp_path: Path, private: str
) -> None:
    said = awx_warning(f"{tmp_path}/archive", {"AWX_PRIVATE_DATA_DIR": f"{tmp_path}{private}"})
    assert f"{tmp_path}/archive" in said
    assert file_system(str(tmp_path)).mount_point in said
    assert "AWX_ISOLATION_SHOW_PATHS" in said


def test_awx_warning_on_a_mount_is_empty(tmp_path: Path) -> None:
    assert awx_warning(MOUNT, {"AWX_PRIVATE_DATA_DIR": str(tmp_path)}) == ""
