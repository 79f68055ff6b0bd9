# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd_deliver over a local connection, with real entries: what arrives, and what is refused."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pyrage
import pytest
import yaml
from integration.backup.backup_lab import BackupLab

from lab import binaries, returned, versions
from lab.archived import Keys, ask, back_up
from lab.loopback import Cluster
from lab.module import COLLECTIONS
from lab.objects import apiserver
from lab.watch import Secrets, Watch

BIN = Path(sys.executable).parent
KEYS = Path("/run/controlplane-etcd")
# Bytes that no compression hides: zstd keeps them as they are.
MARK = random.Random(11).randbytes(96).hex()
AREA = "deliver"
BIG_MIB = 200
LARGEST_GROWTH_KIB = 40 << 10

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the host's half is root's, as on a host")


@dataclasses.dataclass(frozen=True)
class Made:
    """A cluster's archive with two entries, another cluster's, and the keys to both."""

    archive: Path
    keys: Keys
    older: str
    newer: str
    etcd_version: str

    def options(self, **changes: t.Any) -> dict[str, t.Any]:
        options = {
            "archive": str(self.archive),
            "etcd_cluster": "alpha",
            "signing_key": str(self.keys.signing_key),
            "identities": [str(self.keys.identity)],
        }
        return {**options, **changes}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("made")
    staging, archive = root / "staging", root / "archive"
    staging.mkdir()
    keys = Keys.make(root)
    ids = []
    with Cluster("alpha", size=1) as cluster:
        version = cluster.version
        for turn in ("one", "two"):
            cluster.etcdctl("put", f"/registry/configmaps/default/{turn}", MARK)
            ids.append(back_up(cluster, keys, archive, staging)["entry"]["id"])
    with Cluster("beta", size=1) as cluster:
        back_up(cluster, keys, archive, staging)
    return Made(archive, keys, ids[0], ids[1], version)


@pytest.fixture
def mine(made: Made, tmp_path: Path) -> Made:
    """An archive of its own, to be spoiled."""
    shutil.copytree(made.archive, tmp_path / "archive", symlinks=True)
    return dataclasses.replace(made, archive=tmp_path / "archive")


class Site:
    """A controller and a host in one, each with folders of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.dest, self.spool, self.tmp = root / "dest", root / "spool", root / "tmp"
        for folder in (self.dest, self.spool, self.tmp):
            folder.mkdir()
        self.configure(pipelining=True)

    def configure(self, *, pipelining: bool) -> None:
        (self.root / "ansible.cfg").write_text(
            f"[defaults]\nhome = {self.root}/home\ncollections_path = {COLLECTIONS}\n"
            f"remote_tmp = {self.root}/remote\nlocal_tmp = {self.root}/local\nnocows = true\n"
            f"[connection]\npipelining = {pipelining}\n"
        )

    def defaults(self) -> dict[str, str]:
        return {"dest_dir": str(self.dest), "spool_dir": str(self.spool)}

    def begin(self, *cases: dict[str, t.Any], check: bool = False) -> subprocess.Popen[str]:
        """Start a play with one delivery after the other; each may fail."""
        tasks: list[dict[str, t.Any]] = []
        for number, case in enumerate(cases):
            tasks.append(
                {
                    "name": f"Case {number}",
                    "controlplane.etcd.etcd_deliver": {**self.defaults(), **case},
                    "register": f"case_{number}",
                    "ignore_errors": True,
                }
            )
        names = ", ".join(f"case_{number}" for number in range(len(cases)))
        tasks.append(
            {
                "name": "Tell",
                "ansible.builtin.copy": {
                    "content": f"{{{{ [{names}] | to_json }}}}",
                    "dest": str(self.root / "told"),
                },
                "check_mode": False,
            }
        )
        play = {
            "name": "Deliver",
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "vars": {"ansible_python_interpreter": sys.executable},
            "tasks": tasks,
        }
        (self.root / "play.yml").write_text(yaml.safe_dump([play]))
        kept = {k: v for k, v in os.environ.items() if not k.startswith("ANSIBLE_")}
        own = {"ANSIBLE_CONFIG": str(self.root / "ansible.cfg"), "TMPDIR": str(self.tmp)}
        return subprocess.Popen(
            [str(BIN / "ansible-playbook"), "-vv", "play.yml", *(["--check"] if check else [])],
            cwd=self.root,
            env={**kept, **own},
            stdin=subprocess.DEVNULL,
            stdout=(self.root / "log").open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )

    def processes(self) -> list[int]:
        """Return what runs for the play: the controller, its workers, modules."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(process / "cwd").startswith(str(self.root)):
                    found.append(int(process.name))
        return found

    def kill_controller(self) -> None:
        """Kill (-9) ansible-playbook and its workers; modules live on, as on a host, to their end."""
        for pid in self.processes():
            with contextlib.suppress(OSError):
                words = Path("/proc", str(pid), "cmdline").read_bytes()
                if b"ansible-playbook" in words and b"AnsiballZ" not in words:
                    os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 60
        while self.processes():
            assert time.monotonic() < end, self.processes()
            time.sleep(0.05)

    @property
    def log(self) -> str:
        return (self.root / "log").read_text(errors="replace")

    def deliver(self, *cases: dict[str, t.Any], check: bool = False) -> list[dict[str, t.Any]]:
        """Run a play to its end; return what each delivery answered."""
        (self.root / "told").unlink(missing_ok=True)
        process = self.begin(*cases, check=check)
        try:
            process.wait(300)
        finally:
            if process.poll() is None:
                self.kill_controller()
        assert (self.root / "told").exists(), self.log
        answers = json.loads((self.root / "told").read_text())
        for answer in answers:
            assert not (wrong := returned.disagreements("etcd_deliver", answer)), wrong
        return t.cast("list[dict[str, t.Any]]", answers)

    def left(self) -> list[str]:
        """Return what lies on host and controller that a delivery made."""
        found = [*self.dest.iterdir(), *self.spool.iterdir()]
        found += [path for path in self.tmp.iterdir() if path.name.startswith("controlplane")]
        found += [
            path for path in _keys() if json.loads(_first(path)[1:]).startswith(str(self.dest))
        ]
        return sorted(map(str, found))


