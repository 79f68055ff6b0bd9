# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges of the collection as it is released: built, installed, imported, linted, licensed."""

from __future__ import annotations

import os
import re
import typing as t
from pathlib import Path

from . import home, process, tree
from .verdict import Verdict

VENV = tree.ROOT / ".venv"
TOOLS = VENV / "bin"


def judge(scratch: Path) -> t.Iterator[Verdict]:
    """Build a release from a copy of the collection and have it judged; one verdict each."""
    collection = tree.export(scratch / "source")
    private = scratch / "home"
    private.mkdir()
    base = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    env = {
        **base,
        "HOME": str(private),
        "PATH": f"{TOOLS}:{base['PATH']}",
        "ANSIBLE_COLLECTIONS_PATH": str(scratch / "installed"),
    }

    def plain(name: str, argv: list[str | Path], cwd: Path) -> Verdict:
        done = process.run(argv, cwd=cwd, env=env)
        return Verdict(name, done.status == 0, "" if done.status == 0 else done.tail())

    galaxy: list[str | Path] = [TOOLS / "ansible-galaxy", "collection"]
    built = scratch / "built"
    build = [*galaxy, "build", "--output-path", built]
    yield plain("ansible-galaxy collection build", build, collection)
    tarball = next(built.glob("*.tar.gz"), built / "nothing.tar.gz")
    install = [*galaxy, "install", "--offline", "-p", scratch / "installed", tarball]
    yield plain("ansible-galaxy collection install", install, scratch)

    lint = [TOOLS / "ansible-lint", "--profile", "production", "--offline", "--nocolor"]
    installed = scratch / "installed" / tree.HOME
    yield plain("ansible-lint --profile production of the release", lint, installed)

    docs = [TOOLS / "antsibull-docs", "lint-collection-docs", "--plugin-docs", "."]
    yield plain("antsibull-docs lint-collection-docs --plugin-docs", [*docs], collection)
    changelog = [TOOLS / "antsibull-changelog", "lint"]
    yield plain("antsibull-changelog lint", [*changelog], collection)

    environment = home.environment("release", TOOLS / "python", home.REQUIREMENTS)
    yield plain("reuse lint", [environment / "bin" / "reuse", "lint"], collection)
    yield _importer(environment, tarball, {**env, "PATH": f"{environment}/bin:{base['PATH']}"})


def _importer(environment: Path, tarball: Path, env: dict[str, str]) -> Verdict:
    """Have galaxy-importer take the release as Galaxy and Automation Hub would; no warning passes."""
    argv: list[str | Path] = [environment / "bin" / "python", "-m", "galaxy_importer.main", tarball]
    config = {
        "GALAXY_IMPORTER_CHECK_REQUIRED_TAGS": "true",
        "GALAXY_IMPORTER_OFFLINE_ANSIBLE_LINT": "true",
        "GALAXY_IMPORTER_RUN_ANSIBLE_TEST": "false",
        "GALAXY_IMPORTER_RUN_FLAKE8": "false",
    }
    # What a core without the collection's paths can't see must not be found by chance.
    env = {name: value for name, value in env.items() if name != "ANSIBLE_COLLECTIONS_PATH"}
    done = process.run(argv, cwd=tarball.parent, env={**env, **config})
    objections = re.findall(r"^(?:WARNING|ERROR|CRITICAL).*", done.said, re.MULTILINE)
    over = "Importer processing completed successfully" in done.said
    passed = done.status == 0 and over and not objections
    found = "" if passed else "\n".join(objections) or done.tail()
    return Verdict("galaxy-importer with required tags", passed, found)
