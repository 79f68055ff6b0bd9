# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring the lab up and down for people: `python tests/lab/hosts/cli.py up|down|shell HOST`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lab.binaries import BinariesError, say
from lab.hosts.lab import Lab
from lab.hosts.machine import LabError, obstacle


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="The lab's hosts.")
    parser.add_argument("verb", choices=("up", "down", "shell", "status"))
    parser.add_argument("host", nargs="?", default="cp1")
    parser.add_argument("--prefix", default="lab", help="the name of another lab beside it")
    options = parser.parse_args(arguments)
    reason = obstacle()
    if reason:
        say(f"lab: {reason}.")
        return 1
    try:
        lab = Lab(options.prefix)
        if options.verb == "up":
            started = time.monotonic()
            lab.up()
            print(f"up in {time.monotonic() - started:.0f} s; inventory: {lab.inventory_path}")
        elif options.verb == "down":
            lab.down()
        elif options.verb == "shell":
            lab.shell(options.host)
        else:
            for host in lab.hosts.values():
                print(f"{host.name:10} {host.address:16} {host.condition() or 'absent'}")
    except (LabError, BinariesError) as error:
        say(f"lab: {error}")
        return 1
    except KeyError as error:
        say(f"lab: no host {error}; see `status`.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