def _keys() -> list[Path]:
    return list(KEYS.iterdir()) if KEYS.is_dir() else []


def _first(path: Path) -> str:
    return path.read_text().splitlines()[0]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "site").mkdir()
    return Site(tmp_path / "site")


def opened(delivered: dict[str, t.Any], name: str) -> bytes:
    """Open a delivered file as anybody could: with age and zstd, and the one-time key."""
    path = Path(delivered["delivery"], name)
    script = 'age -d -i "$1" "$2" | zstd -d -c'
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script, "_", delivered["identity"], str(path)],
        capture_output=True,
        check=True,
    )
    return done.stdout


def remove(delivered: dict[str, t.Any]) -> None:
    """Remove a delivery, by the host's half alone."""
    answer = ask("etcd_deliver", state="absent", delivery=delivered["delivery"])
    assert answer["changed"], answer


def test_delivery_is_what_the_manifest_says_and_goes_without_a_trace(
    made: Made, site: Site
) -> None:
    parts, tools = ["data", "encryption", "pki"], ["etcd", "etcdutl"]
    [done] = site.deliver(made.options(parts=parts, tools=tools))
    assert (done["changed"], done["entry"]["id"]) == (True, made.newer)
    folder = Path(done["delivery"])
    manifest = (made.archive / "alpha" / made.newer / "manifest.json").read_bytes()
    assert (folder / "manifest.json").read_bytes() == manifest
    signed = json.loads(manifest)
    clear = opened(done, "data.db.zst.age")
    assert hashlib.sha256(clear[:-32]).hexdigest() == signed["snapshot"]["sha256"]
    assert done["entry"]["sha256"] == signed["snapshot"]["sha256"]
    assert MARK.encode() in clear
    assert opened(done, "pki/alpha-cp1.tar.zst.age").startswith(b"etc/kubernetes/pki/sa.key")
    names = ["catalog.json.zst.age", "data.db.zst.age", "pki/alpha-cp1.tar.zst.age"]
    assert sorted(file["name"] for file in done["files"]) == names
    for file in done["files"]:
        path = folder / file["name"]
        assert (path.stat().st_size, path.stat().st_mode & 0o777) == (file["size_bytes"], 0o600)
    by_name = {tool["name"]: tool for tool in signed["tools"]}
    assert [tool["name"] for tool in done["tools"]] == tools
    for tool in done["tools"]:
        path = folder / tool["path"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == by_name[tool["name"]]["sha256"]
        assert path.stat().st_mode & 0o777 == 0o755
        said = subprocess.run(
            [path, "version" if "ut" in tool["name"] else "--version"],
            capture_output=True,
            check=True,
            text=True,
        )
        assert made.etcd_version in said.stdout
    for path in (folder, folder / "tools", folder / "pki", Path(done["identity"]).parent):
        assert path.stat().st_mode & 0o777 == 0o700
    assert Path(done["identity"]).stat().st_mode & 0o777 == 0o600
    assert Path(done["identity"]).parent == KEYS
    # The archive's own key opens none of it.
    refused = subprocess.run(
        ["age", "-d", "-i", str(made.keys.identity), str(folder / "data.db.zst.age")],
        capture_output=True,
        check=False,
    )
    assert refused.returncode != 0
    # Delivered, it is held for whoever restores from it; without its archive, for the run's time.
    entry = made.archive / "alpha" / made.newer
    assert len(list(entry.glob(".use-*"))) == 1
    absent = made.options(state="absent", delivery=done["delivery"])
    checked = site.deliver(absent, check=True)[0]
    assert len(list(entry.glob(".use-*"))) == 1
    assert (checked["changed"], folder.is_dir()) == (True, True)
    gone, again = site.deliver(absent, absent)
    assert (gone["changed"], again["changed"]) == (True, False)
    assert site.left() == []
    assert not list(entry.glob(".use-*"))


def test_check_mode_tells_the_plan_and_makes_nothing(made: Made, site: Site) -> None:
    options = made.options(parts=["data"], tools=["etcd", "etcdutl"])
    [planned] = site.deliver(options, check=True)
    assert site.left() == []
    assert "delivery" not in planned
    [done] = site.deliver(options)
    assert planned["entry"] == done["entry"]
    assert planned["tools"] == done["tools"]
    assert [file["name"] for file in planned["files"]] == [file["name"] for file in done["files"]]
    folder = Path(done["delivery"])
    used = sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.suffix != ".json" and path.is_file()
    )
    assert used <= planned["plan"]["needed_bytes"] <= used + 20_000
    assert planned["plan"]["free_bytes"] > planned["plan"]["needed_bytes"]
    remove(done)


