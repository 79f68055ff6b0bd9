# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drills with a real kube-apiserver, by the module: deliveries with an encryption configuration."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pyrage
import pytest

from lab import drilled_api, module, objects, versions
from lab.archived import Keys, ask, asked, back_up
from lab.delivered import Delivery, deliver
from lab.loopback import Cluster

if t.TYPE_CHECKING:
    from conftest import Reliability

SEALED = "encryption.tar.zst.age"
API_PHASES = ["api_start", "api_compare"]


@dataclasses.dataclass(frozen=True)
class Kept:
    """An entry, and the encryption part of the same cluster."""

    keys: Keys
    entry: Path
    encryption: Path
    secrets: tuple[str, ...]

    def delivery(
        self, into: Path, *, version: str = versions.KUBERNETES_RECORDED, encryption: bool = True
    ) -> Delivery:
        """Lay a delivery whose manifest names a Kubernetes."""
        manifest = json.loads((self.entry / "manifest.json").read_text())
        manifest["kubernetes"]["version"] = version
        made = deliver(self.entry, self.keys, into / "deliveries", manifest=manifest)
        if encryption:
            own = pyrage.x25519.Identity.from_str(_last_line(self.keys.identity))
            once = pyrage.x25519.Identity.from_str(_last_line(made.identity))
            packed = pyrage.decrypt(self.encryption.read_bytes(), [own])
            (made.folder / SEALED).write_bytes(pyrage.encrypt(packed, [once.to_public()]))
        return made


def _last_line(path: Path) -> str:
    return path.read_text().split()[-1]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """An entry of a real etcd, and what etcd_kit takes of the same host."""
    root = tmp_path_factory.mktemp("kept")
    keys = Keys.make(root)
    staging = root / "staging"
    staging.mkdir()
    with Cluster("withapi", size=1) as cluster:
        objects.fill(cluster, name="withapi")
        added = back_up(cluster, keys, root / "archive", staging)
        member = next(iter(cluster.members.values()))
        kit = asked(
            "etcd_kit",
            dest_dir=str(staging),
            recipients=[keys.recipient],
            certificates_dir=str(member.certificates_dir),
            static_pod_path=str(member.static_pod_path),
            data_dir=str(member.data_dir),
        )
        path = next(each["path"] for each in kit["files"] if each["part"] == "encryption")
        planted = (*cluster.secrets(), *objects.planted_forms())
    return Kept(keys, Path(added["path"]), Path(path), planted)


def tools() -> list[dict[str, str]]:
    return [{"name": "kube-apiserver", "path": str(drilled_api.program())}]


def drilled(delivery: Delivery, work_dir: Path, **more: t.Any) -> dict[str, t.Any]:
    """Drill with an API server; everything is gone afterwards, whatever came of it."""
    answer = ask(
        "etcd_drill",
        **delivery.options(work_dir=str(work_dir), api=True, tools=tools(), **more),
    )
    assert delivery.gone
    assert list(work_dir.iterdir()) == []
    assert of_work_dir(work_dir) == []
    return answer


def of_work_dir(work_dir: Path) -> list[int]:
    """Return the processes that work below a folder."""
    found = []
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            with contextlib.suppress(OSError):
                if str(work_dir) in (each / "cmdline").read_text(errors="replace") + os.readlink(
                    each / "cwd"
                ):
                    found.append(int(each.name))
    return found


def comparison(record: dict[str, t.Any], name: str) -> dict[str, t.Any]:
    found: dict[str, t.Any] = next(each for each in record["comparisons"] if each["name"] == name)
    return found


def assert_no_secret(kept: Kept, text: str) -> None:
    assert not [each for each in kept.secrets if each in text]


def test_drill_with_an_api_server_passes(kept: Kept, work_dir: Path, tmp_path: Path) -> None:
    answer = drilled(kept.delivery(tmp_path), work_dir)
    assert not answer.get("failed"), answer
    record = answer["drill"]
    assert record["verdict"] == "passed", record["reason"]
    assert record["versions"]["kube_apiserver"] == versions.KUBERNETES_RECORDED
    names = [each["name"] for each in record["phases"]]
    assert [each for each in names if each.startswith("api_")] == API_PHASES
    listed = comparison(record, "api_objects")["found"]
    listed += comparison(record, "api_custom_objects")["found"]
    assert listed == comparison(record, "objects")["found"] > 500
    assert comparison(record, "api_secrets")["found"] == 2
    assert record["rto_seconds"] >= 1
    assert record["not_checked"] == []
    assert answer["extracted"] is None
    assert_no_secret(kept, json.dumps(answer))


def test_drill_without_the_encryption_part_fails(
    kept: Kept, work_dir: Path, tmp_path: Path
) -> None:
    answer = drilled(kept.delivery(tmp_path, encryption=False), work_dir)
    record = answer["drill"]
    assert record["verdict"] == "failed"
    assert "secrets" in record["reason"]
    assert comparison(record, "api_secrets")["found"] == 0
    assert comparison(record, "api_custom_objects")["result"] == "passed"


