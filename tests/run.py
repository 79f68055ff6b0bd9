# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the lanes of `make test` and add them up.

Each lane's tests are counted from its own JUnit file; a lane that this machine can't run says why
and counts as one skip, and with CI=true as one failure, as does every skipped test.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
OUTPUT = ROOT / "tests" / "output"


@dataclasses.dataclass
class Count:
    """How many tests ended how."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(
            self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped
        )

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"

    @classmethod
    def parse(cls, text: str) -> Count:
        """Read what __str__ wrote; whoever wrote something else has failed."""
        found = re.fullmatch(r"(\d+) passed, (\d+) failed, (\d+) skipped", text.strip())
        return cls(*map(int, found.groups())) if found else cls(failed=1)


def main() -> None:
    """Run the lanes that the command line names, or all."""
    sys.path.insert(0, str(ROOT / "tests"))
    import reliability

    wanted = sys.argv[1:] or list(LANES)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    whole = set(wanted) == set(LANES)
    total = Count()
    with contextlib.ExitStack() as stack:
        if whole:
            for old in (ROOT / ".venv" / "reliability").glob("*.json"):
                old.unlink()
            beside = stack.enter_context(Beside(BESIDE))
            wanted = [lane for lane in wanted if lane not in BESIDE]
        for lane in wanted:
            print(f"\n=== {lane} ===", flush=True)
            start = time.monotonic()
            count = LANES[lane]()
            print(f"=== {lane}: {count} in {time.monotonic() - start:.0f} s ===", flush=True)
            total += count
        if whole:
            total += beside.count()
    if os.environ.get("CI") == "true" and total.skipped:
        print(f"With CI=true nothing may be skipped: {total.skipped} skipped count as failed.")
        total = Count(total.passed, total.failed + total.skipped, 0)
    if whole:
        print(f"\nFaults tried: {reliability.write(str(total)).relative_to(ROOT)}")
    print(f"\n{total}", flush=True)
    sys.exit(1 if total.failed or not total.passed else 0)


class Beside:
    """Lanes that run one after the other beside the main ones; what they say comes at the end."""

    def __init__(self, lanes: t.Sequence[str]) -> None:
        self._lanes = lanes
        self._running: subprocess.Popen[bytes] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Beside:
        self._thread.start()
        return self

    def __exit__(self, *_about: object) -> None:
        self._stop.set()
        if self._running:
            self._running.terminate()
        self._thread.join()

    def _run(self) -> None:
        for lane in self._lanes:
            nice = 10 if lane in COMPUTE else 0
            argv = ["nice", "-n", str(nice), sys.executable, __file__, lane]
            with self._said(lane).open("w") as said:
                self._running = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
                )
            if self._stop.is_set():  # __exit__ came before there was this one to end
                self._running.terminate()
            self._running.wait()
            if self._stop.is_set():
                break

    @staticmethod
    def _said(lane: str) -> Path:
        return OUTPUT / f"beside-{lane}.txt"

    def count(self) -> Count:
        """Wait for them, show what they said, and return how their tests ended."""
        self._thread.join()
        total = Count()
        for lane in self._lanes:
            said = self._said(lane).read_text()
            print(said, flush=True)
            total += Count.parse((said.splitlines() or [""])[-1])
        return total


def lint() -> Count:
    """Formatters, linters, types: each a test of its own."""
    steps: dict[str, list[str]] = {
        "ruff check": [str(BIN / "ruff"), "check", "."],
        "ruff format": [str(BIN / "ruff"), "format", "--check", "."],
        "mypy": [str(BIN / "mypy"), "-p", "ansible_collections.controlplane.etcd.plugins"],
        "yamllint": [str(BIN / "yamllint"), "--strict", "."],
        "ansible-lint": [str(BIN / "ansible-lint"), "--nocolor"],
        "changelog": [str(BIN / "antsibull-changelog"), "lint"],
    }
    count = Count()
    for name, argv in steps.items():
        environ = {
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".venv" / "dev"),
            "MYPYPATH": ".venv/dev",
        }
        done = subprocess.run(
            argv, cwd=ROOT, env=environ, capture_output=True, text=True, check=False
        )
        print(f"{'ok' if done.returncode == 0 else 'FAILED'}  {name}", flush=True)
        if done.returncode:
            print(done.stdout[-8000:] + done.stderr[-4000:])
        count += Count(passed=done.returncode == 0, failed=done.returncode != 0)
    return count


def pytest(lane: str) -> Count:
    """Run one folder of tests and count them from its JUnit file."""
    report = OUTPUT / f"{lane}.xml"
    report.unlink(missing_ok=True)
    argv = [BIN / "pytest", f"tests/{lane}", "-q", "--durations=12", "--junitxml", report]
    code = subprocess.run([str(a) for a in argv], cwd=ROOT, check=False).returncode
    if not report.exists():
        print(f"Lane {lane} ended with exit status {code} and left no report.")
        return Count(failed=1)
    count = counted(ElementTree.parse(report).getroot())
    if code not in (0, 1):
        print(f"pytest ended with exit status {code}.")
        count += Count(failed=1)
    return count


def counted(root: ElementTree.Element) -> Count:
    """Read a JUnit report."""
    count = Count()
    for suite in root.iter("testsuite"):
        figures = {k: int(suite.get(k, "0")) for k in ("tests", "failures", "errors", "skipped")}
        bad = figures["failures"] + figures["errors"]
        count += Count(figures["tests"] - bad - figures["skipped"], bad, figures["skipped"])
    return count


def lab() -> Count:
    """The hosts' lane; they need root and podman."""
    from lab.hosts import machine

    why = machine.obstacle()
    if why:
        print(f"The lab can't run here: {why}")
        return Count(skipped=1)
    return pytest("lab")


def judges() -> Count:
    """What the field judges a collection by, on the oldest ansible-core and the newest."""
    from judges import lane

    verdicts = lane.judge_all()
    passed = sum(verdict.passed and not verdict.skipped for verdict in verdicts)
    failed = sum(not verdict.passed for verdict in verdicts)
    return Count(passed, failed, sum(verdict.skipped for verdict in verdicts))


LANES: dict[str, t.Callable[[], Count]] = {
    "lint": lint,
    "judges": judges,
    "unit": lambda: pytest("unit"),
    "integration": lambda: pytest("integration"),
    "lab": lab,
}

COMPUTE = ("unit", "judges")
"""Lanes that only compute: they get what the other lanes leave of the processors."""

BESIDE = (*COMPUTE, "lab")
"""What runs beside `integration`, which waits for etcds and clocks half of its time: one lane at a
time, the hosts last, when only two lanes are left that wait.
"""

if __name__ == "__main__":
    main()