def test_entry_is_chosen_by_id_time_and_proof(made: Made, mine: Made, site: Site) -> None:
    cut(_entry(mine) / "data.db.zst.age")
    cases = [
        made.options(id=made.older),
        made.options(id="unproven"),
        made.options(before="2020-01-01T00:00:00Z"),
        made.options(before="yesterday"),
        made.options(etcd_cluster="gamma"),
        mine.options(),
    ]
    by_id, unproven, before, no_time, unknown, older = site.deliver(*cases, check=True)
    assert (by_id["entry"]["id"], unproven["entry"]["id"]) == (made.older, made.older)
    assert (before["error"]["kind"], no_time["error"]["kind"]) == ("archive", "option_invalid")
    assert "no usable entry of gamma" in unknown["msg"]
    assert older["entry"]["id"] == mine.older
    assert f"Not usable: entry {mine.newer} (damaged: data.db.zst.age is" in older["warnings"][0]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def _entry(made: Made, entry: str = "") -> Path:
    return made.archive / "alpha" / (entry or made.newer)


def _tool(made: Made, name: str) -> Path:
    [path] = made.archive.glob(f"tools/*/{name}")
    return path


Harm = t.Callable[[Made], None]
EVERYTHING = {"parts": ["data", "pki"], "tools": ["etcd", "etcdutl"]}


def _swap(made: Made, *names: str) -> None:
    for name in names:
        one, two = _entry(made) / name, _entry(made, made.older) / name
        held = one.read_bytes()
        one.write_bytes(two.read_bytes())
        two.write_bytes(held)


def _replay(made: Made) -> None:
    shutil.rmtree(_entry(made))
    shutil.copytree(_entry(made, made.older), _entry(made))


def _foreign(made: Made) -> None:
    [other] = (made.archive / "beta").glob("2*")
    shutil.rmtree(_entry(made))
    shutil.copytree(other, _entry(made))


