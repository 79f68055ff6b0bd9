# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The boundary between Ansible and the core: the only file that names AnsibleModule."""

from __future__ import annotations

import atexit
import dataclasses
import re
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

__all__ = ["Call", "Outcome", "exposed", "run"]

# Where role etcd_runtime makes the environment unless told otherwise.
_RUNTIME_PYTHON = "/opt/controlplane-etcd/venv/bin/python"

# Of a key, not of a text that tells how one looks (AGE-SECRET-KEY-1…).
_PRIVATE_KEY = re.compile(
    r"AGE-SECRET-KEY-[0-9A-Z]{2}|AGE-PLUGIN-[0-9A-Z]|PRIVATE KEY-----", re.IGNORECASE
)
_ENDING = (signal.SIGTERM, signal.SIGHUP)
_END_SECONDS = 5
# Shorter lines of a key would hide words that mean something else.
_KEY_LINE = 16


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
    failed: EtcdToolError | None = None
    """Why the task fails although all of `result` is there."""


class _Module(AnsibleModule):
    """An AnsibleModule that hides secrets given in options that hold none.

    Both methods come before anything is shown: the host's system log, and any result.
    """

    def _log_invocation(self) -> None:
        self.hide()
        super()._log_invocation()

    def fail_json(self, *args: t.Any, **kwargs: t.Any) -> t.NoReturn:
        self.hide()
        super().fail_json(*args, **kwargs)
        raise AssertionError("fail_json exits")

    def hide(self) -> None:
        """Have what `exposed` finds shown nowhere."""
        self.no_log_values.update(exposed(self.params))


def exposed(params: t.Mapping[str, t.Any]) -> set[str]:
    """Find secrets in options that are shown: private keys given for public ones or for paths.

    And the password of etcdctl's `--user name:password`, which ETCDCTL_USER may hold, too.
    """
    found: set[str] = set()
    for text in _texts(params):
        if _PRIVATE_KEY.search(text):
            lines = [line.strip() for line in text.splitlines()]
            found |= {text, *(line for line in lines if len(line) >= _KEY_LINE)}
    found.add(str(params.get("user") or "").partition(":")[2])
    return found - {""}


def _texts(value: t.Any) -> t.Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, t.Mapping):
        for name, below in value.items():
            yield str(name)
            yield from _texts(below)
    elif isinstance(value, (list, tuple)):
        for below in value:
            yield from _texts(below)


def run(
    argument_spec: t.Mapping[str, t.Any],
    action: t.Callable[[Call], Outcome],
    *,
    needs: t.Sequence[str] | t.Callable[[t.Mapping[str, t.Any]], t.Sequence[str]] = (),
    **constraints: t.Any,
) -> None:
    """Check the options, call `action`, and exit as a module does.

    `needs` are the third-party imports that the action can't do without, or what tells them from
    the options: where this interpreter lacks one, the module starts again in the environment that
    role etcd_runtime made, or fails saying what is missing. `constraints` go to AnsibleModule (required_if and the like). SIGTERM
    and SIGHUP end the module by SystemExit, so that every `finally` runs.
    """
    module = _Module(argument_spec=dict(argument_spec), supports_check_mode=True, **constraints)
    module.hide()
    for number in _ENDING:
        signal.signal(number, _exit)
    atexit.register(_end_in_time)
    call = Call(module.params, module.check_mode, module._diff)
    try:
        _ensure(needs(module.params) if callable(needs) else needs)
        outcome = action(call)
    except EtcdToolError as exc:
        module.fail_json(msg=str(exc), error=exc.as_dict())
    for warning in outcome.warnings:
        module.warn(warning)
    result = dict(outcome.result)
    if outcome.diff is not None and module._diff:
        result["diff"] = dict(outcome.diff)
    if outcome.failed:
        module.fail_json(
            msg=str(outcome.failed),
            changed=outcome.changed,
            **{**result, "error": outcome.failed.as_dict()},
        )
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


def _end_in_time() -> None:
    """Have the kernel end this process should the interpreter not get to its own end.

    A channel whose close() was broken off half-way makes grpc wait for ever when it is freed
    (_channel.py, _ChannelCallState.__del__). `_exit` lets no second signal do that; the first one
    still may, in the moment that a call's end takes. What is ours is cleaned up by then.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_END_SECONDS)


def _exit(number: int, _frame: object) -> t.NoReturn:
    # sshd and sudo may each send one: the second must not break off what the first one began.
    for each in _ENDING:
        signal.signal(each, signal.SIG_IGN)
    raise SystemExit(128 + number)
