# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server's end is waited for, and its user number is nobody's."""

from __future__ import annotations

import json
import pwd
import subprocess

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import CageRefused
from ansible_collections.controlplane.etcd.plugins.module_utils._node.cage import cage, servers
from ansible_collections.controlplane.etcd.plugins.module_utils._node.cage.servers import end_of


class Server:
    """A process whose output closes before it dies, as sockets of a killed one do."""

    def __init__(self, does: str) -> None:
        self._process = subprocess.Popen(["sh", "-c", does], stdout=subprocess.PIPE)
        assert self._process.stdout
        assert self._process.stdout.read() == b""

    def poll(self) -> str | None:
        status = self._process.poll()
        return None if status is None else f"status {status}"

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def test_the_end_of_a_server_that_is_dying_is_seen() -> None:
    server = Server("exec >&-; sleep 0.4; kill -9 $$")
    assert server.poll() is None
    assert end_of(server) == "status -9"
    server.close()


def test_a_server_that_lives_on_is_said_to() -> None:
    server = Server("exec >&-; sleep 60")
    assert end_of(server, seconds=0.2) is None
    server.close()


def test_a_number_that_has_a_name_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    root = pwd.getpwuid(0)
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: root)
    with pytest.raises(CageRefused, match="No free user number"), cage._own_user():
        pass


def test_words_of_a_server_name_no_object_and_no_key() -> None:
    line = json.dumps(
        {"level": "warn", "msg": "slow", "request": 'key:"/registry/secrets/shop/db" ', "took": 3}
    )
    said = servers.words_of(
        f"{line}\nunable to transform key /registry/secrets/shop/db: {'A' * 90}", 600
    )
    assert "shop" not in said and "A" * 90 not in said
    assert "/registry/…" in said and "unable to transform" in said