def _other_signer(made: Made) -> None:
    path = _entry(made) / "manifest.json"
    key = made.archive.parent / "other"
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(argv, check=True)
    path.with_name("manifest.json.sig").unlink()
    argv = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", "controlplane.etcd", str(path)]
    subprocess.run(argv, check=True)


# What is done to an archive, what the refusal says, and whether it may name the entry: a proof
# that it failed is only written of one whose manifest can be trusted.
HARMS: dict[str, tuple[Harm, str, str, bool]] = {
    "data flipped": (
        lambda m: flip(_entry(m) / "data.db.zst.age"),
        "trust",
        "is damaged: data.db.zst.age has sha256",
        True,
    ),
    "data cut off": (
        lambda m: cut(_entry(m) / "data.db.zst.age"),
        "trust",
        "is damaged: data.db.zst.age is",
        True,
    ),
    "data gone": (
        lambda m: (_entry(m) / "data.db.zst.age").unlink(),
        "trust",
        "is incomplete: Missing: data.db.zst.age",
        True,
    ),
    "kit flipped": (
        lambda m: flip(_entry(m) / "pki" / "alpha-cp1.tar.zst.age"),
        "trust",
        "is damaged: pki/alpha-cp1.tar.zst.age has sha256",
        True,
    ),
    "catalogue cut off": (
        lambda m: cut(_entry(m) / "catalog.json.zst.age"),
        "trust",
        "is damaged: catalog.json.zst.age is",
        True,
    ),
    "etcd flipped": (
        lambda m: flip(_tool(m, "etcd")),
        "trust",
        "is not the etcd that was archived",
        True,
    ),
    "etcdutl cut off": (
        lambda m: cut(_tool(m, "etcdutl")),
        "trust",
        "is not the etcdutl that was archived",
        True,
    ),
    "etcdutl gone": (
        lambda m: _tool(m, "etcdutl").unlink(),
        "trust",
        "is not the etcdutl that was archived: it is not there",
        True,
    ),
    "manifest flipped": (
        lambda m: flip(_entry(m) / "manifest.json"),
        "trust",
        "is forged: ",
        False,
    ),
    "manifest cut off": (lambda m: cut(_entry(m) / "manifest.json"), "trust", "is forged: ", False),
    "manifest gone": (
        lambda m: (_entry(m) / "manifest.json").unlink(),
        "trust",
        "is incomplete: There is no manifest.json",
        False,
    ),
    "signature flipped": (
        lambda m: flip(_entry(m) / "manifest.json.sig"),
        "trust",
        "is forged: ",
        False,
    ),
    "signature gone": (
        lambda m: (_entry(m) / "manifest.json.sig").unlink(),
        "trust",
        "is unsigned: ",
        False,
    ),
    "signed by somebody else": (_other_signer, "trust", "is unknown_signer: ", False),
    "data of another entry": (
        lambda m: _swap(m, "data.db.zst.age"),
        "trust",
        "is damaged: data.db.zst.age ",
        True,
    ),
    "manifest and signature of another entry": (
        lambda m: _swap(m, "manifest.json", "manifest.json.sig"),
        "trust",
        "is foreign: ",
        False,
    ),
    "an older entry put under this ID": (_replay, "trust", "is foreign: ", False),
    "another cluster's entry put under this ID": (_foreign, "trust", "is foreign: ", False),
}


def test_what_was_done_to_an_archive_is_refused_and_leaves_nothing(
    made: Made, site: Site, tmp_path: Path, reliability: t.Callable[..., None]
) -> None:
    cases = []
    for number, (harm, *_rest) in enumerate(HARMS.values()):
        spoiled = dataclasses.replace(made, archive=tmp_path / f"archive{number}")
        shutil.copytree(made.archive, spoiled.archive, symlinks=True)
        harm(spoiled)
        cases.append(spoiled.options(id=made.newer, **EVERYTHING))
    answers = site.deliver(*cases)
    told = zip(HARMS.items(), answers)
    for (name, (_harm, kind, words, named)), answer in told:
        assert answer.get("failed"), name
        assert answer["error"]["kind"] == kind, (name, answer["msg"])
        assert words in answer["msg"], (name, answer["msg"])
        assert (answer.get("entry", {}).get("id") == made.newer) is named, name
        assert "delivery" not in answer
        reliability(f"an entry to deliver: {name}", "refused", area=AREA, message=answer["msg"])
    assert site.left() == []


