# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The boundary between Ansible and the core: the only file that names AnsibleModule."""

from __future__ import annotations

import dataclasses
import signal
import sys
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.respawn import has_respawned, respawn_module

from ansible_collections.controlplane.etcd.plugins.module_utils import _deps
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    DependencyMissing,
    EtcdToolError,
)

__all__ = ["Call", "Outcome", "run"]

# Where role etcd_runtime makes the environment unless told otherwise.
_RUNTIME_PYTHON = "/opt/controlplane-etcd/venv/bin/python"


@dataclasses.dataclass(frozen=True)
class Call:
    """What a module was asked: its checked options and the mode it runs in."""

    params: t.Mapping[str, t.Any]
    check_mode: bool
    diff_mode: bool


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a module answers: `result` becomes the return values as it stands."""

    result: t.Mapping[str, t.Any]
    changed: bool = False
    warnings: t.Sequence[str] = ()
    diff: t.Mapping[str, t.Any] | None = None


def run(
    argument_spec: t.Mapping[str, t.Any],
    action: t.Callable[[Call], Outcome],
    *,
    needs: t.Sequence[str] = (),
    **constraints: t.Any,
) -> None:
    """Check the options, call `action`, and exit as a module does.

    `needs` are the third-party imports that the action can't do without: where this interpreter
    lacks one, the module starts again in the environment that role etcd_runtime made, or fails
    saying what is missing. `constraints` go to AnsibleModule (required_if and the like). SIGTERM
    and SIGHUP end the module by SystemExit, so that every `finally` runs.
    """
    module = AnsibleModule(
        argument_spec=dict(argument_spec), supports_check_mode=True, **constraints
    )
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)
    # etcdctl's --user name:password, also out of ETCDCTL_USER: what follows the colon is a secret.
    secret = str(module.params.get("user") or "").partition(":")[2]
    if secret:
        module.no_log_values.add(secret)
    call = Call(module.params, module.check_mode, module._diff)
    try:
        _ensure(needs)
        outcome = action(call)
    except EtcdToolError as exc:
        module.fail_json(msg=str(exc), error=exc.as_dict())
    for warning in outcome.warnings:
        module.warn(warning)
    result = dict(outcome.result)
    if outcome.diff is not None and module._diff:
        result["diff"] = dict(outcome.diff)
    module.exit_json(changed=outcome.changed, **result)


def _ensure(needs: t.Sequence[str]) -> None:
    """Have `needs` importable here, if need be by starting again in the runtime environment."""
    try:
        for name in needs:
            _deps.load(name)
    except DependencyMissing:
        if has_respawned() or sys.executable == _RUNTIME_PYTHON or not _is_file(_RUNTIME_PYTHON):
            raise
        respawn_module(_RUNTIME_PYTHON)  # does not come back


def _is_file(path: str) -> bool:
    try:
        with open(path, "rb"):
            return True
    except OSError:
        return False


def _exit(number: int, _frame: object) -> t.NoReturn:
    sys.exit(128 + number)
