# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The boundary hides secrets that were given in options which are shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.common.parameters import PASS_VARS

from ansible_collections.controlplane.etcd.plugins.module_utils import _module

COLLECTIONS = str(Path(str(_module.__file__)).parents[5])
MODULES = "ansible_collections.controlplane.etcd.plugins.modules"
AGE = "AGE-SECRET-KEY-1QQPZRY9X8GF2TVDW0S3JN54KHCE6MUA7LQQPZRY9X8GF2TVDW0S3"
PEM = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\nQyNTUx\n-----END OPENSSH PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("params", "hidden"),
    [
        ({"recipients": ["age1abc", AGE]}, {AGE}),
        ({"recipients": {"pki": [AGE.lower()], "data": ["age1abc"]}}, {AGE.lower()}),
        ({"user": "root:s3cret:x"}, {"s3cret:x"}),
        ({"user": "root", "password": None, "endpoints": None}, set()),
        ({"signing_key": "/root/.ssh/id_ed25519", "recipients": ["ssh-ed25519 AAAA"]}, set()),
    ],
    ids=["age", "dictionary", "user-password", "nothing", "public"],
)
def test_exposed_finds_secrets(params: dict[str, t.Any], hidden: set[str]) -> None:
    assert _module.exposed(params) == hidden


def test_exposed_finds_each_line_of_a_private_key() -> None:
    found = _module.exposed({"signing_key": PEM})
    assert {PEM, "b3BlbnNzaC1rZXktdjEAAAAA"} <= found
    assert "QyNTUx" not in found  # too short: it would hide other words


@pytest.mark.parametrize(
    ("module", "options", "secret"),
    [
        ("etcd_snapshot", {"dest_dir": "/nowhere", "recipients": [AGE]}, AGE),
        (
            "etcd_snapshot",
            {"dest_dir": "/nowhere", "layout": "no", "user": "root:s3cret"},
            "s3cret",
        ),
        ("etcd_kit", {"dest_dir": "/nowhere", "recipients": {"pki": [AGE]}}, AGE),
        ("etcd_info", {"user": "root:s3cret", "command_timeout": "never"}, "s3cret"),
    ],
    ids=["recipient", "refused-option", "kit", "user"],
)
def test_failing_module_shows_no_secret(
    module: str, options: dict[str, t.Any], secret: str
) -> None:
    # ansible-core 2.20 and later tell the options back only where they are asked to.
    asked = {"_ansible_inject_invocation": True} if "inject_invocation" in PASS_VARS else {}
    done = subprocess.run(
        [sys.executable, "-m", f"{MODULES}.{module}"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": {**options, **asked}}),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([COLLECTIONS, *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    result = json.loads(done.stdout)
    assert result["failed"]
    assert "invocation" in result  # where options are shown, at -vvv
    assert secret not in done.stdout + done.stderr