def test_what_is_asked_wrongly_is_refused_and_leaves_nothing(
    made: Made, site: Site, tmp_path: Path, reliability: t.Callable[..., None]
) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    asked: dict[str, tuple[dict[str, t.Any], str, str]] = {
        "an identity that does not fit": (
            {"identities": [str(wrong)]},
            "key_missing",
            "None of the identities given opens",
        ),
        "no identity": ({"identities": []}, "key_missing", "no identity is given"),
        "an identity file that is not there": (
            {"identities": ["/nowhere/key"]},
            "key_missing",
            "/nowhere/key cannot be read on the controller",
        ),
        "a tool that the archive has not": (
            {"tools": ["kube-apiserver"]},
            "archive",
            f"Entry {made.newer} has no kube-apiserver for linux-",
        ),
        "the kit of a host that gave none": (
            {"parts": ["pki"], "host": "cp9"},
            "archive",
            "has no kit of host cp9; it has those of alpha-cp1",
        ),
        "a folder that the host has not": (
            {"dest_dir": "/nowhere"},
            "option_invalid",
            "Nothing can be delivered into /nowhere on the host",
        ),
        "a folder that the controller has not": (
            {"spool_dir": "/nowhere"},
            "option_invalid",
            "Nothing can be spooled into /nowhere on the controller",
        ),
        "an archive that is not there": (
            {"archive": "/nowhere"},
            "archive",
            "/nowhere is not a directory",
        ),
    }
    answers = site.deliver(*(made.options(**change) for change, _kind, _words in asked.values()))
    for (name, (_change, kind, words)), answer in zip(asked.items(), answers):
        assert answer.get("failed"), name
        assert answer["error"]["kind"] == kind, (name, answer["msg"])
        assert words in answer["msg"], (name, answer["msg"])
        reliability(f"a delivery with {name}", "refused", area=AREA, message=answer["msg"])
    assert site.left() == []


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> t.Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


def test_no_room_on_either_side_is_refused_with_figures(
    made: Made, site: Site, reliability: t.Callable[..., None]
) -> None:
    with small_disk(site.dest, "20m"):
        options = made.options(tools=["etcd", "etcdutl"])
        [there] = site.deliver(options)
        [planned] = site.deliver(options, check=True)
        assert list(site.dest.iterdir()) == []
    with small_disk(site.spool, "64k"):
        [here] = site.deliver(made.options())
    for answer in (there, planned, here):
        assert answer["error"]["kind"] == "space_missing", answer["msg"]
    assert f"does not fit into {site.dest} on the host: " in there["msg"]
    assert f"does not fit into {site.dest} on localhost: " in planned["msg"]
    assert f"the file system of {site.spool} has 65536 free" in here["msg"]
    assert site.left() == []
    reliability(
        "a host without room for a delivery",
        "refused, with figures",
        area=AREA,
        message=there["msg"],
    )
    reliability(
        "a controller without room to seal anew",
        "refused, with figures",
        area=AREA,
        message=here["msg"],
    )


class OpenFiles:
    """Reads whatever the processes of a play have open, named or not, while they run."""

    def __init__(self, site: Site, secrets: Secrets) -> None:
        self.held: dict[str, list[str]] = {}
        self.looked = 0
        self._site = site
        self._secrets = secrets

    def look(self) -> None:
        for process in self._site.processes():
            with contextlib.suppress(OSError):
                self._look_at(Path("/proc", str(process)))

    def _look_at(self, process: Path) -> None:
        for link in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                target = os.readlink(link)
                if (
                    not link.is_file()
                    or not target.startswith("/")
                    or link.stat().st_size > 1 << 26
                ):
                    continue
                self.looked += 1
                held = self._secrets.within(link.read_bytes())
                if held:
                    self.held[target] = held


