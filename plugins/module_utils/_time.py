# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The clock and its spellings; the only file that reads the clock."""

from __future__ import annotations

import datetime as dt
import re
import time

__all__ = ["booted", "monotonic", "now", "parse_duration", "parse_rfc3339", "rfc3339"]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def now() -> dt.datetime:
    """Return the time of this host, in UTC."""
    return dt.datetime.now(tz=dt.timezone.utc)


def monotonic() -> float:
    """Return seconds that only ever grow, for measuring how long something took."""
    return time.monotonic()


def booted() -> float:
    """Return when this host was started, in seconds since 1970.

    btime of /proc/stat is the same in whole seconds, too early by up to one.
    """
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def rfc3339(moment: dt.datetime) -> str:
    """Write a time as RFC 3339 in UTC with `Z`, to the second."""
    return moment.astimezone(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_rfc3339(text: str) -> dt.datetime:
    """Read an RFC 3339 time (`2026-11-23T14:50:00Z`, offsets and fractions too).

    :raises ValueError: `text` is not such a time, or names no offset.
    """
    # fromisoformat takes "Z" and fractions of any length from Python 3.11 on only.
    plain = re.sub(r"[zZ]$", "+00:00", text.strip())
    plain = re.sub(r"\.(\d{1,6})\d*", lambda m: f".{m.group(1):<06s}", plain)
    moment = dt.datetime.fromisoformat(plain)
    if moment.tzinfo is None:
        raise ValueError(f"time {text!r} names no offset: write 2026-11-23T14:50:00Z")
    return moment.astimezone(dt.timezone.utc)


def parse_duration(text: str) -> float:
    """Return the seconds of `5s`, `1m30s`, `500ms`, `8d` (etcdctl's spelling, and days and weeks).

    A plain number counts as seconds.

    :raises ValueError: `text` is not a duration.
    """
    plain = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", plain):
        return float(plain)
    parts = _DURATION.findall(plain)
    if not parts or "".join(number + unit for number, unit in parts) != plain:
        raise ValueError(f"duration {text!r} is not a number with ms, s, m, h, d or w, as in 1m30s")
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)
