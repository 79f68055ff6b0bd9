# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Who the members of a restored cluster are: names and URLs, and the IDs that come of them."""

from __future__ import annotations

import dataclasses
import hashlib
import re

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import OptionInvalid
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.etcdutl import NewMember

__all__ = ["Membership", "PlannedMember", "plan_members"]

_URL = re.compile(r"(?:http|https)://(?:\[[0-9A-Fa-f:.%]+\]|[^/:?#\s\[\]]+):\d{1,5}")


@dataclasses.dataclass(frozen=True)
class PlannedMember:
    """A member to be: its ID as etcd will compute it, in lower-case hex."""

    id: str
    name: str
    peer_urls: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Membership:
    """All members of the cluster to be, and which of them is made here."""

    own: NewMember
    members: tuple[PlannedMember, ...]
    cluster_id: str

    @property
    def own_id(self) -> str:
        """The ID of the member that is made here."""
        return next(each.id for each in self.members if each.name == self.own.name)


def plan_members(
    name: str, *, initial_cluster: str, initial_advertise_peer_urls: str | None, token: str
) -> Membership:
    """Read --initial-cluster as etcd does, and compute IDs (etcd, api/membership: computeMemberID, genID).

    :raises OptionInvalid: it names no member, not this one, or URLs that are none.
    """
    urls: dict[str, list[str]] = {}
    for part in initial_cluster.split(","):
        who, equals, url = part.strip().partition("=")
        if not who or not equals:
            raise _invalid("initial_cluster", f"{part.strip()!r} is not NAME=URL")
        urls.setdefault(who, []).append(_checked("initial_cluster", url))
    if name not in urls:
        raise _invalid("initial_cluster", f"it has no member {name!r}, but {', '.join(urls)}")
    own = sorted(urls[name])
    given = (initial_advertise_peer_urls or "").split(",") if initial_advertise_peer_urls else own
    given = sorted(_checked("initial_advertise_peer_urls", each.strip()) for each in given)
    if given != own:
        raise _invalid(
            "initial_advertise_peer_urls",
            f"{','.join(given)} are not the URLs that initial_cluster has for {name}: "
            f"{','.join(own)}",
        )
    if not token or any(sign.isspace() for sign in token):
        raise _invalid("initial_cluster_token", f"{token!r} is no token")
    members = tuple(
        PlannedMember(
            _hex(_id_of("".join(sorted(each)).encode() + token.encode())), who, tuple(each)
        )
        for who, each in urls.items()
    )
    ids = sorted(int(each.id, 16) for each in members)
    if len(set(ids)) != len(ids):
        raise _invalid("initial_cluster", "two members have the same URLs")
    return Membership(
        NewMember(name, initial_cluster, ",".join(given), token),
        members,
        _hex(_id_of(b"".join(each.to_bytes(8, "big") for each in ids))),
    )


def _checked(option: str, url: str) -> str:
    if not _URL.fullmatch(url):
        raise _invalid(option, f"{url!r} is no peer URL such as https://10.0.0.1:2380")
    return url


def _id_of(data: bytes) -> int:
    return int.from_bytes(hashlib.sha1(data, usedforsecurity=False).digest()[:8], "big")


def _hex(number: int) -> str:
    return f"{number:x}"


def _invalid(option: str, why: str) -> OptionInvalid:
    return OptionInvalid(
        f"Option {option}: {why}.", hint="Give what etcd itself is started with on this host."
    )