def test_no_key_and_no_clear_byte_is_anywhere_while_it_runs(
    made: Made, site: Site, reliability: t.Callable[..., None]
) -> None:
    identity = made.keys.identity.read_text().strip()
    secrets = Secrets({"identity": identity.encode(), "clear data": MARK.encode()})
    site.configure(pipelining=False)  # its modules' arguments lie in files
    KEYS.mkdir(0o700, exist_ok=True)
    folders = [site.root, KEYS, *map(Path, ("/tmp", "/var/tmp", "/dev/shm", "/run"))]
    with Watch(secrets, folders=folders) as watch:
        process = site.begin(made.options(parts=["data", "pki"], tools=["etcd"]))
        files = OpenFiles(site, secrets)
        while process.poll() is None:
            files.look()
            time.sleep(0.005)
    [done] = json.loads((site.root / "told").read_text())
    assert done["changed"], done
    assert watch.processes == {}
    assert {path: seen.secrets for path, seen in watch.files.items() if seen.secrets} == {}
    own = {str(made.keys.identity)}
    assert {path: held for path, held in files.held.items() if path not in own} == {}
    # The unnamed file on its way is there too briefly to be met in every run.
    assert files.looked
    assert secrets.within(site.log.encode()) == []
    # It looked at the right things: what has the mark is found in the clear data.
    assert "clear data" in secrets.within(opened(done, "data.db.zst.age"))
    # The one-time key was the owner's alone all the time.
    key = watch.files[done["identity"]]
    assert key.private
    assert not (Path(done["delivery"], "identity")).exists()
    remove(done)
    assert site.left() == []
    reliability(
        "identities and clear data, looked for in all processes, open files and temporary folders "
        "of controller and host during a delivery",
        "none is found",
        area=AREA,
    )


@pytest.mark.parametrize("moment", ["begun", "sending", "placed"])
def test_controller_killed_and_run_again_leaves_nothing(
    made: Made, site: Site, moment: str, reliability: t.Callable[..., None]
) -> None:
    looks: dict[str, t.Callable[[], t.Any]] = {
        "begun": lambda: list(site.dest.glob("*.incoming")),
        "sending": lambda: list(site.dest.glob("*.incoming/*")),
        "placed": lambda: list(site.dest.glob("*/tools/*")),
    }
    options = made.options(parts=["data", "pki"], tools=["etcd", "etcdutl"])
    process = site.begin(options)
    end = time.monotonic() + 120
    while not looks[moment]():
        assert process.poll() is None and time.monotonic() < end, site.log
        time.sleep(0.001)
    site.kill_controller()
    process.wait()
    killed = set(site.left())
    assert killed
    assert list(site.spool.iterdir()) == []  # what was there had no name
    [done] = site.deliver(options)
    assert done["changed"], done
    assert set(done["plan"]["removed"]) == {
        path for path in killed if path.startswith(str(site.dest))
    }
    remove(done)
    assert site.left() == []
    uses = list((made.archive / "alpha" / made.newer).glob(".use-*"))
    for use in uses:  # of a run that is over: it holds nothing
        use.unlink()
    reliability(
        f"the controller is killed (-9) in a delivery ({moment}), and runs again",
        "nothing of the first run is left on either side",
        area=AREA,
    )


def test_delivery_of_a_run_that_lives_is_left_alone(made: Made, site: Site) -> None:
    first, second = site.deliver(made.options(), made.options())
    assert second["plan"]["removed"] == []
    assert Path(first["delivery"]).is_dir()
    # That run is over now; but whoever is somebody else leaves it alone for a day.
    stranger = dataclasses.replace(made, archive=site.root / "copy")
    shutil.copytree(made.archive, stranger.archive, symlinks=True)
    [theirs] = site.deliver(stranger.options())
    assert theirs["plan"]["removed"] == []
    [ours] = site.deliver(made.options())
    assert sorted(ours["plan"]["removed"]) == sorted([first["delivery"], second["delivery"]])
    os.utime(theirs["delivery"], times=(time.time() - 90_000, time.time() - 90_000))
    [last] = site.deliver(made.options())
    assert sorted(last["plan"]["removed"]) == sorted([theirs["delivery"], ours["delivery"]])
    remove(last)
    assert site.left() == []


