# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation against code: options against specs, argument_specs against defaults."""

from __future__ import annotations

import importlib
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.controlplane.etcd.plugins.module_utils import _argspec

ROOT = Path(__file__).resolve().parents[2]
HOME = "ansible_collections.controlplane.etcd.plugins."
MODULES = sorted(p.stem for p in (ROOT / "plugins" / "modules").glob("etcd_*.py"))
ROLES = sorted(p.name for p in (ROOT / "roles").iterdir() if p.is_dir())


def documented_options(name: str) -> dict[str, t.Any]:
    """Return a module's documented options, those of its fragments included."""
    module = importlib.import_module(f"{HOME}modules.{name}")
    documentation = yaml.safe_load(module.DOCUMENTATION)
    options: dict[str, t.Any] = {}
    for fragment in documentation.get("extends_documentation_fragment", []):
        fragment_name, _dot, section = fragment.removeprefix("controlplane.etcd.").partition(".")
        loaded = importlib.import_module(f"{HOME}doc_fragments.{fragment_name}").ModuleDocFragment
        text = getattr(loaded, (section or "documentation").upper())
        options.update(yaml.safe_load(text).get("options") or {})
    # As ansible-doc merges them: the module's own words go over the fragment's, word by word.
    for name, own in (documentation.get("options") or {}).items():
        options[name] = {**options.get(name, {}), **own}
    return options


@pytest.mark.parametrize("name", MODULES)
def test_options_documented_as_the_spec_has_them(name: str) -> None:
    module = importlib.import_module(f"{HOME}modules.{name}")
    documented = documented_options(name)
    assert sorted(documented) == sorted(module.ARGUMENT_SPEC)
    for option, spec in module.ARGUMENT_SPEC.items():
        said = documented[option]
        for word in ("type", "elements", "default", "choices", "aliases"):
            assert said.get(word) == spec.get(word), f"{name}.{option}: {word}"
        assert bool(said.get("required")) == bool(spec.get("required")), f"{name}.{option}"


def flat(spec: t.Mapping[str, t.Any], prefix: str = "") -> t.Iterator[tuple[str, t.Any]]:
    """Yield every documented return value, nested ones with their path."""
    for key, value in spec.items():
        yield prefix + key, value
        yield from flat(value.get("contains") or {}, f"{prefix}{key}.")


@pytest.mark.parametrize("name", MODULES)
def test_every_return_value_has_description_type_and_sample(name: str) -> None:
    returns = yaml.safe_load(importlib.import_module(f"{HOME}modules.{name}").RETURN)
    assert returns
    for key, value in flat(returns):
        assert value.get("description"), key
        assert value.get("type"), key
        assert "contains" in value or "sample" in value, f"{key} has no sample"
        if "." not in key:
            assert value.get("returned"), key


@pytest.mark.parametrize("role", ROLES)
def test_argument_specs_say_the_defaults(role: str) -> None:
    folder = ROOT / "roles" / role
    specs = yaml.safe_load((folder / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    defaults = yaml.safe_load((folder / "defaults" / "main.yml").read_text())
    options: dict[str, t.Any] = {}
    for entry in specs.values():
        options.update(entry["options"])
    assert set(defaults) <= set(options), "a default that no entry point types"
    for option, value in defaults.items():
        if isinstance(value, str) and "{{" in value:
            assert "default" not in options[option], f"{option}: no Jinja in documented defaults"
        else:
            assert options[option].get("default") == value, option


def test_members_of_the_action_group_take_all_that_module_defaults_may_set() -> None:
    groups = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]
    for name in MODULES:
        spec = importlib.import_module(f"{HOME}modules.{name}").ARGUMENT_SPEC
        # One option that a member lacks would make every task of it fail.
        takes_all = {*_argspec.CONNECTION, *_argspec.LAYOUT} <= set(spec)
        assert takes_all is (name in groups["etcd"]), name