def test_damaged_encryption_part_fails(
    kept: Kept, work_dir: Path, tmp_path: Path, reliability: Reliability
) -> None:
    delivery = kept.delivery(tmp_path)
    sealed = bytearray((delivery.folder / SEALED).read_bytes())
    sealed[-20] ^= 1
    (delivery.folder / SEALED).write_bytes(sealed)
    record = drilled(delivery, work_dir)["drill"]
    assert record["verdict"] == "failed"
    assert SEALED in record["reason"] or "damaged" in record["reason"]
    reliability(
        "A flipped bit in the delivered encryption configuration",
        "failed",
        area="drill",
        message=record["reason"],
    )


def test_apiserver_of_another_minor_is_refused(
    kept: Kept, work_dir: Path, tmp_path: Path, reliability: Reliability
) -> None:
    answer = drilled(kept.delivery(tmp_path, version="v1.34.4"), work_dir)
    assert answer["failed"]
    assert answer["error"]["kind"] == "tool_unusable"
    assert "1.34.4" in answer["msg"]
    reliability(
        "A kube-apiserver of another minor than the cluster's",
        "refused: nothing is proven",
        area="drill",
        message=answer["msg"],
    )


def test_extract_writes_a_namespace_and_seals_its_secrets(
    kept: Kept, work_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    wish = {"namespaces": ["shop"], "dest_dir": str(out), "recipients": [kept.keys.recipient]}
    answer = drilled(kept.delivery(tmp_path), work_dir, extract=wish)
    assert not answer.get("failed"), answer
    assert answer["drill"]["verdict"] == "passed"
    extracted = answer["extracted"]
    assert {each["name"] for each in extracted["files"]} == {"objects.yaml", "secrets.yaml.zst.age"}
    assert extracted["objects"]["apps/deployments"] == 4
    assert extracted["objects"]["namespaces"] == 1
    assert extracted["left_out"]["owned"] > 10
    for file in out.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
    assert_no_secret(kept, json.dumps(answer) + (out / "objects.yaml").read_text())


@pytest.mark.parametrize(
    ("wish", "kind", "words"),
    [
        ({"dest_dir": "/var/tmp"}, "option_invalid", "chooses nothing"),
        ({"dest_dir": "/nowhere", "names": ["a"]}, "option_invalid", "/nowhere"),
        ({"dest_dir": "/var/tmp", "namespaces": ["shop"]}, "seal", "no recipients"),
        ({"dest_dir": "/var/tmp", "resources": ["secret"]}, "seal", "no recipients"),
    ],
    ids=["nothing", "no folder", "secrets of a namespace", "secrets by name"],
)
def test_extract_that_cannot_be_done_is_refused_before_anything_starts(
    kept: Kept, work_dir: Path, tmp_path: Path, wish: dict[str, t.Any], kind: str, words: str
) -> None:
    delivery = kept.delivery(tmp_path)
    options = delivery.options(work_dir=str(work_dir), api=True, tools=tools(), extract=wish)
    answer = ask("etcd_drill", **options)
    assert answer["failed"]
    assert answer["error"]["kind"] == kind
    assert words in answer["msg"]
    assert not delivery.gone


def test_extract_without_an_api_server_is_refused(
    kept: Kept, work_dir: Path, tmp_path: Path
) -> None:
    wish = {"dest_dir": str(tmp_path), "resources": ["deployments"]}
    answer = ask("etcd_drill", **kept.delivery(tmp_path).options(extract=wish))
    assert answer["failed"]
    assert "api: true" in answer["msg"]


@pytest.mark.parametrize("victim", ["module", "kube-apiserver"])
def test_nothing_is_left_after_a_kill_while_the_api_server_runs(
    kept: Kept, work_dir: Path, tmp_path: Path, victim: str, reliability: Reliability
) -> None:
    delivery = kept.delivery(tmp_path)
    options = delivery.options(work_dir=str(work_dir), api=True, tools=tools())
    process = subprocess.Popen(
        [sys.executable, "-m", "ansible_collections.controlplane.etcd.plugins.modules.etcd_drill"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": module.COLLECTIONS},
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": options}).encode())
    process.stdin.close()
    try:
        server = _api_server(work_dir)
    except BaseException:
        process.kill()
        raise
    keys = list(work_dir.glob("*/encryption.yaml"))
    os.kill(process.pid if victim == "module" else server, signal.SIGKILL)
    said = process.stdout.read().decode()
    process.wait()
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if delivery.gone and not of_work_dir(work_dir) and not list(work_dir.iterdir()):
            break
        time.sleep(0.05)
    assert of_work_dir(work_dir) == []
    assert list(work_dir.iterdir()) == []
    assert delivery.gone
    assert all(path.stat().st_mode & 0o077 == 0 for path in keys if path.exists())
    if victim != "module":
        answer = json.loads(said)
        assert answer["failed"]
        assert answer["error"]["kind"] == "cage_refused"
        assert_no_secret(kept, said)
    reliability(
        f"kill -9 of the {victim} while the drill's kube-apiserver starts",
        "no process, no file, no key is left; nothing is proven",
        area="drill",
    )


def _api_server(work_dir: Path) -> int:
    """Wait for the API server to have been started, and return it."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for pid in of_work_dir(work_dir):
            with contextlib.suppress(OSError):
                if "\0--etcd-servers" in Path(f"/proc/{pid}/cmdline").read_text(errors="replace"):
                    return pid
        time.sleep(0.02)
    raise AssertionError("no API server in 60 s")
