# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation against code: options against specs, argument_specs against defaults."""

from __future__ import annotations

import importlib
import re
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.controlplane.etcd.plugins.module_utils import (
    _argspec,
    _argspec_member,
)

ROOT = Path(__file__).resolve().parents[2]
HOME = "ansible_collections.controlplane.etcd.plugins."
MODULES = sorted(p.stem for p in (ROOT / "plugins" / "modules").glob("etcd_*.py"))
ROLES = sorted(p.name for p in (ROOT / "roles").iterdir() if p.is_dir())


FRAGMENTS = {
    "_connection": _argspec_member.CONNECTION,
    "_layout": _argspec_member.LAYOUT,
    "_archive": _argspec.ARCHIVE,
    "_identity": _argspec.IDENTITY,
    "_retention": _argspec.RETENTION,
}
WORDS = ("type", "elements", "default", "choices", "aliases")


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
        for word in WORDS:
            assert said.get(word) == spec.get(word), f"{name}.{option}: {word}"
        assert bool(said.get("required")) == bool(spec.get("required")), f"{name}.{option}"


def fragment(name: str, section: str = "DOCUMENTATION") -> dict[str, t.Any]:
    """Return a section of a fragment."""
    loaded = importlib.import_module(f"{HOME}doc_fragments.{name}").ModuleDocFragment
    return dict(yaml.safe_load(getattr(loaded, section)))


def test_every_fragment_of_options_has_its_group() -> None:
    names = {path.stem for path in (ROOT / "plugins" / "doc_fragments").glob("_*.py")}
    assert names == {"_attributes", *FRAGMENTS}


@pytest.mark.parametrize("name", FRAGMENTS)
def test_fragment_documents_its_group(name: str) -> None:
    documented = fragment(name)["options"]
    group = FRAGMENTS[name]
    assert list(documented) == list(group)
    for option, spec in group.items():
        said = documented[option]
        for word in WORDS:
            assert said.get(word) == spec.get(word), f"{option}: {word}"
        assert bool(said.get("required")) == bool(spec.get("required")), option
        for variable in spec.get("fallback", (None, []))[1]:
            text = " ".join(said["description"])
            assert f"E({variable})" in text, f"{option} does not tell its fallback {variable}"


@pytest.mark.parametrize("name", MODULES)
def test_attributes_are_told(name: str) -> None:
    module = importlib.import_module(f"{HOME}modules.{name}")
    documentation = yaml.safe_load(module.DOCUMENTATION)
    attributes: dict[str, dict[str, t.Any]] = {}
    for each in documentation["extends_documentation_fragment"]:
        file, _dot, section = each.removeprefix("controlplane.etcd.").partition(".")
        part = fragment(file, (section or "documentation").upper())
        for key, body in (part.get("attributes") or {}).items():
            attributes[key] = {**attributes.get(key, {}), **body}
    for key, body in (documentation.get("attributes") or {}).items():
        attributes[key] = {**attributes.get(key, {}), **body}
    groups = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]
    wanted = {"check_mode", "diff_mode", "idempotent", "platform"}
    assert wanted <= set(attributes)
    assert ("action_group" in attributes) is (name in groups["etcd"])
    for key, body in attributes.items():
        assert body.get("description"), key
        assert body.get("support") in ("full", "none", "partial", "N/A"), key
        if body["support"] == "partial":
            assert body.get("details"), f"{key}: what differs?"


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_tasks_that_the_spec_takes(name: str) -> None:
    module = importlib.import_module(f"{HOME}modules.{name}")
    own = 0
    for task in yaml.safe_load(module.EXAMPLES):
        actions = [key for key in task if "." in key]
        assert len(actions) == 1, f"{task.get('name')}: one action, by its full name"
        assert task.get("name"), actions
        collection, _dot, used = actions[0].rpartition(".")
        assert collection in ("controlplane.etcd", "ansible.builtin"), actions[0]
        if collection != "controlplane.etcd" or used not in MODULES:
            continue
        own += used == name
        spec = importlib.import_module(f"{HOME}modules.{used}").ARGUMENT_SPEC
        takes = {*spec, *(alias for each in spec.values() for alias in each.get("aliases", ()))}
        options = task[actions[0]] or {}
        assert set(options) <= takes, f"{task['name']}: {set(options) - takes}"
        for option, value in options.items():
            choices = spec.get(option, {}).get("choices")
            for each in value if isinstance(value, list) else [value]:
                assert not choices or each in choices or "{{" in str(each), f"{option}: {each}"
    assert own, f"no example of {name} itself"


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


