# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""etcd as a systemd unit, as kubespray writes it (etcd.service, /etc/etcd.env) or by hand.

Unit files are read, systemctl is not asked: a host may be looked at while systemd is not there.
The rules are those of systemd.unit(5), systemd.exec(5) and systemd.service(5), as far as etcd's
units use them.
"""

from __future__ import annotations

import dataclasses
import glob
import os
import shlex
import socket

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import LayoutError

from . import files, flags, pods
from .kubeadm import DEFAULT_CERTIFICATES_DIR, DEFAULT_STATIC_POD_PATH, kubernetes_dir
from .model import Flags, Layout, LayoutKind, Tree
from .settings import local_endpoints, quota

__all__ = ["find_systemd"]

# In the order of precedence of systemd.unit(5).
_UNIT_FOLDERS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_DEFAULT_DATA_DIR = "{name}.etcd"
_CONTAINER_RUNTIMES = ("docker", "podman", "nerdctl")


@dataclasses.dataclass(frozen=True)
class _Unit:
    """What an etcd unit says, its variables resolved."""

    path: str
    environment_file: str | None
    variables: dict[str, str]
    flags: Flags
    config_file: str | None
    working_directory: str


def find_systemd(
    tree: Tree,
    *,
    certificates_dir: str | None,
    static_pod_path: str | None,
    data_dir: str | None,
) -> Layout | None:
    """Return the member that a systemd unit runs, None where no unit starts etcd.

    :raises LayoutError: a unit or environment file can't be read, or several units start etcds
        and `data_dir` doesn't say which one is meant.
    """
    units = [unit for unit in (_read_unit(tree, name) for name in _unit_names(tree)) if unit]
    if not units:
        return None
    unit = _choose(tree, units, data_dir)
    given = unit.flags
    wal = given.get("wal-dir")
    folder = static_pod_path or tree.path(DEFAULT_STATIC_POD_PATH)
    found = tuple(pod for pod in pods.read_folder(tree, folder) if pod.component != "etcd")
    api_server = next((pod for pod in found if pod.component == "kube-apiserver"), None)
    pki = certificates_dir
    if pki is None and api_server:
        client_ca = api_server.host_file("client-ca-file")
        pki = os.path.dirname(client_ca) if client_ca else tree.path(DEFAULT_CERTIFICATES_DIR)
    return Layout(
        kind=LayoutKind.SYSTEMD,
        name=given.get("name") or "default",
        data_dir=data_dir or _data_dir(tree, unit),
        wal_dir=tree.path(wal) if wal else None,
        endpoints=local_endpoints(given),
        peer_urls=given.split("initial-advertise-peer-urls"),
        cacert=_certificate(tree, unit, "trusted-ca-file", "ETCDCTL_CACERT"),
        cert=_certificate(tree, unit, "cert-file", "ETCDCTL_CERT"),
        key=_certificate(tree, unit, "key-file", "ETCDCTL_KEY"),
        certificates_dir=pki,
        static_pod_path=folder if found else None,
        kubernetes_dir=kubernetes_dir(tree, folder) if found else None,
        unit=unit.path,
        environment_file=unit.environment_file,
        config_file=unit.config_file,
        kubernetes_version=api_server.version if api_server else None,
        quota_bytes=quota(given),
        flags=given,
        pods=found,
    )


def _unit_names(tree: Tree) -> list[str]:
    """Return the names of units that may be etcd's, `etcd.service` first."""
    names: set[str] = set()
    for folder in _UNIT_FOLDERS:
        for path in glob.glob(os.path.join(glob.escape(tree.path(folder)), "*etcd*.service")):
            names.add(os.path.basename(path))
    return sorted(names, key=lambda name: (name != "etcd.service", name))


def _read_unit(tree: Tree, name: str) -> _Unit | None:
    """Read a unit with its drop-ins; None where it is masked or starts something else."""
    main = next(
        (tree.path(folder, name) for folder in _UNIT_FOLDERS if tree.exists(folder, name)), None
    )
    if main is None or os.path.realpath(main) == "/dev/null":
        return None
    dropins: dict[str, str] = {}
    for folder in reversed(_UNIT_FOLDERS):
        for path in glob.glob(os.path.join(glob.escape(tree.path(folder, f"{name}.d")), "*.conf")):
            dropins[os.path.basename(path)] = path
    settings = _Settings()
    for path in (main, *(dropins[each] for each in sorted(dropins))):
        settings.read(files.read_text(path))
    if not settings.commands:
        return None
    specifiers = _specifiers(name)
    variables: dict[str, str] = {}
    for line in settings.environment:
        for word in _words(_specify(line, specifiers)):
            key, equals, value = word.partition("=")
            if equals:
                variables[key] = value
    environment_file: str | None = None
    for line in settings.environment_files:
        path = tree.path(_specify(line.lstrip("-"), specifiers))
        if not os.path.exists(path):
            continue
        variables.update(_environment_file(files.read_text(path)))
        environment_file = path
    argv = _argv(_specify(settings.commands[-1], specifiers), variables)
    program = flags.program_of(argv, "etcd")
    if program is None or _runs_something_else(argv, program):
        return None
    given = flags.merge(flags.from_environment(variables), flags.from_argv(program[1:]))
    config_file = given.get("config-file")
    if config_file:  # etcd then ignores every other flag and variable (etcdmain/config.go)
        config_file = tree.path(config_file)
        given = flags.from_config(files.read_yaml(config_file))
    return _Unit(
        path=main,
        environment_file=environment_file,
        variables=variables,
        flags=given,
        config_file=config_file,
        working_directory=settings.working_directory,
    )


