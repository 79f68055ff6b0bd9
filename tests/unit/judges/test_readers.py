# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lane `judges` reads out of ansible-test: nothing failed or left out goes unseen."""

from __future__ import annotations

from pathlib import Path

from judges import sanity, units

# From ansible-test 2.21.5 -v, shortened.
SAID = """\
Running sanity test "compile" on Python 3.13
WARNING: Skipping sanity test "compile" on Python 3.14 because it could not be found.
Running sanity test "pep8"
ERROR: Found 1 pep8 issue(s) which need to be resolved:
ERROR: plugins/modules/etcd_kit.py:210:161: E501: line too long (203 > 160 characters)
See documentation for help: https://docs.ansible.com/ansible-core/2.21/dev_guide/testing/sanity/pep8.html
Running sanity test "pslint"
No tests applicable.
Running sanity test "import" on Python 3.9
ERROR: Found 1 import issue(s) on python 3.9 which need to be resolved:
ERROR: plugins/module_utils/_time.py:9:0: traceback: SyntaxError: invalid syntax
FATAL: The 2 sanity test(s) listed below (out of 4) failed. See error output above for details.
import --python 3.9
pep8
"""

JUNIT = """<testsuites><testsuite tests="3">
<testcase classname="tests.unit.test_a" name="test_good" />
<testcase classname="tests.unit.test_a" name="test_bad"><failure message="assert 0">E assert 0
</failure></testcase>
<testcase classname="tests.unit.test_a" name="test_left"><skipped message="needs root" /></testcase>
</testsuite></testsuites>"""


def test_sanity_failures_are_told_with_their_lines() -> None:
    verdicts, notes = sanity.read("x", SAID)
    assert [(v.judge, v.passed) for v in verdicts] == [
        ("x: compile on python 3.13", True),
        ("x: pep8", False),
        ("x: import on python 3.9", False),
    ]
    assert "line too long" in verdicts[1].found
    assert "SyntaxError" in verdicts[2].found
    assert notes == ["no Python 3.14 here for compile", "nothing to judge for pslint"]


def test_sanity_test_that_is_only_listed_as_failed_fails() -> None:
    verdicts, _notes = sanity.read("x", SAID + "validate-modules\n")
    assert [v.judge for v in verdicts if not v.passed][-1] == "x: validate-modules"


def test_sanity_test_that_was_skipped_counts_as_skipped() -> None:
    line = 'WARNING: Required program "shellcheck" not found.\n'
    verdicts, _notes = sanity.read("x", line + SAID)
    assert sum(v.skipped for v in verdicts) == 1


def test_units_report_with_a_failure_and_a_skip(tmp_path: Path) -> None:
    report = tmp_path / "python3.9-module_utils-units.xml"
    report.write_text(JUNIT)
    verdict = units.read("x", report)
    assert (verdict.judge, verdict.passed, verdict.skipped) == ("x: module_utils", False, 1)
    assert "test_bad" in verdict.found and "needs root" in verdict.found


def test_units_report_without_tests_fails(tmp_path: Path) -> None:
    report = tmp_path / "python3.9-modules-units.xml"
    report.write_text("<testsuites><testsuite /></testsuites>")
    assert not units.read("x", report).passed
