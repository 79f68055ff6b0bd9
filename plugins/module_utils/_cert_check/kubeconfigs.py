# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Kubeconfigs of the control plane that log in as nobody, or as somebody else."""

from __future__ import annotations

import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._kit.model import Taken
from ansible_collections.controlplane.etcd.plugins.module_utils._kit.tree import shown
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts.model import (
    LayoutKind,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._pki import table
from ansible_collections.controlplane.etcd.plugins.module_utils._pki.model import (
    Carrier,
    Finding,
    Kind,
    Severity,
)

from .look import Looked

__all__ = ["mistaken"]

_PROGRAMS = ("controller-manager.conf", "scheduler.conf")
_ADMINS = ("admin.conf", "super-admin.conf")
_OF_WHOM = {
    role.common_name: role.name
    for role in map(table.ROLES.__getitem__, table.KUBECONFIGS)
    if role.common_name
}


def mistaken(looked: Looked) -> t.Iterator[Finding]:
    """Find kubeconfigs whose current context leads nowhere, and those that are somebody else's."""
    for file in looked.files:
        name = next((each for each in file.names if each in table.KUBECONFIGS), None)
        told = looked.file_at(shown(file.path))
        if told is not None and told.contents.problems:
            continue  # cut off, say
        for document in file.parsed.documents[:1] if name else ():
            problem = _leads_nowhere(document)
            if problem:
                yield _finding(looked, file, str(name), Severity.CRITICAL, problem)
    # kubeadm's names (phases/kubeconfig/kubeconfig.go); others give them others.
    if looked.layout != LayoutKind.KUBEADM.value:
        return
    for user in looked.users:
        carrier = looked.carried(user.pair.certificate)
        if (
            user.name not in table.KUBECONFIGS
            or carrier is None
            or not carrier.contents.certificates
        ):
            continue
        yield from _of_another(looked, user.name, carrier)


def _of_another(looked: Looked, name: str, carrier: Carrier) -> t.Iterator[Finding]:
    own = table.ROLES[name].common_name
    leaf = carrier.contents.certificates[0]
    whose = _OF_WHOM.get(leaf.common_name)
    if leaf.common_name == own or (whose is None and name not in _PROGRAMS):
        return
    if name in _ADMINS and whose in _ADMINS:
        return  # before kubeadm 1.29 there was one admin only
    # Admins may do what a program must; an unknown name may have been given the right roles.
    severity = Severity.WARNING if whose in (None, *_ADMINS) else Severity.CRITICAL
    expected = f"CN={own}" if own else "the node's own, CN=system:node:…"
    copied = f", as {whose} does" if whose else ""
    message = (
        f"It logs in as {leaf.subject}{copied}; expected {expected}: the API server gives it that "
        "one's rights."
    )
    file = next((each for each in looked.files if name in each.names), None)
    if file is not None:
        yield _finding(looked, file, name, severity, message)


def _leads_nowhere(document: t.Mapping[str, t.Any]) -> str | None:
    """Return why nobody can log in by the current context (clientcmd's client_config.go)."""
    context = document.get("current-context")
    if not isinstance(context, str) or not context:
        return "It names no current-context: nobody can log in by it."
    entry = _entry(document, "contexts", context, "context")
    if entry is None:
        return f"It has no context {_quoted(context)}, which its current-context names."
    for section, key in (("clusters", "cluster"), ("users", "user")):
        named = entry.get(key)
        if not isinstance(named, str) or _entry(document, section, named, key) is None:
            told = _quoted(named) if isinstance(named, str) and named else "at all"
            return f"Its current context {_quoted(context)} names a {key} that it lacks: {told}."
    return None


def _entry(
    document: t.Mapping[str, t.Any], section: str, name: str, key: str
) -> t.Mapping[str, t.Any] | None:
    listed = document.get(section)
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, dict) and each.get("name") == name:
            body = each.get(key)
            return body if isinstance(body, dict) else {}
    return None


def _quoted(text: str) -> str:
    return shown(text[:60])


def _finding(looked: Looked, file: Taken, name: str, severity: Severity, message: str) -> Finding:
    action = (
        f"{table.remaking(name, layout=looked.layout)} Or put it back from a backup. "
        f"{table.restart(name, layout=looked.layout)}"
    )
    return Finding(
        kind=Kind.KUBECONFIG,
        severity=severity,
        subject=name,
        where=shown(file.path),
        message=message,
        action=action.strip(),
        name=name,
    )
