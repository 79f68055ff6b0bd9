# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a judge says."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One judge's word on the collection: passed, or what it found."""

    judge: str
    passed: bool
    found: str = ""
    skipped: int = 0
    """How many of the judge's own tests did not run; what they are is in `found`."""

    def __str__(self) -> str:
        lines = [f"{'ok' if self.passed else 'FAILED'}  {self.judge}"]
        if self.found and (self.skipped or not self.passed):
            lines += [f"    {line}" for line in self.found.strip().splitlines()]
        elif self.found:
            lines = [f"{lines[0]}: {self.found}"]
        return "\n".join(lines)
