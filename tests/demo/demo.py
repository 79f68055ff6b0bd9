# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Back up two real etcd clusters on this machine, drill them, look at their certificates: `make demo`.

Needs neither root nor Docker nor an etcd. Everything lies in .venv, in the project's cache folder
and in a temporary folder, which is removed at the end as every process that was started is ended,
also on Ctrl-C and on errors. The exit status is 0 only if every step did what it should.

    .venv/bin/python tests/demo/demo.py --keep      # leaves the temporary folder, and says where
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import os
import shutil
import signal
import sys
import tempfile
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from demo import archive, children, keys, restore
from demo.controller import Controller
from demo.stages import Stages
from lab import binaries, loopback, objects, pki, versions

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run the demo; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="leave the temporary folder")
    parser.add_argument("--copies", type=int, default=20, help="how much lies in the big cluster")
    options = parser.parse_args()
    children.adopt_orphans()
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, _interrupt)
    folder = _folder()
    try:
        demo(folder, copies=options.copies)
        status = 0
    except KeyboardInterrupt:
        print("\nInterrupted: ending what was started.")
        status = 130
    except (children.Failed, loopback.LoopbackError, binaries.BinariesError) as exc:
        print(f"\n{exc}\n\nThe demo FAILED.")
        status = 1
    finally:
        _ignore_interrupts()
        children.stop_descendants()
        if options.keep:
            print(f"Kept: {folder} and {scratch_of(folder)}")
        else:
            shutil.rmtree(folder)
            shutil.rmtree(scratch_of(folder), ignore_errors=True)
    return status


def _interrupt(*_rest: object) -> t.NoReturn:
    raise KeyboardInterrupt


def _ignore_interrupts() -> None:
    """Let nobody interrupt the cleaning; kill -9 still works, and etcd ends with its parent."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)


def _folder() -> Path:
    """Make the temporary folder, on a disk where there is a choice: /tmp is often memory."""
    where = None if "TMPDIR" in os.environ else "/var/tmp"
    return Path(tempfile.mkdtemp(prefix="controlplane-etcd-demo-", dir=where)).resolve()


def scratch_of(folder: Path) -> Path:
    """Return the folder for the scratch node: apart, for others have to get through to it."""
    return folder.with_name(f"{folder.name}-scratch")


def demo(folder: Path, *, copies: int) -> None:
    """Go through the stages."""
    stages = Stages(13)
    version = versions.ETCD_DEFAULT
    print("controlplane.etcd: two real etcd clusters on loopback, backed up twice, and drilled\n")
    with stages.stage(f"etcd {version} from its Go modules (built once, then cached)") as stage:
        stage.notes.append(str(binaries.get(version).directory))
    with stages.stage("Keys: two age identities, one of them for escrow; one to sign"):
        made = keys.make(folder / "keys")
    with contextlib.ExitStack() as stack, contextlib.ExitStack():
        with stages.stage("Two TLS clusters in kubeadm's layout: prod (3 members), edge (1)"):
            prod = stack.enter_context(_cluster("prod", size=3, folder=folder))
            edge = stack.enter_context(_cluster("edge", size=1, folder=folder))
        with stages.stage("Kubernetes objects, as a real API server wrote them") as stage:
            for cluster, times in ((prod, copies), (edge, 1)):
                filled = objects.fill(cluster, copies=times, name=cluster.name)
                stage.notes.append(
                    f"{cluster.name}: {filled.key_count:,} keys at revision {filled.revision:,}"
                )
        controller = Controller(
            ROOT,
            folder / "controller",
            scratch=scratch_of(folder),
            keys=made,
            clusters=(prod, edge),
        )
        with stages.stage("ansible-playbook controlplane.etcd.backup") as stage:
            stage.notes += controller.backup(stage.progress)
        with stages.stage("A day goes by: events expire, pods come and go") as stage:
            stage.notes.append(_a_day(prod))
        with stages.stage("ansible-playbook controlplane.etcd.backup, once more") as stage:
            stage.notes += controller.backup(stage.progress)
        with stages.stage("What was archived, and how it was checked (etcd_archive_info)") as stage:
            entries = controller.look()
            stage.notes += archive.show(entries, runs=2)
            stage.notes.append(controller.nothing_left())
        with stages.stage(
            "Into prod's newest snapshot, without an etcd (etcd_snapshot_info)"
        ) as stage:
            before, newest = entries[prod.name][-2:]
            told = controller.inside(newest, before, made.identities["ops"])
            stage.notes += archive.show_inside(told)
        with stages.stage("The newest archive of prod, opened by its RESTORE.txt alone") as stage:
            stage.notes += restore.follow(
                controller.archive / prod.name / entries[prod.name][-1]["id"],
                scratch=folder / "opened",
                keys=made,
            )
        with stages.stage("ansible-playbook controlplane.etcd.drill") as stage:
            stage.notes += controller.drill(stage.progress)
        with stages.stage("ansible-playbook controlplane.etcd.cert_check") as stage:
            stage.notes.append(_near_its_end(prod))
            stage.notes += controller.certificates(stage.progress)
        with stages.stage("What a rotation to one entry would keep, and why") as stage:
            stage.notes += controller.rotation()
            stage.notes.append(controller.nothing_left())
    print(f"\nDone in {stages.total():.0f} s; everything that was started is ended and removed.")


def _cluster(name: str, *, size: int, folder: Path) -> loopback.Cluster:
    return loopback.Cluster(name, size=size, root=folder / "hosts" / name)


def _a_day(cluster: loopback.Cluster) -> str:
    """Change a cluster as a day does; return what was done."""
    gone = 0
    for prefix in ("/registry/events/", "/registry/pods/ci-0001/"):
        gone += int(cluster.etcdctl("del", prefix, "--prefix").get("deleted", 0))
    again = objects.fill(cluster, name=cluster.name)
    return f"{cluster.name}: {gone:,} objects gone, {again.change_count:,} changes after that"


def _near_its_end(cluster: loopback.Cluster) -> str:
    """Give one host a certificate that ends in twelve days; return what was done."""
    name, member = list(cluster.members.items())[1]
    end = pki.now() + dt.timedelta(days=12, hours=1)
    made = pki.issue(cluster.pki.etcd_ca, "kube-apiserver-etcd-client", not_after=end)
    made.write(Path(member.certificates_dir, "apiserver-etcd-client"))
    return f"{name} was given an apiserver-etcd-client certificate of twelve days"


if __name__ == "__main__":
    sys.exit(main())
