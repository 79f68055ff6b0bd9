#!/usr/bin/python
# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_fetch
short_description: Fetch one large file from a host, verified
description:
  - Copies a file from a host to the controller in constant memory, with become too, and gives it its name only once its
    sha256 is right. M(ansible.builtin.fetch) holds the whole file in memory under become.
  - A file that the connection's user can't read is staged as a copy in a private temporary folder of that user, and
    removed from there whatever happens.
  - Over ssh the transfer has a connection of its own without compression, for what is fetched is compressed already.
  - While a transfer lasts, its progress is shown every ten seconds.
version_added: 0.1.0
author:
  - controlplane.etcd authors (@controlplane)
options:
  src:
    description: The file on the host. A symbolic link is followed.
    type: path
    required: true
  dest:
    description: The file on the controller. Its folder must exist. It is written with mode 0600.
    type: path
    required: true
  sha256:
    description:
      - The lower-case hex sha256 that the file must have.
      - If omitted, the file must have the one that was computed on the host.
    type: str
  stage_dir:
    description: Used by the action plugin itself, for the folder of the connection's user on the host.
    type: path
  remove:
    description: Used by the action plugin itself, to remove a staged copy.
    type: bool
    default: false
  offset:
    description: Used by the action plugin itself, where a connection can't carry files.
    type: int
  length:
    description: Used by the action plugin itself, where a connection can't carry files.
    type: int
extends_documentation_fragment:
  - controlplane.etcd._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: The file's content is never shown.
  idempotent:
    support: full
    details: A file that is there already with the right sha256 is not fetched again.
  platform:
    support: full
"""

EXAMPLES = r"""
- name: Fetch a sealed snapshot
  controlplane.etcd.etcd_fetch:
    src: /var/tmp/controlplane-etcd-20261123T145000Z-7c9e1a2b/data.db.zst.age
    dest: /srv/archive/incoming/data.db.zst.age
    sha256: 5d41c3f7c0a5b1d6a2c8e0d1f40f6b2f5b3df2b6b7f5e2e8e3a2d1c0b9a88776
"""

RETURN = r"""
dest:
  description: The file on the controller.
  type: str
  returned: success
  sample: /srv/archive/incoming/data.db.zst.age
size_bytes:
  description: The file's size.
  type: int
  returned: success
  sample: 8388608
sha256:
  description: The lower-case hex sha256 of the file, the same on host and controller.
  type: str
  returned: success
  sample: 5d41c3f7c0a5b1d6a2c8e0d1f40f6b2f5b3df2b6b7f5e2e8e3a2d1c0b9a88776
seconds:
  description: How long the transfer took; 0 if there was none.
  type: float
  returned: success
  sample: 1.7
clock_skew_seconds:
  description: How far the host's clock is ahead of the controller's, as far as one question can tell.
  type: int
  returned: success, if the host was asked
  sample: 0
error:
  description: What failed, with a stable C(kind) to branch on.
  type: dict
  returned: failure
  sample: {"kind": "transfer"}
"""

from ansible_collections.controlplane.etcd.plugins.module_utils import _time
from ansible_collections.controlplane.etcd.plugins.module_utils._fetch import (
    read_slice,
    remove_staged,
    stage,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._module import Call, Outcome, run

ARGUMENT_SPEC = {
    "src": {"type": "path", "required": True},
    "dest": {"type": "path", "required": True},
    "sha256": {"type": "str"},
    "stage_dir": {"type": "path"},
    "remove": {"type": "bool", "default": False},
    "offset": {"type": "int"},
    "length": {"type": "int"},
}


def host_half(call: Call) -> Outcome:
    """Do on the host what the action plugin asks: look, stage, read a slice, remove."""
    params = call.params
    if params["remove"]:
        remove_staged(params["src"])
        return Outcome({})
    if params["offset"] is not None:
        return Outcome({"content": read_slice(params["src"], params["offset"], params["length"])})
    staged = stage(params["src"], params["stage_dir"], copy=not call.check_mode)
    return Outcome(
        {
            "path": staged.path,
            "staged": staged.is_copy,
            "size_bytes": staged.size_bytes,
            "sha256": staged.sha256,
            "clock": _time.now().timestamp(),
        }
    )


def main() -> None:
    """Run the module."""
    run(ARGUMENT_SPEC, host_half)


if __name__ == "__main__":
    main()