TESTS_OF_MODULES = sorted((ROOT / "tests" / "unit" / "plugins" / "modules").glob("test_*.py"))


@pytest.mark.parametrize("path", TESTS_OF_MODULES, ids=[path.stem for path in TESTS_OF_MODULES])
def test_answers_of_modules_are_held_to_their_return(path: Path) -> None:
    said = path.read_text()
    # unit.fixtures.asked and .asking do it for the tests that ask by them.
    assert re.search(r"from unit\.fixtures(\.asked| import asked|\.asking import Ask)", said)


@pytest.mark.parametrize("role", ROLES)
def test_argument_specs_say_the_defaults(role: str) -> None:
    folder = ROOT / "roles" / role
    specs = yaml.safe_load((folder / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    defaults = yaml.safe_load((folder / "defaults" / "main.yml").read_text())
    typed = {option for entry in specs.values() for option in entry["options"]}
    assert set(defaults) <= typed, "a default that no entry point types"
    plain = {
        option: value
        for option, value in defaults.items()
        if not (isinstance(value, str) and "{{" in value)  # no Jinja in documented defaults
    }
    for entry, spec in specs.items():
        said = {
            option: body["default"]
            for option, body in spec["options"].items()
            if body.get("default") is not None
        }
        wanted = {option: value for option, value in plain.items() if option in spec["options"]}
        assert said == wanted, f"entry point {entry}"


@pytest.mark.parametrize("role", ROLES)
def test_argument_specs_type_all_that_the_role_uses(role: str) -> None:
    folder = ROOT / "roles" / role
    text = (folder / "meta" / "argument_specs.yml").read_text()
    specs = yaml.safe_load(text)["argument_specs"]
    typed = {option for entry in specs.values() for option in entry["options"]}
    for option, body in flat({k: v for e in specs.values() for k, v in e["options"].items()}):
        assert body.get("type") and body.get("description"), option
    used: set[str] = set()
    for kind in ("tasks", "vars", "templates", "handlers"):
        for path in sorted((folder / kind).rglob("*")):
            if path.is_file():
                used |= set(re.findall(rf"(?<![\w.]){role}_[a-z_]+", path.read_text()))
    # Tags begin as variables do; facts that the role sets are told in the entry point's words.
    told = {name for name in used if f"C({name})" in text}
    unknown = used - typed - told - tags(role)
    assert not unknown, f"used, and typed by no entry point: {sorted(unknown)}"


def test_ansible_lint_leaves_nothing_out() -> None:
    config = yaml.safe_load((ROOT / ".ansible-lint").read_text())
    ours = [".venv/", ".cache/", "tests/output/", "tests/unit/fixtures/"]
    assert config == {"profile": "production", "offline": True, "exclude_paths": ours}
    for other in (".ansible-lint-ignore", ".config", ".ansible-lint.yml", ".ansible-lint.yaml"):
        assert not (ROOT / other).exists(), other


def test_no_rule_is_silenced_in_roles_and_playbooks() -> None:
    silenced = re.compile(r"\bnoqa\b|yamllint disable|skip_ansible_lint|type: *ignore")
    for folder in ("roles", "playbooks", "meta"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and path.suffix in (".yml", ".yaml", ".j2", ".py"):
                found = silenced.search(path.read_text())
                assert not found, f"{path.relative_to(ROOT)}: {found and found[0]}"


def tags(role: str) -> set[str]:
    """Return the tags of a role's tasks."""
    found: set[str] = set()
    for path in (ROOT / "roles" / role / "tasks").glob("*.yml"):
        for task in yaml.safe_load(path.read_text()) or ():
            given = task.get("tags", [])
            found |= {given} if isinstance(given, str) else set(given)
    return {tag for tag in found if tag.startswith(f"{role}_")}


def test_members_of_the_action_group_take_all_that_module_defaults_may_set() -> None:
    groups = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]
    for name in MODULES:
        spec = importlib.import_module(f"{HOME}modules.{name}").ARGUMENT_SPEC
        # One option that a member lacks would make every task of it fail.
        takes_all = {*_argspec_member.CONNECTION, *_argspec_member.LAYOUT} <= set(spec)
        assert takes_all is (name in groups["etcd"]), name
