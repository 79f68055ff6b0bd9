# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell a test what ansible-playbook does, as it does it; at each task's start wait for its leave."""

from __future__ import annotations

import json
import os
import socket
import typing as t

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: lab_events
type: notification
short_description: Tell a test what ansible-playbook does
description: One JSON line an event to the socket that the environment variable LAB_EVENTS names.
"""


class CallbackModule(CallbackBase):
    """One JSON line an event; a line comes back before the run goes on."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "lab_events"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(os.environ["LAB_EVENTS"])
        self._stream = self._socket.makefile("rw", encoding="utf-8")

    def _tell(self, kind: str, **fields: t.Any) -> None:
        self._stream.write(json.dumps({"kind": kind, **fields}, default=str) + "\n")
        self._stream.flush()
        self._stream.readline()

    def _result(self, how: str, result: t.Any) -> None:
        found = result._result
        self._tell(
            "result",
            how=how,
            host=result._host.get_name(),
            task=_plain(result._task),
            module=str(result._task.action),
            answer=found if how in ("ok", "failed") else {},
            msg=str(found.get("msg", "")),
            error=dict(found.get("error") or {}),
            warnings=[str(each) for each in found.get("warnings") or ()],
        )

    def v2_playbook_on_task_start(self, task: t.Any, is_conditional: bool) -> None:
        self._tell("task", task=_plain(task))

    def v2_runner_on_ok(self, result: t.Any) -> None:
        self._result("ok", result)

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        self._result("failed", result)

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        self._result("unreachable", result)

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        self._tell("stats", custom=stats.custom.get("_run", {}))


def _plain(task: t.Any) -> str:
    return str(task.get_name()).rpartition(" : ")[2]
