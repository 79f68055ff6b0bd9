# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of an entry's certificates, for a day to come."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import forecast, manifest
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import OptionInvalid

FIXTURE = Path(__file__).parent / "fixtures" / "manifest-v1.json"
NOW = dt.datetime(2026, 11, 24, tzinfo=dt.timezone.utc)
PRESENT = ("ca.crt", "ca.key", "apiserver.crt")


def entry(
    *certificates: tuple[str, str, str], present: tuple[str, ...] = PRESENT
) -> manifest.Manifest:
    found = manifest.from_json(FIXTURE.read_bytes(), "golden")
    return dataclasses.replace(
        found,
        certificates=tuple(manifest.Certificate(*each) for each in certificates),
        kit=(dataclasses.replace(found.kit[0], present=present),),
    )


LEAF = ("cp1", "apiserver.crt", "2027-11-24T00:00:00Z")
CA = ("cp1", "ca.crt", "2036-11-21T00:00:00Z")


def test_forecast_tells_the_first_end_and_the_last() -> None:
    told = forecast.forecast(entry(CA, LEAF), at=NOW)
    assert told == {
        "at": "2026-11-24T00:00:00Z",
        "certificate_count": 2,
        "expired_count": 0,
        "expired": [],
        "restorable_until": LEAF[2],
        "restorable_until_of": {"host": "cp1", "name": "apiserver.crt"},
        "ca_ends_at": CA[2],
        "ca_ends_of": {"host": "cp1", "name": "ca.crt"},
        "meaning": "Restorable without renewing until 2027-11-24T00:00:00Z, when apiserver.crt of "
        "cp1 ends. After it certificates have to be renewed with the kit's CA, which helps until "
        "2036-11-21T00:00:00Z, when ca.crt ends.",
    }


def test_forecast_of_a_later_day_names_what_will_have_expired() -> None:
    at = dt.datetime(2028, 1, 1, tzinfo=dt.timezone.utc)
    told = forecast.forecast(entry(CA, LEAF), at=at)
    assert told
    assert told["expired"] == [dict(zip(("host", "name", "not_after"), LEAF))]
    assert "by 2028-01-01T00:00:00Z that is past." in told["meaning"]
    late = forecast.forecast(entry(CA, LEAF), at=at + dt.timedelta(days=4000))
    assert late
    assert late["expired_count"] == 2
    assert late["meaning"].endswith("a new CA is needed.")


def test_forecast_says_where_the_ca_key_is_not_in_a_kit() -> None:
    told = forecast.forecast(entry(CA, LEAF, present=("ca.crt",)), at=NOW)
    assert told
    assert "No kit has its key" in told["meaning"]


def test_forecast_of_a_ca_that_ends_first() -> None:
    told = forecast.forecast(entry(("cp1", "ca.crt", "2027-01-01T00:00:00Z"), LEAF), at=NOW)
    assert told
    assert (told["restorable_until"], told["ca_ends_at"]) == ("2027-01-01T00:00:00Z",) * 2
    assert "That is a CA" in told["meaning"]


def test_forecast_of_k3s_is_its_authorities() -> None:
    found = entry(CA, LEAF)
    kit = (dataclasses.replace(found.kit[0], layout="k3s"),)
    told = forecast.forecast(dataclasses.replace(found, kit=kit), at=NOW)
    assert told
    assert told["restorable_until"] == CA[2]


def test_forecast_where_no_certificate_is_told_is_none() -> None:
    assert forecast.forecast(entry(), at=NOW) is None
    assert forecast.forecast(None, at=NOW) is None
    told = forecast.forecast(entry(("cp1", "admin.conf", LEAF[2])), at=NOW)
    assert told
    assert (told["restorable_until"], told["ca_ends_at"]) == (None, None)
    assert "not known" in told["meaning"]


def test_forecast_lists_the_first_only() -> None:
    many = [(f"cp{number:02}", "apiserver.crt", "2026-01-01T00:00:00Z") for number in range(50)]
    told = forecast.forecast(entry(*many), at=NOW)
    assert told
    assert (told["expired_count"], len(told["expired"])) == (50, 20)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, NOW),
        ("90d", NOW + dt.timedelta(days=90)),
        ("0", NOW),
        ("2027-06-01T02:00:00+02:00", dt.datetime(2027, 6, 1, tzinfo=dt.timezone.utc)),
        ("2020-01-01T00:00:00Z", dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)),
    ],
)
def test_time_of(text: str | None, expected: dt.datetime) -> None:
    assert forecast.time_of(text, now=NOW) == expected


@pytest.mark.parametrize(
    "text", ["tomorrow", "", "2027-06-01", "30 d", "9" * 30 + "d", "90000000d"]
)
def test_time_of_neither_is_refused(text: str) -> None:
    with pytest.raises(OptionInvalid, match="Option at is neither"):
        forecast.time_of(text, now=NOW)
