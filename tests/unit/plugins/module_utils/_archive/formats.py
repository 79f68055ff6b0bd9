# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write docs/formats/*.json from the schemas in use.

.venv/bin/python tests/unit/plugins/module_utils/_archive/formats.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[5]
sys.path.insert(0, str(ROOT / ".venv/dev"))

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import schemas  # noqa: E402


def main() -> None:
    """Write all of them."""
    folder = ROOT / "docs/formats"
    folder.mkdir(exist_ok=True)
    for name, schema in (
        ("manifest", schemas.MANIFEST_V1),
        ("identity", schemas.IDENTITY_V1),
        ("proof", schemas.PROOF_V1),
    ):
        text = json.dumps(schema, indent=2, ensure_ascii=False)
        (folder / f"{name}-v1.json").write_text(f"{text}\n")


if __name__ == "__main__":
    main()
