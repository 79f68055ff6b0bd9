# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which entries are kept. Keep in sync with RETENTION in plugins/module_utils/_argspec.py."""

from __future__ import annotations


class ModuleDocFragment:
    """The rules of retention, in restic's words."""

    DOCUMENTATION = r"""
options:
  keep_last:
    description:
      - Keep this many of the newest entries. If omitted or V(0), there is no such rule, as with all of them.
    type: int
  keep_hourly:
    description:
      - Keep the newest entry of each of this many hours, the newest hours that have one. Hours, days and so on are UTC's.
    type: int
  keep_daily:
    description:
      - Keep the newest entry of each of this many days.
    type: int
  keep_weekly:
    description:
      - Keep the newest entry of each of this many weeks, which begin on Monday.
    type: int
  keep_monthly:
    description:
      - Keep the newest entry of each of this many months.
    type: int
  keep_yearly:
    description:
      - Keep the newest entry of each of this many years.
    type: int
  keep_within:
    description:
      - Keep every entry that is less than this much older than the newest one, as in V(30d) or V(1y2m3d4h), in years of 366
        days, months of 31 days, weeks (V(w)), days and hours.
    type: str
  max_removals:
    description:
      - In one run no more entries than this are removed. A policy that would remove more is refused, and nothing is removed.
      - If omitted, 20, or half of all that count, whichever is less. In a small archive, what one new entry and one new proof
        push out (four more than the policy has rules) may go all the same, where no more than two were left over from before.
    type: int
"""