class _Settings:
    """The lines of a unit's [Service] section that matter here."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.environment: list[str] = []
        self.environment_files: list[str] = []
        self.working_directory = "/"

    def read(self, text: str) -> None:
        """Add one file; an empty assignment resets a list, as systemd has it."""
        lists = {
            "ExecStart": self.commands,
            "Environment": self.environment,
            "EnvironmentFile": self.environment_files,
        }
        section = ""
        for line in text.replace("\\\n", " ").splitlines():
            plain = line.strip()
            if not plain or plain[0] in "#;":
                continue
            if plain.startswith("["):
                section = plain
                continue
            name, equals, value = (part.strip() for part in plain.partition("="))
            if section != "[Service]" or not equals:
                continue
            if name == "WorkingDirectory":
                self.working_directory = value.lstrip("-") or "/"
            elif name in lists:
                if value:
                    lists[name].append(value)
                else:
                    lists[name].clear()


def _specifiers(name: str) -> dict[str, str]:
    prefix = name[: -len(".service")]
    stem, _mark, instance = prefix.partition("@")
    return {
        "%n": name,
        "%N": prefix,
        "%p": stem,
        "%i": instance,
        "%I": instance,
        "%H": socket.gethostname(),
        "%l": socket.gethostname().split(".")[0],
        "%%": "%",
    }


def _specify(text: str, specifiers: dict[str, str]) -> str:
    for mark, value in specifiers.items():
        text = text.replace(mark, value)
    return text


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _argv(command: str, variables: dict[str, str]) -> list[str]:
    """Split ExecStart as systemd does: `$NAME` as a word of its own becomes several words."""
    found: list[str] = []
    for word in _words(command.lstrip("-@:+!")):
        if word.startswith("$") and word[1:].isidentifier():
            found += _words(variables.get(word[1:], ""))
        else:
            found.append(flags.expand(word, variables))
    return found


def _runs_something_else(argv: list[str], program: list[str]) -> bool:
    """Tell whether `etcd` is but an argument, unless a container runtime starts it."""
    first = os.path.basename(argv[0])
    if argv == program or first in _CONTAINER_RUNTIMES:
        return False
    return first not in ("sh", "bash", "dash", "env", "nice", "ionice", "taskset", "numactl")


def _environment_file(text: str) -> dict[str, str]:
    """Read an EnvironmentFile: NAME=value lines, quotes and comments as systemd.exec(5) has them."""
    found: dict[str, str] = {}
    for line in text.replace("\\\n", "").splitlines():
        plain = line.strip()
        if not plain or plain[0] in "#;" or "=" not in plain:
            continue
        name, _mark, value = plain.partition("=")
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[name.replace("export ", "").strip()] = value
    return found


def _data_dir(tree: Tree, unit: _Unit) -> str:
    given = unit.flags.get("data-dir")
    if given is None:
        given = _DEFAULT_DATA_DIR.format(name=unit.flags.get("name") or "default")
    return tree.path(os.path.join(unit.working_directory, given))


def _choose(tree: Tree, units: list[_Unit], data_dir: str | None) -> _Unit:
    if data_dir:
        wanted = os.path.realpath(data_dir)
        for unit in units:
            if os.path.realpath(_data_dir(tree, unit)) == wanted:
                return unit
    if len(units) == 1 or os.path.basename(units[0].path) == "etcd.service":
        return units[0]
    names = ", ".join(unit.path for unit in units)
    raise LayoutError(
        f"{len(units)} systemd units start an etcd on this host ({names}), none named etcd.service.",
        hint="Set data_dir to the data folder of the one that is meant.",
        path=units[0].path,
    )


def _certificate(tree: Tree, unit: _Unit, flag: str, variable: str) -> str | None:
    """Return a client's file: kubespray names an admin certificate in ETCDCTL_ variables; else
    the server's own.
    """
    path = unit.variables.get(variable) or unit.flags.get(flag)
    return tree.path(path) if path else None
