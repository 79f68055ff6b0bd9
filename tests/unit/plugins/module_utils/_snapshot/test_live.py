# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused before any member is asked; the rest is tested on real etcds."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    OptionInvalid,
    SpaceMissing,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.connection import Connection
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot import live


def test_look_without_an_endpoint_says_which_option_to_set(tmp_path: Path) -> None:
    places = live.Places(spool_dir=str(tmp_path), dest_dir=str(tmp_path), data_dir=None)
    with pytest.raises(OptionInvalid, match="Set endpoints"):
        live.look(Connection(endpoints=()), places)


def test_folder_that_may_not_be_written_is_named() -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        os.chmod(place, 0o555)
        child = os.fork()
        if child == 0:  # where this is root: as somebody whom modes bind
            said = ""
            try:
                os.setuid(os.getuid() or 65534)
                live.folder(place)
            except SpaceMissing as exc:
                said = str(exc)
            os._exit(0 if place in said and "cannot be written" in said else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
