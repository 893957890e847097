"""data/README.md names files, commands, options and layouts that exist."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import tyro

import data.download
import data.inspect.__main__ as inspect
from data.packing.cache import MAX_PACKS
from data.readers.reader import LayoutOptions
from data.readers.table import READERS

ROOM = Path(__file__).resolve().parents[2] / "data"
TEXT = (ROOM / "README.md").read_text()


def test_readme_names_files_that_exist():
    names = set(re.findall(r"\b(?:[a-z_]+/)*[a-z_]+\.py\b", TEXT))
    assert len(names) > 8
    assert [name for name in names if not ((ROOM / name).exists() or (ROOM.parent / name).exists())] == []


def test_readme_shows_commands_whose_arguments_are_legal():
    commands = re.findall(r"^python -m (data\.[a-z]+) (.*?) *(?:#.*)?$", TEXT, re.MULTILINE)
    assert [module for module, _ in commands] == ["data.inspect", "data.download"]
    for (_, arguments), kind in zip(commands, (inspect.Arguments, data.download.Arguments), strict=True):
        tyro.cli(kind, args=arguments.split())


@pytest.mark.parametrize("name", READERS)
def test_readme_describes_every_layout(name):
    assert re.search(rf"^\*\*`{name}`\*\*:|`--data {name}`", TEXT, re.MULTILINE)


@pytest.mark.parametrize("option", [field.name for field in fields(LayoutOptions)])
def test_readme_says_which_layouts_an_option_is_for(option):
    row = re.search(rf"^\| `--{option.replace('_', '-')}[^|]*\|([^|]*)\|", TEXT, re.MULTILINE)
    assert row is not None
    assert set(re.findall("`([a-z]+)`", row[1])) == {name for name, one in READERS.items() if option in one.options}


def test_readme_says_how_many_packs_are_kept():
    assert MAX_PACKS == 8
    assert "The eight most recently used packs\nare kept" in TEXT
