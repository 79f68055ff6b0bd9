# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The databases that are measured: filled by a real etcd, and kept in the cache to save time.

python bench/data.py              # make all of them now
python bench/data.py --quick
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from lab import binaries, versions
from lab.loopback import Cluster

GO = Path(__file__).resolve().parent / "go"
QUOTA = "--quota-backend-bytes=8589934592"


@dataclasses.dataclass(frozen=True)
class Wish:
    """A database that is asked for."""

    name: str
    objects: int
    value_bytes: int
    """The mean size of a value."""


@dataclasses.dataclass(frozen=True)
class Data:
    """A database as it is: a snapshot as etcdctl saved it, and what describes it."""

    name: str
    path: Path
    size_bytes: int
    key_count: int
    zstd_ratio: float
    etcd: str

    def described(self) -> dict[str, t.Any]:
        return {
            "name": self.name,
            "size_bytes": self.size_bytes,
            "key_count": self.key_count,
            "zstd_ratio": self.zstd_ratio,
            "etcd": self.etcd,
        }


FULL = {
    "big": Wish("2 GB, 1 million keys", 1_000_000, 1330),
    "fat": Wish("2 GB, 100 thousand keys", 100_000, 17_300),
    "thin": Wish("200 MB, 1 million keys", 1_000_000, 60),
    "small": Wish("200 MB, 100 thousand keys", 100_000, 1330),
}
QUICK = {
    "big": FULL["small"],
    "fat": Wish("200 MB, 10 thousand keys", 10_000, 17_300),
    "thin": Wish("20 MB, 100 thousand keys", 100_000, 60),
    "small": Wish("20 MB, 10 thousand keys", 10_000, 1330),
}
"""Big and fat against small and thin: the size by keys, and by what they hold."""


def program(name: str) -> Path:
    """Return one of the programs of bench/go, built first where the cache has none."""
    sources = sorted([*GO.glob("*/*.go"), GO / "go.mod", GO / "go.sum"])
    print_of = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    folder = binaries.cache_dir() / "bench" / f"go-{print_of}"
    with binaries.cache_lock("bench-go"):
        if not (folder / name).exists():
            go, env = binaries.toolchain(GO / "go.mod")
            binaries.say("building the filler and the load generator (once) ...")
            argv = [str(go), "build", "-trimpath", "-buildvcs=false", "-mod=readonly"]
            subprocess.run(
                [*argv, "-o", f"{folder}/", "./fill", "./load"], cwd=GO, env=env, check=True
            )
    return folder / name


def tls_flags(cluster: Cluster, endpoint: str) -> list[str]:
    """Return the flags by which a program of bench/go reaches a member."""
    files = cluster.environment([endpoint])
    return [
        f"-endpoint={endpoint}",
        f"-cacert={files['ETCDCTL_CACERT']}",
        f"-cert={files['ETCDCTL_CERT']}",
        f"-key={files['ETCDCTL_KEY']}",
    ]


def get(wish: Wish) -> Data:
    """Return the database, filled first where the cache has none."""
    version = versions.ETCD_DEFAULT
    filler = program("fill")
    sources = "".join(path.read_text() for path in sorted((GO / "fill").glob("*.go")))
    made_by = f"{sources}{wish}{version}".encode()
    folder = binaries.cache_dir() / "bench" / "data"
    folder.mkdir(parents=True, exist_ok=True)
    mark = hashlib.sha256(made_by).hexdigest()[:12]
    path = folder / f"{wish.name.replace(', ', '-').replace(' ', '_')}-{mark}.db"
    facts = path.with_suffix(".json")
    with binaries.cache_lock(f"bench-{mark}"):
        if not facts.exists():
            facts.write_text(json.dumps(_fill(wish, filler, path), indent=1))
    read = json.loads(facts.read_text())
    return Data(name=wish.name, path=path, etcd=version, **read)


def _fill(wish: Wish, filler: Path, path: Path) -> dict[str, t.Any]:
    """Have a real etcd filled, save a snapshot of it to `path`; return the facts."""
    binaries.say(f"filling a database: {wish.name} (once, up to some minutes) ...")
    flags = (QUOTA, "--unsafe-no-fsync", "--snapshot-count=2000", "--snapshot-catchup-entries=1000")
    root = Path(tempfile.mkdtemp(prefix="etcd-fill-", dir=path.parent))
    with Cluster("fill", size=1, extra_flags=flags, root=root) as cluster:
        try:
            counts = [f"-objects={wish.objects}", f"-value={wish.value_bytes}"]
            argv = [str(filler), *tls_flags(cluster, cluster.endpoints[0]), *counts]
            subprocess.run(argv, check=True)
            part = path.with_suffix(".part")
            part.unlink(missing_ok=True)
            cluster.etcdctl("snapshot", "save", str(part), json=False, timeout=600)
            status = cluster.etcdutl("snapshot", "status", str(part), json=True, timeout=600)
            part.rename(path)
        finally:
            cluster.close()
            subprocess.run(["rm", "-rf", str(root)], check=True)
    size = path.stat().st_size - 32
    with path.open("rb") as clear, tempfile.TemporaryFile() as packed:
        subprocess.run(["zstd", "-3", "-q", "-c"], stdin=clear, stdout=packed, check=True)
        ratio = round(size / os.fstat(packed.fileno()).st_size, 2)
    return {"size_bytes": size, "key_count": status["totalKey"], "zstd_ratio": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the databases that are measured.")
    parser.add_argument("--quick", action="store_true")
    for wish in (QUICK if parser.parse_args().quick else FULL).values():
        print(get(wish))


if __name__ == "__main__":
    main()
