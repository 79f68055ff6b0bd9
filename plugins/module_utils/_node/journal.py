# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""How far a run has got on a host: a file that is fsynced before the next step begins.

It outlives module, controller and boot, and is the lock between runs: a flock lives only as long as
a module. Writers of one journal hold a host lock (locks.py) meanwhile.
"""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _files, _time
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import RestoreRefused

__all__ = ["Entry", "Journal"]

SCHEMA = "controlplane.etcd/journal/v1"
_MOST_BYTES = 1 << 20
_LOOK = (
    "Look at it: it says how far a run has got. Remove it only if no folder of that run is left."
)


@dataclasses.dataclass(frozen=True)
class Entry:
    """What a journal says.

    :param run: the run's ID, the same on all hosts.
    :param owner: who began it, in words.
    :param generation: grows with every write.
    :param state: what is done, or is being done.
    :param body: what the run needs to go on, or back.
    """

    run: str
    owner: str
    generation: int
    state: str
    started_at: str
    written_at: str
    body: t.Mapping[str, t.Any]


class Journal:
    """One journal, in a folder that only this user can write to."""

    def __init__(self, path: str) -> None:
        self.path = path

    def read(self) -> Entry | None:
        """Return what it says; None if there is none.

        :raises RestoreRefused: it can't be read, or is none.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise self._unusable(f"{exc.strerror}") from exc
        with os.fdopen(descriptor, "rb") as source:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
                raise self._unusable(f"it is no plain file of this user (uid {facts.st_uid})")
            data = source.read(_MOST_BYTES)
        try:
            found = json.loads(data)
            if found["schema"] != SCHEMA:
                raise ValueError(f"its schema is {found['schema']!r}, this is {SCHEMA}")
            entry = Entry(**{each.name: found[each.name] for each in dataclasses.fields(Entry)})
        except (ValueError, KeyError, TypeError, RecursionError) as exc:
            raise self._unusable(f"{exc.__class__.__name__}: {exc}") from exc
        return entry

    def begin(self, run: str, owner: str, state: str, body: t.Mapping[str, t.Any]) -> Entry:
        """Write the first entry of a run over whatever a finished one left."""
        before = self.read()
        now = _time.rfc3339(_time.now())
        self._make_folder()
        generation = before.generation + 1 if before else 1
        return self._put(Entry(run, owner, generation, state, now, now, dict(body)))

    def advance(self, entry: Entry, state: str, **more: t.Any) -> Entry:
        """Write the next state of a run; `more` goes over what the body has.

        :raises RestoreRefused: the journal is not as `entry` has it: somebody else wrote it.
        """
        there = self.read()
        if there is None or (there.run, there.generation) != (entry.run, entry.generation):
            raise RestoreRefused(
                f"Journal {self.path} was written by somebody else meanwhile: it is at "
                f"{f'{there.run}, generation {there.generation}' if there else 'nothing'}, this "
                f"run knew {entry.run}, generation {entry.generation}.",
                hint="See which run is at work on this host, and let one of them do it.",
                path=self.path,
            )
        return self._put(
            dataclasses.replace(
                entry,
                generation=entry.generation + 1,
                state=state,
                written_at=_time.rfc3339(_time.now()),
                body={**entry.body, **more},
            )
        )

    def remove(self, entry: Entry) -> None:
        """Forget a run that left nothing behind."""
        there = self.read()
        if there and (there.run, there.generation) == (entry.run, entry.generation):
            os.unlink(self.path)
            _files.fsync_directory(os.path.dirname(self.path))

    def _put(self, entry: Entry) -> Entry:
        document = {"schema": SCHEMA, **dataclasses.asdict(entry)}
        data = json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"
        try:
            _files.atomic_write(self.path, data)
        except OSError as exc:
            raise RestoreRefused(
                f"Journal {self.path} can't be written: {exc.strerror}.",
                hint="Mend that, and run this state again: it goes on from here.",
                path=self.path,
            ) from exc
        return entry

    def _make_folder(self) -> None:
        folder = os.path.dirname(self.path)
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            facts = os.lstat(folder)
        except OSError as exc:
            raise self._unusable(f"{folder} can't be made: {exc.strerror}") from exc
        others = stat.S_IMODE(facts.st_mode) & 0o022
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or others:
            raise RestoreRefused(
                f"Journal {self.path} can't be kept: others than this user may write to {folder} "
                f"(uid {facts.st_uid}, mode {stat.S_IMODE(facts.st_mode):04o}).",
                hint="Set journal_dir to a folder of this user's own that outlives a boot.",
                path=folder,
            )
        _files.fsync_directory(os.path.dirname(folder))

    def _unusable(self, why: str) -> RestoreRefused:
        return RestoreRefused(
            f"Journal {self.path} can't be used: {why}.", hint=_LOOK, path=self.path
        )
