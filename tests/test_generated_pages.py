"""The pages that docs/generate.py makes: current, and with a meaning for every setting."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import click
import pytest
import yaml

from distill_offline.backends import BACKENDS
from distill_offline.bundle.settings import BundleSettings
from distill_offline.cli import commands
from distill_offline.config.settings import Settings

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    found = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_pages_are_what_the_program_says(generate: ModuleType) -> None:
    stale = [path.name for path, text in generate.pages().items() if path.read_text("utf-8") != text]
    assert stale == [], "run: python docs/generate.py"


def test_every_setting_has_a_meaning_and_every_number_a_unit(generate: ModuleType) -> None:
    sections = [section for root in (Settings, BundleSettings) for _, section in generate.sections(root)]
    sections += [generate.options_of(name) for name in BACKENDS]
    assert len(sections) > 20
    for section in sections:
        for setting in generate.settings_of(section):
            where = f"{section.__name__}.{setting.name}"
            assert setting.meaning.endswith("."), where
            if "number" in setting.kind and setting.kind != "mapping":
                assert setting.unit, where


def test_every_command_says_in_one_whole_line_what_it_does(generate: ModuleType) -> None:
    groups = [commands, *(each for _, each in generate.verbs() if isinstance(each, click.Group))]
    assert len(groups) > 2
    for group in groups:
        listed = group.get_help(click.Context(group, terminal_width=80)).partition("Commands:\n")[2].splitlines()
        assert len(listed) == len(group.list_commands(click.Context(group)))
        for line in listed:
            assert re.fullmatch(r"  [a-z-]+ +[A-Z].*[^.]\.", line), line


@pytest.mark.slow
def test_schema_accepts_our_configurations_and_refuses_an_unknown_key(generate: ModuleType) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    check = jsonschema.Draft202012Validator(json.loads(generate.schema()))
    files = [path for path in (ROOT / "configs").rglob("*.yaml") if not path.name.startswith("bundle-")]
    assert len(files) > 10
    for path in files:
        settings = yaml.safe_load(path.read_text("utf-8"))
        assert [f"{path.name}: {error.json_path}: {error.message}" for error in check.iter_errors(settings)] == []
    assert not check.is_valid({**settings, "trian": {}})
    assert not check.is_valid({**settings, "train": {"updates": "many"}})
