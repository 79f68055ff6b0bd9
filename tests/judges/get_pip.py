# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand in for the get-pip.py that ansible-test would download: pip from Python's own ensurepip.

It lies in ansible-test's cache under the name that it looks for, so that nothing but the package
index is asked. Runs on every Python that ansible-test makes environments with.
"""

import subprocess
import sys

OURS = ("--no-setuptools", "--no-wheel")


def main():
    """Install pip, then with it the packages that ansible-test names."""
    python = [sys.executable, "-m"]
    subprocess.check_call([*python, "ensurepip", "--default-pip"], stdout=subprocess.DEVNULL)
    wanted = [word for word in sys.argv[1:] if word not in OURS]
    if wanted:
        subprocess.check_call([*python, "pip", "install", "--quiet", *wanted])


if __name__ == "__main__":
    main()
