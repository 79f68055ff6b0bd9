# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Set up .venv and the two trees the collection is used from; the standard library only.

.venv/dev          the working tree itself, as ansible_collections/controlplane/etcd (a link)
.venv/collections  the collection as users get it: built, then installed
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
NAMESPACE = Path("ansible_collections") / "controlplane"


def main() -> None:
    """Do what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["demo", "test", "install"])
    what = parser.parse_args().what
    if sys.version_info < (3, 10):
        sys.exit(f"Python 3.10 or later is needed; {sys.executable} is {sys.version.split()[0]}.")
    if what != "install":
        environment(
            ROOT / "tests" / ("requirements.txt" if what == "test" else "demo-requirements.txt")
        )
    link()
    install()


def environment(requirements: Path) -> None:
    """Make .venv with ansible-core and what `requirements` names; skipped where nothing changed."""
    mark = VENV / f"{requirements.stem}.sha256"
    wish = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    if mark.exists() and mark.read_text() == wish and PYTHON.exists():
        return
    if not PYTHON.exists():
        run([sys.executable, "-m", "venv", "--clear", VENV], "Debian: apt-get install python3-venv")
    run(
        [PYTHON, "-m", "pip", "install", "--quiet", "ansible-core>=2.16", "-r", requirements],
        "The packages come from PyPI, or from where pip's own configuration points.",
    )
    mark.write_text(wish)


def link() -> None:
    """Let the working tree be imported as a collection."""
    target = VENV / "dev" / NAMESPACE / "etcd"
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.is_symlink():
        target.symlink_to(ROOT, target_is_directory=True)


def install() -> None:
    """Build the collection and install it, so that what is tested is what users get."""
    galaxy = VENV / "bin" / "ansible-galaxy"
    with tempfile.TemporaryDirectory(dir=VENV) as scratch:
        run([galaxy, "collection", "build", "--force", "--output-path", scratch, ROOT])
        tarball = next(Path(scratch).glob("controlplane-etcd-*.tar.gz"))
        shutil.rmtree(VENV / "collections", ignore_errors=True)
        run(
            [
                galaxy,
                "collection",
                "install",
                "--force",
                "--offline",
                "-p",
                VENV / "collections",
                tarball,
            ]
        )


def run(argv: list[str | Path], hint: str = "") -> None:
    """Run a command quietly; on failure show all it said and stop."""
    environ = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(VENV / "collections"),
        "ANSIBLE_HOME": str(VENV / "ansible"),
    }
    done = subprocess.run(
        [str(a) for a in argv], capture_output=True, text=True, env=environ, check=False
    )
    if done.returncode != 0:
        sys.stderr.write(done.stdout + done.stderr)
        sys.exit(f"Set-up failed: {' '.join(str(a) for a in argv)}\n{hint}")


if __name__ == "__main__":
    main()
