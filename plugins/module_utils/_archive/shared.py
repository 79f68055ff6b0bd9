# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What entries of an archive share: the cluster's tools by version, and the Python wheelhouse.

Both are written once. Where another build of a version lies already, the new one gets a folder
with a part of its sha256 in the name; the manifest says which one the cluster ran.
"""

from __future__ import annotations

import dataclasses
import os
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _files
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import names
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.manifest import (
    Tool,
    WheelhouseFile,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ArchiveError,
    OptionInvalid,
    TrustError,
)

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.store import (
        DirectoryStore,
    )

__all__ = ["Given", "keep_tool", "keep_wheelhouse", "lacks"]

# Of which project each tool is one, as its folder says.
_TOOLS = {"etcd": "etcd", "etcdctl": "etcd", "etcdutl": "etcd", "kube-apiserver": "kubernetes"}


@dataclasses.dataclass(frozen=True)
class Given:
    """A shared file as it is offered: by a path on the controller, or by what it must be."""

    name: str
    folder: str
    path: str | None = None
    sha256: str | None = None
    version: str = ""
    platform: str = ""

    @classmethod
    def tool(cls, item: t.Mapping[str, t.Any]) -> Given:
        """Read an item of option `tools`.

        :raises OptionInvalid: it is not one that is kept, or names no usable folder.
        """
        if item["name"] not in _TOOLS:
            raise OptionInvalid(
                f"Tool {item['name']!r} is not one that an archive keeps: {', '.join(_TOOLS)}."
            )
        version, platform = item["version"].lstrip("v"), item["platform"]
        folder = names.check_part(
            f"{_TOOLS[item['name']]}-{version}-{platform}", "The folder of a tool,"
        )
        return cls(
            name=item["name"],
            folder=f"tools/{folder}",
            path=item.get("path"),
            sha256=item.get("sha256"),
            version=version,
            platform=platform,
        )

    @classmethod
    def wheel_file(cls, item: t.Mapping[str, t.Any]) -> Given:
        """Read an item of option `wheelhouse`.

        :raises OptionInvalid: its name can't be one.
        """
        name = names.check_part(item["name"], "The name of a wheelhouse file,")
        return cls(name=name, folder="wheelhouse", path=item.get("path"), sha256=item.get("sha256"))

    @property
    def _beside(self) -> str:
        # Where it goes if another build has its place.
        short = (self.sha256 or "")[:12]
        if self.folder == "wheelhouse":
            return f"{self.folder}/{short}-{self.name}"
        return f"{self.folder}-{short}/{self.name}"

    @property
    def places(self) -> tuple[str, ...]:
        """Where it can lie under the archive, the usual place first."""
        usual = f"{self.folder}/{self.name}"
        return (usual, self._beside) if self.sha256 else (usual,)


def lacks(place: DirectoryStore, given: Given) -> bool:
    """Tell whether the archive has no such file yet (of that sha256, where it is known)."""
    return _find(place, given) is None


def keep_tool(place: DirectoryStore, given: Given) -> Tool:
    """Have a tool in the archive; see _keep()."""
    path, size, sha256 = _keep(place, given, mode=0o755)
    return Tool(
        name=given.name,
        version=given.version,
        platform=given.platform,
        path=path,
        size_bytes=size,
        sha256=sha256,
    )


def keep_wheelhouse(place: DirectoryStore, given: Given) -> WheelhouseFile:
    """Have a wheelhouse file in the archive; see _keep()."""
    path, size, sha256 = _keep(place, given, mode=0o644)
    return WheelhouseFile(path=path, size_bytes=size, sha256=sha256)


def _keep(place: DirectoryStore, given: Given, *, mode: int) -> tuple[str, int, str]:
    """Copy a file to the archive unless it is there; return its place, size and sha256.

    :raises TrustError: the file on the controller is not the one recorded on the host.
    :raises ArchiveError: it is neither in the archive nor on the controller.
    """
    if given.path is not None and not os.path.isfile(given.path):
        raise ArchiveError(
            f"{given.name} cannot go to the archive: {given.path} is not a file on the controller.",
            path=given.path,
        )
    if given.path is not None:
        sha256 = _files.sha256_file(given.path)
        if given.sha256 and given.sha256 != sha256:
            raise TrustError(
                f"{given.path} on the controller has sha256 {sha256}; on the host it was "
                f"{given.sha256}.",
                hint="It was changed or cut off on its way: run the backup again.",
                path=given.path,
            )
        given = dataclasses.replace(given, sha256=sha256)
    found = _find(place, given)
    if found is None and given.path is None:
        raise ArchiveError(
            f"{given.folder}/{given.name} is not in the archive {place.location}"
            + (f" with sha256 {given.sha256}" if given.sha256 else "")
            + ", and no file was given to put there.",
            hint="Fetch it from a control-plane host and give its path.",
        )
    if found is None and given.path is not None:
        found = next(name for name in given.places if place.shared_size(name) is None)
        place.put_once(found, given.path, mode=mode)
    if found is None:
        raise AssertionError("a shared file is neither there nor given")
    sha256, size = place.shared_sha256(found), place.shared_size(found)
    if given.sha256 and sha256 != given.sha256:  # another run's, put there between look and link
        return _keep(place, given, mode=mode)
    return found, size or 0, sha256


def _find(place: DirectoryStore, given: Given) -> str | None:
    for name in given.places:
        if place.shared_size(name) is None:
            continue
        if given.sha256 is None or place.shared_sha256(name) == given.sha256:
            return name
    return None
