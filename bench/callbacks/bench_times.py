# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write down when ansible-playbook begins each task."""

from __future__ import annotations

import json
import os
import time
import typing as t

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: bench_times
type: notification
short_description: Write down when ansible-playbook begins each task
description: One JSON line a task, and one at the end, to the file that BENCH_TIMES names.
"""


class CallbackModule(CallbackBase):
    """One JSON line a task: its name and the time of day."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "bench_times"
    CALLBACK_NEEDS_ENABLED = True

    def _tell(self, name: str) -> None:
        with open(os.environ["BENCH_TIMES"], "a", encoding="utf-8") as target:
            target.write(json.dumps({"task": name, "at": time.time()}) + "\n")

    def v2_playbook_on_task_start(self, task: t.Any, is_conditional: bool) -> None:
        self._tell(str(task.get_name()).rpartition(" : ")[2])

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        self._tell("")
