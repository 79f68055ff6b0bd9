# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Role etcd_runtime on this machine, with every Python that is here, an index and wheelhouses."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from lab.runtime_role import (
    CLOSED,
    FILES,
    PLAYBOOK,
    PYTHON,
    PYTHONS,
    Machine,
    assert_whole,
    forge,
    make_wheelhouses,
    planted_variables,
)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheelhouses for all Pythons of this machine, made by the role on the controller."""
    folder = tmp_path_factory.mktemp("wheelhouse")
    ran = make_wheelhouses(folder)
    assert ran.status == 0, ran.output
    assert ran.counts("localhost")["changed"] == 1
    return folder


def test_role_with_index_makes_environment_and_second_run_changes_nothing(
    machine: Machine, wheelhouse: Path
) -> None:
    checked = machine.run("--check")
    assert checked.status == 0, checked.output
    assert f"Would make {machine.path()}/environments/" in checked.output
    assert not machine.path().exists()

    real = machine.run("-vvv")
    assert real.status == 0, real.output
    assert real.counts("one")["changed"] == 1
    assert_whole(machine.path())
    environment = (machine.path() / "venv").resolve()
    assert f"runs in={environment}/bin/python" in real.output
    kept = next((machine.path() / "wheelhouse").glob("*.tar"))
    made = wheelhouse / kept.name
    assert kept.read_bytes() == made.read_bytes(), "host and controller make the same bytes"

    before = {entry: entry.lstat().st_mtime_ns for entry in machine.path().rglob("*")}
    again = machine.run()
    assert again.status == 0, again.output
    assert again.counts("one")["changed"] == 0
    assert "Run what makes the environment" not in again.output
    after = {entry: entry.lstat().st_mtime_ns for entry in machine.path().rglob("*")}
    assert {e: m for e, m in after.items() if "__pycache__" not in str(e) and e.is_file()} == {
        e: m for e, m in before.items() if "__pycache__" not in str(e) and e.is_file()
    }
    assert machine.run("--check").counts("one")["changed"] == 0


@pytest.mark.parametrize("tag", PYTHONS)
def test_role_with_wheelhouse_needs_no_network(
    machine: Machine, wheelhouse: Path, tag: str
) -> None:
    interpreter = PYTHONS[tag]
    made = machine.run(
        environment=CLOSED, wheelhouse=str(wheelhouse), interpreter=interpreter
    )  # fmt: skip
    assert made.status == 0, made.output
    assert made.counts("one")["changed"] == 1
    assert_whole(machine.path())
    assert next((machine.path() / "wheelhouse").iterdir()).name.startswith(f"{tag}-linux-")

    again = machine.run(environment=CLOSED, wheelhouse=str(wheelhouse), interpreter=interpreter)
    assert again.counts("one") | {"ok": 0, "skipped": 0} == {
        "ok": 0, "changed": 0, "unreachable": 0, "failed": 0, "skipped": 0, "rescued": 0,
        "ignored": 0,
    }  # fmt: skip


def test_role_with_closed_index_fails_and_shows_no_password(machine: Machine) -> None:
    play = [{**PLAYBOOK[0], "vars_files": [str(planted_variables(machine.folder))]}]
    ran = machine.run("-vvv", playbook=play, hosts=("one",), environment=CLOSED)
    assert ran.status != 0
    assert f"The environment {machine.path()} could not be made on one: pip download" in ran.output
    assert "planted-" not in ran.output
    assert not (machine.path() / "venv").exists()
    assert not list(machine.path().glob(".work-*"))


def test_wheelhouse_with_closed_index_fails_and_shows_no_password(tmp_path: Path) -> None:
    planted = [str(planted_variables(tmp_path))]
    ran = make_wheelhouses(tmp_path / "wheelhouse", "-vvv", environment=CLOSED, vars_files=planted)
    assert ran.status != 0
    assert f"could not be made in {tmp_path}/wheelhouse on the controller: pip" in ran.output
    assert "planted-" not in ran.output
    assert not list((tmp_path / "wheelhouse").glob("*.tar"))


def test_wheelhouse_made_twice_changes_nothing(wheelhouse: Path) -> None:
    before = {one: (one.stat().st_mtime_ns, one.stat().st_ino) for one in wheelhouse.glob("*.tar")}
    ran = make_wheelhouses(wheelhouse)
    assert ran.status == 0, ran.output
    assert ran.counts("localhost")["changed"] == 0
    assert before == {one: (one.stat().st_mtime_ns, one.stat().st_ino) for one in before}


def test_role_with_forged_wheel_refuses_and_keeps_what_is_in_use(
    machine: Machine, wheelhouse: Path, tmp_path: Path, reliability: t.Callable[..., None]
) -> None:
    assert machine.run(wheelhouse=str(wheelhouse), environment=CLOSED).status == 0
    environment = (machine.path() / "venv").resolve()
    (environment / "runtime.json").write_text("{}")
    forged = tmp_path / "forged"
    forged.mkdir()
    source = Path(machine.settings(wheelhouse)["wheelhouse"])
    forge(source, forged / source.name)

    ran = machine.run(wheelhouse=str(forged), environment=CLOSED)
    assert ran.status != 0
    message = re.search(r"Wheelhouse \S+ is refused: six-\S+ has sha256 [0-9a-f]{64}", ran.output)
    assert message, ran.output
    assert (machine.path() / "venv").resolve() == environment
    assert not list(machine.path().glob(".work-*"))
    kept = machine.path() / "wheelhouse" / source.name
    assert kept.read_bytes() == source.read_bytes()

    assert machine.run(wheelhouse=str(wheelhouse), environment=CLOSED).status == 0
    assert_whole(machine.path())
    reliability("A wheel in the wheelhouse is forged", "refused; the environment in use stays",
                area="runtime", message=message[0])  # fmt: skip


def test_role_with_truncated_wheelhouse_refuses(
    machine: Machine, wheelhouse: Path, tmp_path: Path
) -> None:
    source = Path(machine.settings(wheelhouse)["wheelhouse"])
    cut = tmp_path / source.name
    cut.write_bytes(source.read_bytes()[: 3 << 20])
    ran = machine.run(wheelhouse=str(cut), environment=CLOSED)
    assert ran.status != 0
    assert re.search(rf"Wheelhouse \S+{source.name} (can't be read|lacks|is refused)", ran.output)
    assert not (machine.path() / "venv").exists()


def test_role_with_wheelhouse_of_other_pythons_names_what_is_missing(
    machine: Machine, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    ran = machine.run(wheelhouse=str(empty))
    assert ran.status != 0
    assert f"The wheelhouse {empty} on the controller has no cp3" in ran.output


def test_role_without_python_says_what_to_install(machine: Machine, tmp_path: Path) -> None:
    ran = machine.run(interpreter=str(tmp_path / "python3"))
    assert ran.status != 0
    assert f"found on one, looking for {tmp_path}/python3; there is none" in ran.output
    assert "Install CPython 3.9 to 3.14" in ran.output
    assert not machine.path().exists()


# What must be there under the host's folder when the run is killed, and whether another
# environment is in use there already.
_MOMENTS = {
    "while the wheelhouse is unpacked": (".work-*/install/*", False),
    "while the environment is made": ("environments/*/bin", False),
    "while libraries are installed": ("environments/*/lib/python3*/site-packages/*", False),
    "before the link to a first one": ("environments/*/runtime.json", False),
    "before the link is moved from the one in use": ("environments/*/runtime.json", True),
}


@pytest.mark.parametrize("moment", _MOMENTS)
def test_role_after_kill_mends(
    machine: Machine, wheelhouse: Path, reliability: t.Callable[..., None], moment: str
) -> None:
    pattern, existing = _MOMENTS[moment]
    before = None
    if existing:
        assert machine.run(wheelhouse=str(wheelhouse), environment=CLOSED).status == 0
        before = (machine.path() / "venv").resolve()
        (before / "runtime.json").write_text(json.dumps({"lock_sha256": "0" * 64}))
    _run_and_kill(machine, wheelhouse, pattern, known=before)
    link = machine.path() / "venv"
    assert (link.resolve() if link.exists() else None) == before

    mended = machine.run(wheelhouse=str(wheelhouse), environment=CLOSED)
    assert mended.status == 0, mended.output
    assert mended.counts("one")["changed"] == 1
    assert_whole(machine.path())
    reliability(f"The making of a host's environment is killed (-9) {moment}",
                "what was in use stays; the next run mends it", area="runtime")  # fmt: skip


def _run_and_kill(machine: Machine, wheelhouse: Path, pattern: str, *, known: Path | None) -> None:
    """Start what the role starts on the host and kill it once something new matches `pattern`."""
    process = subprocess.Popen(
        [PYTHON, "-B", str(FILES / "runtime.py"), "environment"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **CLOSED},
    )  # fmt: skip
    assert process.stdin
    process.stdin.write(json.dumps(machine.settings(wheelhouse)))
    process.stdin.close()
    end = time.monotonic() + 60
    while not any(known is None or known not in e.parents for e in machine.path().glob(pattern)):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < end
    process.send_signal(signal.SIGKILL)  # not its pip, which goes on as an orphan for a while
    process.wait()
    assert process.returncode == -signal.SIGKILL


def test_role_with_two_hosts_on_one_folder_makes_one_environment(
    machine: Machine, wheelhouse: Path
) -> None:
    ran = machine.run(
        "--forks", "2", hosts=("one", "two"), environment=CLOSED, wheelhouse=str(wheelhouse),
        path=str(machine.path()),
    )  # fmt: skip
    assert ran.status == 0, ran.output
    assert sorted(ran.counts(host)["changed"] for host in ("one", "two")) == [0, 1]
    assert_whole(machine.path())


if len(PYTHONS) > 1:  # with one Python there is no other to change to

    def test_role_with_another_python_replaces_and_keeps_one_before(
        machine: Machine, wheelhouse: Path
    ) -> None:
        seen = []
        order = [*PYTHONS.values()][:2] * 2
        for interpreter in order:
            ran = machine.run(
                environment=CLOSED, wheelhouse=str(wheelhouse), interpreter=interpreter
            )  # fmt: skip
            assert ran.status == 0, ran.output
            assert ran.counts("one")["changed"] == 1
            assert_whole(machine.path())
            seen.append((machine.path() / "venv").resolve().name)
        assert {e.name for e in (machine.path() / "environments").iterdir()} == set(seen[-2:])


def test_role_mends_an_environment_changed_by_hand(machine: Machine, wheelhouse: Path) -> None:
    assert machine.run(environment=CLOSED, wheelhouse=str(wheelhouse)).status == 0
    environment = (machine.path() / "venv").resolve()
    shutil.rmtree(next(environment.glob("lib/python3*/site-packages/tenacity-*.dist-info")))
    ran = machine.run(environment=CLOSED)  # from the wheelhouse that the host kept
    assert ran.status == 0, ran.output
    assert ran.counts("one")["changed"] == 1
    assert_whole(machine.path())
