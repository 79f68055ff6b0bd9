# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Names in an archive: clusters, hosts, entry IDs, and the paths that they make."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
import secrets

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import OptionInvalid

__all__ = [
    "DELIVERY",
    "MAIN",
    "Prefix",
    "check_file_name",
    "check_part",
    "entry_stamp",
    "entry_time",
    "is_entry",
    "new_entry",
]

MAIN = "main"
_ENTRY_TEXT = r"(\d{8}T\d{6}Z)-[0-9a-f]{8}"
_ENTRY = re.compile(_ENTRY_TEXT)
DELIVERY = re.compile(
    rf"controlplane-etcd-delivery-(?P<entry>{_ENTRY_TEXT})-(?P<label>[0-9a-f]{{8}})"
    r"-(?P<random>[0-9a-f]{8})"
)
"""How a delivery of an entry is called on a host; `label` tells whose it is."""
_STAMP = "%Y%m%dT%H%M%SZ"
# Inventory names may be IPv6 addresses; none of these can leave its folder or hide.
_PART = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9_.:@%+-]{0,199}")
_TOP_LEVEL = ("tools", "wheelhouse")


@dataclasses.dataclass(frozen=True)
class Prefix:
    """The one folder that holds a cluster's entries (or those of another etcd of it)."""

    cluster: str
    instance: str = MAIN

    def __post_init__(self) -> None:
        check_part(self.cluster, "etcd_cluster")
        if self.cluster in _TOP_LEVEL:
            raise OptionInvalid(
                f"etcd_cluster {self.cluster!r} cannot be archived: an archive keeps its own "
                "files under that name.",
                hint="Name the cluster otherwise.",
            )
        check_part(self.instance, "etcd_instance")
        if self.instance == "identity" or is_entry(self.instance):
            raise OptionInvalid(
                f"etcd_instance {self.instance!r} is a name that an archive uses itself.",
                hint="Name the instance otherwise, as in events.",
            )

    @property
    def parts(self) -> tuple[str, ...]:
        """The folder's path under the archive."""
        return (self.cluster,) if self.instance == MAIN else (self.cluster, self.instance)

    def __str__(self) -> str:
        return "/".join(self.parts)


def check_part(name: str, what: str) -> str:
    """Return `name` if it can be one part of a path; `what` is the option for messages.

    :raises OptionInvalid: it can't.
    """
    if not _PART.fullmatch(name):
        raise OptionInvalid(
            f"{what} {name!r} cannot be part of a name in the archive.",
            hint="Use letters, digits, '-', '_' and '.', beginning with a letter or a digit.",
        )
    return name


def check_file_name(name: str) -> str:
    """Return `name` if it is a file of an entry: one part, or a folder and one part.

    :raises OptionInvalid: it is not.
    """
    parts = name.split("/")
    if len(parts) > 2:
        raise OptionInvalid(f"File {name!r} lies too deep for an archive's entry.")
    for part in parts:
        check_part(part, "File")
    return name


def is_entry(name: str) -> bool:
    """Tell whether `name` is an entry's ID, of a time that exists."""
    try:
        entry_time(name)
    except OptionInvalid:
        return False
    return True


def resembles_entry(name: str) -> bool:
    """Tell whether `name` is spelled as an ID, be it of the 13th month."""
    return bool(_ENTRY.fullmatch(name))


def entry_stamp(time: dt.datetime) -> str:
    """Return how the IDs of entries begin that were started at this time."""
    return time.astimezone(dt.timezone.utc).strftime(_STAMP)


def new_entry(now: dt.datetime) -> str:
    """Return an ID that sorts by time and that no second run has."""
    return f"{entry_stamp(now)}-{secrets.token_hex(4)}"


def entry_time(entry: str) -> dt.datetime:
    """Return when an entry was started, as its ID says.

    :raises OptionInvalid: `entry` is not an ID.
    """
    found = _ENTRY.fullmatch(entry)
    if not found:
        raise OptionInvalid(
            f"{entry!r} is not the ID of an archive's entry.",
            hint="An ID looks like 20261123T145000Z-7c9e1a2b; etcd_archive_info lists them.",
        )
    try:
        return dt.datetime.strptime(found[1], _STAMP).replace(tzinfo=dt.timezone.utc)
    except ValueError as exc:
        raise OptionInvalid(f"{entry!r} names a time that does not exist: {exc}.") from exc