def test_backup_takes_the_api_server_along_if_asked_and_it_is_delivered(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = versions.KUBERNETES_RECORDED
    real = apiserver.build(version, binaries.cache_dir() / "kubernetes")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kube-apiserver").symlink_to(real)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    with BackupLab(pipelining=True) as lab, Cluster("alpha", size=1) as cluster:
        hosts = {"alpha": lab.hosts(cluster)}
        run = lab.backup(hosts)
        assert run.status == 0, run.text
        assert not (lab.archive / "tools").exists()
        run = lab.backup(hosts, etcd_backup_include_apiserver=True)
        assert run.status == 0, run.text
        path = f"tools/kubernetes-{version}-linux-{_machine()}/kube-apiserver"
        sha256 = hashlib.sha256(real.read_bytes()).hexdigest()
        entry = lab.archive / "alpha" / lab.entries("alpha")[-1]
        [tool] = json.loads((entry / "manifest.json").read_text())["tools"]
        assert (tool["name"], tool["path"], tool["sha256"]) == ("kube-apiserver", path, sha256)
        assert (lab.archive / path).stat().st_mode & 0o777 == 0o755
        # RESTORE.txt is about etcd's own tools, and there is none.
        assert "kube-apiserver-" not in (entry / "RESTORE.txt").read_text()
        again = lab.backup(hosts, etcd_backup_include_apiserver=True)
        assert again.status == 0, again.text
        assert [str(p.relative_to(lab.archive)) for p in lab.archive.glob("tools/*/*")] == [path]
        options = {
            "archive": str(lab.archive),
            "etcd_cluster": "alpha",
            "signing_key": str(lab.signing_key),
            "parts": [],
            "tools": ["kube-apiserver"],
        }
        [done] = site.deliver(options)
    assert [each["sha256"] for each in done["tools"]] == [sha256], done
    program = Path(done["delivery"], "tools", "kube-apiserver")
    said = subprocess.run([program, "--version"], capture_output=True, check=True, text=True)
    assert said.stdout.strip() == f"Kubernetes v{version}"
    remove(done)
    assert site.left() == []


def _machine() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]


def made_up(root: Path, mib: int) -> Made:
    """An archive whose entry is so large; nobody looks into the image on the way."""
    root.mkdir()
    keys = Keys.make(root)
    options = {
        "archive": str(root / "archive"),
        "etcd_cluster": "alpha",
        "signing_key": str(keys.signing_key),
    }
    started = ask("etcd_archive_add", state="started", **options)
    sealed = Path(started["path"], "data.db.zst.age")
    script = 'head -c "$1" /dev/urandom | zstd -q -1 -c | age -r "$2" > "$3"'
    words = [str(mib << 20), keys.recipient, str(sealed)]
    subprocess.run(["bash", "-c", script, "_", *words], check=True)
    digest = hashlib.sha256()
    with sealed.open("rb") as source:
        while piece := source.read(1 << 20):
            digest.update(piece)
    file = {
        "name": sealed.name,
        "part": "data",
        "size_bytes": sealed.stat().st_size,
        "sha256": digest.hexdigest(),
        "compression": "zstd",
        "encryption": {"scheme": "age", "recipients": [keys.recipient]},
    }
    snapshot = {
        "revision": 7,
        "db_size_bytes": mib << 20,
        "sha256": "0" * 64,
        "key_count": 3,
        "source_member": {"id": "1", "name": "cp1"},
    }
    record = {
        "cluster_id": "cdf818194e3a8c32",
        "members": [],
        "snapshot": snapshot,
        "etcd": {"server_version": "3.6.16"},
        "kubernetes": {"object_count": 3, "resources": {}, "secrets": {}},
        "files": [file],
        "checks": [],
    }
    info = {"cluster_id": "cdf818194e3a8c32", "members": []}
    added = ask("etcd_archive_add", id=started["id"], snapshot=record, info=info, **options)
    assert not added.get("failed"), added
    return Made(root / "archive", keys, "", started["id"], "3.6.16")


def test_large_entry_takes_no_memory_and_no_room_but_its_own(site: Site, tmp_path: Path) -> None:
    peaks: dict[int, int] = {}
    for mib in (1, BIG_MIB):
        process = site.begin(made_up(tmp_path / f"{mib}", mib).options())
        peak = 0
        while process.poll() is None:
            for pid in site.processes():
                with contextlib.suppress(OSError, IndexError):
                    status = Path("/proc", str(pid), "status").read_text()
                    peak = max(peak, int(status.split("VmHWM:")[1].split()[0]))
            time.sleep(0.02)
        [done] = json.loads((site.root / "told").read_text())
        assert done.get("changed"), done
        peaks[mib] = peak
        remove(done)
    assert peaks[BIG_MIB] - peaks[1] < LARGEST_GROWTH_KIB, peaks
    assert site.left() == []
