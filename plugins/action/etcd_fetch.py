# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of etcd_fetch: a file of a host, verified, under its name or not at all."""

from __future__ import annotations

import os
import typing as t

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.controlplane.etcd.plugins.module_utils import _time
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    EtcdToolError,
    TransferError,
)
from ansible_collections.controlplane.etcd.plugins.plugin_utils import _transfer

_MODULE = "controlplane.etcd.etcd_fetch"


class ActionModule(ActionBase):
    """Stage on the host, transfer into a part file, compare, rename."""

    _supports_check_mode = True
    _supports_async = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None
    ) -> dict[str, t.Any]:
        """Return what M(controlplane.etcd.etcd_fetch) documents."""
        result = super().run(tmp, task_vars)
        _spec, args = self.validate_argument_spec(
            argument_spec={
                "src": {"type": "path", "required": True},
                "dest": {"type": "path", "required": True},
                "sha256": {"type": "str"},
            }
        )
        wish = _transfer.Wish(
            host=(task_vars or {}).get("inventory_hostname", "the host"),
            src=args["src"],
            dest=args["dest"],
            sha256=args["sha256"],
        )
        try:
            result.update(self._fetch(wish, task_vars or {}))
        except EtcdToolError as exc:
            result.update(failed=True, msg=str(exc), error=exc.as_dict())
        return result

    def _fetch(self, wish: _transfer.Wish, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        there = _transfer.already_there(wish)
        if there is not None:
            return {"changed": False, "dest": wish.dest, "seconds": 0.0, **there}
        staged: dict[str, t.Any] = {}
        self._make_tmp_path()
        try:
            asked = _time.now().timestamp()
            staged = self._on_host(
                {"src": wish.src, "stage_dir": self._connection._shell.tmpdir}, wish, task_vars
            )
            skew = round(staged["clock"] - (asked + _time.now().timestamp()) / 2)
            figures = {"size_bytes": staged["size_bytes"], "sha256": staged["sha256"]}
            _transfer.check_offer(wish, **figures)
            answer = {"changed": True, "dest": wish.dest, "clock_skew_seconds": skew, **figures}
            if self._task.check_mode:
                return {"seconds": 0.0, **answer}
            started = _time.monotonic()
            label = f"[{wish.host}] etcd_fetch {os.path.basename(wish.dest)}"
            with _transfer.Progress(
                label,
                staged["size_bytes"],
                Display().display,
                come=lambda: _transfer.size_of(f"{wish.dest}.part"),
            ):
                _transfer.receive(
                    wish,
                    lambda part: self._carry(staged, part, wish, task_vars),
                    **figures,
                )
            seconds = round(_time.monotonic() - started, 3)
            return {"seconds": seconds, **answer}
        finally:
            if staged.get("staged"):
                self._on_host({"src": staged["path"], "remove": True}, wish, task_vars)
            self._remove_tmp_path(self._connection._shell.tmpdir)

    def _carry(
        self, staged: dict[str, t.Any], part: str, wish: _transfer.Wish, task_vars: dict[str, t.Any]
    ) -> None:
        """Bring the staged file to `part`, by the connection or, where it can't, in slices."""
        why: Exception | None = None
        for _method in _transfer.ways(self._connection):
            try:
                self._connection.fetch_file(staged["path"], part)
                return
            except AnsibleConnectionFailure as exc:
                if _transfer.not_offered(exc):
                    why = exc
                    continue
                raise TransferError(
                    f"Fetch of {wish.src} from {wish.host} was cut off: {_transfer.last_line(exc)}.",
                    hint="Run again; what came so far was thrown away.",
                    path=wish.src,
                ) from exc
            except AnsibleError as exc:
                why = exc
        if _transfer.out_of_room(part, staged["size_bytes"]):
            raise _transfer.no_room(wish, staged["size_bytes"]) from why
        with open(part, "wb") as target:
            _transfer.in_slices(
                lambda offset, length: self._on_host(
                    {"src": staged["path"], "offset": offset, "length": length}, wish, task_vars
                )["content"],
                staged["size_bytes"],
                target,
            )

    def _on_host(
        self, args: dict[str, t.Any], wish: _transfer.Wish, task_vars: dict[str, t.Any]
    ) -> dict[str, t.Any]:
        answer = self._execute_module(
            module_name=_MODULE, module_args={"dest": wish.dest, **args}, task_vars=task_vars
        )
        if answer.get("failed") or answer.get("unreachable"):
            raise AnsibleActionFail(f"{wish.host}: {answer.get('msg')}", result=answer)
        return answer
