# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of etcd_deliver: an entry, trusted, sealed to the host in a stream."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.controlplane.etcd.plugins.module_utils import _argspec, _time
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    choose,
    names,
    owner,
    reseal,
    store,
    uses,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.summary import summary
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    EtcdToolError,
    OptionInvalid,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._module import exposed
from ansible_collections.controlplane.etcd.plugins.plugin_utils import (
    _delivery,
    _transfer,
    _upload,
)

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.manifest import (
        File,
        Tool,
    )

_MODULE = "controlplane.etcd.etcd_deliver"
_ARGUMENT_SPEC: dict[str, t.Any] = {
    **_argspec.ARCHIVE,
    **_argspec.IDENTITY,
    **_argspec.DELIVERY,
}
Vars = t.Mapping[str, t.Any]


@dataclasses.dataclass(frozen=True)
class _Chosen:
    """What is delivered: everything known of it before the host is asked."""

    place: store.DirectoryStore
    choice: choose.Choice
    files: tuple[File, ...]
    identities: tuple[t.Any, ...]
    manifest: bytes


class ActionModule(ActionBase):
    """Choose and trust, look at the host, begin there, seal and send file by file, place."""

    _supports_check_mode = True
    _supports_async = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None
    ) -> dict[str, t.Any]:
        """Return what M(controlplane.etcd.etcd_deliver) documents."""
        result = super().run(tmp, task_vars)
        _spec, args = self.validate_argument_spec(
            argument_spec=_ARGUMENT_SPEC,
            required_if=[
                ("state", "present", ("archive", "etcd_cluster")),
                ("state", "absent", ("delivery",)),
            ],
        )
        self._vars: Vars = task_vars or {}
        self._host = self._vars.get("inventory_hostname", "the host")
        try:
            _refuse_private_keys(args)
            if args["state"] == "absent":
                answer = self._on_host({"state": "absent", "delivery": args["delivery"]})
                if args["archive"] and args["etcd_cluster"] and not self._task.check_mode:
                    uses.let_go(store.open_store(args["archive"]), _prefix(args), args["delivery"])
                kept = ("changed", "delivery", "warnings")
                result.update({name: answer[name] for name in kept if name in answer})
            else:
                self._deliver(args, result)
        except EtcdToolError as exc:
            result.update(failed=True, msg=str(exc), error=exc.as_dict())
        return result

    def _deliver(self, args: Vars, result: dict[str, t.Any]) -> None:
        place = store.open_store(args["archive"])
        prefix = _prefix(args)
        signers = _argspec.signers(args)
        now = _time.now()
        me = owner.of_process(owner.ansible_process(), now=now)
        wanted = _delivery.wanted(args["id"], args["before"])
        choice = choose.choose(place, prefix, signers, wanted, now=now)
        result["entry"] = summary(choice.entry)
        result["warnings"] = [f"Not usable: entry {why}." for why in choice.passed_over]
        with uses.in_use(place, prefix, choice.entry.id, user=me):
            files = _delivery.files_of(choice.entry, args["parts"], args["host"])
            data = choose.trusted(place, choice.entry, signers, only=[file.name for file in files])
            sealed = any(file.encryption.scheme != "none" for file in files)
            identities = reseal.identities_of(args["identities"]) if sealed else ()
            chosen = _Chosen(place, choice, tuple(files), identities, data)
            answer = self._to_host(chosen, args, me)
            result.update(answer, warnings=result["warnings"] + answer["warnings"])

    def _to_host(self, chosen: _Chosen, args: Vars, me: owner.Owner) -> dict[str, t.Any]:
        entry, files = chosen.choice.entry, chosen.files
        seen = self._on_host({"step": "look", "dest_dir": args["dest_dir"]})
        tools = _delivery.tools_of(entry, args["tools"], seen["platform"])
        _delivery.check_tools(chosen.place, tools)
        spool_needed, spool_free = _delivery.check_spool(args["spool_dir"], files)
        label = me.label(os.path.realpath(chosen.place.path(entry.prefix)))
        removed = _delivery.stale(seen["deliveries"], me=me, label=label, now=_time.now())
        needed = _delivery.needed_bytes(files, tools)
        answer: dict[str, t.Any] = {
            "changed": True,
            "files": [_told(file, file.size_bytes) for file in files],
            "tools": [
                {
                    "name": tool.name,
                    "path": f"tools/{tool.name}",
                    "version": tool.version,
                    "sha256": tool.sha256,
                    "size_bytes": tool.size_bytes,
                }
                for tool in tools
            ],
            "plan": {
                "platform": seen["platform"],
                "dest_dir": args["dest_dir"],
                "needed_bytes": needed,
                "free_bytes": seen["free_bytes"],
                "spool_dir": args["spool_dir"],
                "spool_needed_bytes": spool_needed,
                "spool_free_bytes": spool_free,
                "removed": removed,
            },
            "seconds": 0.0,
            "warnings": [],
        }
        if self._task.check_mode:
            _delivery.check_room(entry.id, args["dest_dir"], self._host, needed, seen["free_bytes"])
            return answer
        started = _time.monotonic()
        # Without pipelining the look has made one, which a second one would take the place of.
        if self._connection._shell.tmpdir is None:
            self._make_tmp_path()
        try:
            request = {
                "entry": entry.id,
                "label": label,
                "owner": _delivery.own_marks(me),
                "stage_dir": self._connection._shell.tmpdir,
                "needed_bytes": needed,
                "stale": removed,
            }
            begun = self._on_host(
                {"step": "begin", "dest_dir": args["dest_dir"], "request": request}
            )
            stuck = begun["stuck"]
            answer["plan"]["removed"] = [path for path in removed if path not in stuck]
            answer["warnings"] = [f"{self._host}: {why}" for why in stuck.values()]
            held = (chosen.place, entry.prefix)
            try:
                # Whoever restores from it keeps the entry, until a proof says what came of that.
                uses.hold(*held, entry.id, begun["delivery"], user=me)
                answer["files"] = self._fill(chosen, tools, begun, args["spool_dir"])
            except BaseException:
                uses.let_go(*held, begun["delivery"])
                # The host may be gone; then the next run sweeps.
                with contextlib.suppress(Exception):
                    self._on_host({"state": "absent", "delivery": begun["delivery"]})
                raise
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        answer["seconds"] = round(_time.monotonic() - started, 3)
        return {**answer, "delivery": begun["delivery"], "identity": begun["identity"]}

    def _fill(
        self, chosen: _Chosen, tools: t.Sequence[Tool], begun: Vars, spool_dir: str
    ) -> list[dict[str, t.Any]]:
        """Send everything, and have it placed; return the files as they lie there."""
        arrivals: list[dict[str, t.Any]] = []
        told: list[dict[str, t.Any]] = []
        entry = chosen.choice.entry
        for file in chosen.files:
            with _delivery.resealed(
                chosen.place,
                entry,
                file,
                recipient=begun["recipient"],
                identities=chosen.identities,
                spool_dir=spool_dir,
            ) as staged:
                name = _delivery.delivered_name(file)
                arrivals.append(self._send(staged, name, len(arrivals), begun, mode=0o600))
                told.append(_told(file, staged.size_bytes))
        for tool in tools:
            path = os.path.join(chosen.place.location, tool.path)
            staged = _delivery.Staged(path, tool.size_bytes, tool.sha256)
            name = f"tools/{tool.name}"
            arrivals.append(self._send(staged, name, len(arrivals), begun, mode=0o755))
        self._on_host(
            {
                "step": "place",
                "request": {"delivery": begun["delivery"], "arrivals": arrivals},
                "content": chosen.manifest.decode(),
            }
        )
        return told

    def _send(
        self, staged: _delivery.Staged, name: str, number: int, begun: Vars, *, mode: int
    ) -> dict[str, t.Any]:
        """Send one file to the incoming folder; return what has to arrive there."""
        request = {"delivery": begun["delivery"], "staged": str(number)}
        with _transfer.Progress(
            f"[{self._host}] etcd_deliver {name}",
            staged.size_bytes,
            Display().display,
            come=lambda: _upload.far(staged.path),
        ):
            _upload.send(
                self._connection,
                staged.path,
                os.path.join(begun["incoming"], str(number)),
                what=f"{name} to {self._host}",
                write_slice=lambda offset, content: self._on_host(
                    {"step": "slice", "request": {**request, "offset": offset}, "content": content}
                ),
            )
        return {
            "staged": str(number),
            "name": name,
            "size_bytes": staged.size_bytes,
            "sha256": staged.sha256,
            "mode": mode,
        }

    def _on_host(self, args: dict[str, t.Any]) -> dict[str, t.Any]:
        answer = self._execute_module(
            module_name=_MODULE, module_args=args, task_vars=dict(self._vars)
        )
        if answer.get("failed") or answer.get("unreachable"):
            error = _delivery.host_error(self._host, answer)
            raise error or AnsibleActionFail(f"{self._host}: {answer.get('msg')}", result=answer)
        return answer


def _prefix(args: Vars) -> names.Prefix:
    return names.Prefix(args["etcd_cluster"], args["etcd_instance"] or names.MAIN)


def _refuse_private_keys(args: Vars) -> None:
    """Have no error show a key: what a module would hide, nobody hides here.

    :raises OptionInvalid: an option holds a private key's text.
    """
    for name, value in args.items():
        if exposed({name: value}):
            raise OptionInvalid(
                f"Option {name} holds a PRIVATE key's text: it was not used, and is not shown here.",
                hint="Give the path of the key's file, or a public key in allowed_signers. Treat "
                "this private key as exposed: it stood where inventories and logs see it.",
            )


def _told(file: File, size_bytes: int) -> dict[str, t.Any]:
    return {
        "name": _delivery.delivered_name(file),
        "part": file.part,
        "host": file.host,
        "size_bytes": size_bytes,
    }
