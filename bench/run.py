# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure this collection beside what people use today, and write docs/benchmarks.md: `make bench`.

.venv/bin/python bench/run.py archive load        # these alone; the others keep their figures
.venv/bin/python bench/run.py --quick             # small, writes to .venv/bench instead of docs/
.venv/bin/python bench/run.py --render            # only the document, from docs/benchmarks.json
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from demo import children

from bench import report
from bench.figures import Section
from bench.hosts import workspace
from bench.measure import archive, clusters, drill, load, memory, offline
from bench.session import Bench

ROOT = Path(__file__).resolve().parents[1]
MEASUREMENTS: dict[str, t.Callable[[Bench], Section]] = {
    "archive": archive.measure,
    "load": load.measure,
    "offline": offline.measure,
    "memory": memory.measure,
    "clusters": clusters.measure,
    "drill": drill.measure,
}
TOOLS = ("age", "zstd", "ssh", "scp", "sftp", "ssh-keygen", "sha256sum", "bash")


def main() -> int:
    """Run what the command line names; return 0 even if a bar does not hold: the document says so."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(MEASUREMENTS)}; none: all")
    parser.add_argument("--quick", action="store_true", help="a tenth of the data, for developing")
    parser.add_argument("--rounds", type=int, default=0, help="3, or 1 with --quick")
    parser.add_argument("--render", action="store_true", help="only write the document anew")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(MEASUREMENTS))
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(MEASUREMENTS)}")
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if not shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin"):
        missing.append("sshd")
    if missing:
        parser.error(
            f"needs {', '.join(missing)} (Debian: apt-get install age zstd openssh-server)"
        )
    folder = ROOT / ".venv" / "bench" if options.quick else ROOT / "docs"
    folder.mkdir(parents=True, exist_ok=True)
    if not options.render:
        sections = _measure(options)
        report.keep(folder / "benchmarks.json", sections)
    text = report.render(folder / "benchmarks.json")
    (folder / "benchmarks.md").write_text(text)
    print(text)
    return 0


def _measure(options: argparse.Namespace) -> list[Section]:
    children.adopt_orphans()
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, lambda *_rest: sys.exit(143))
    rounds = options.rounds or (1 if options.quick else 3)
    try:
        with workspace() as folder:
            bench = Bench(folder, quick=options.quick, rounds=rounds)
            try:
                return [
                    measure(bench)
                    for name, measure in MEASUREMENTS.items()
                    if not options.names or name in options.names
                ]
            finally:
                bench.close()
    finally:
        children.stop_descendants()


if __name__ == "__main__":
    sys.exit(main())
