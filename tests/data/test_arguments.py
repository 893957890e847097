"""The command line of every command: options from a dataclass, and help in whole lines."""

import sys
from dataclasses import dataclass, field
from typing import Annotated

import pytest
import tyro

from data.arguments import parse_arguments


@dataclass(frozen=True, kw_only=True)
class Group:
    """Options that belong together."""

    width: int = 4
    """How wide it is; this sentence has a break in the middle of
    a line."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Do what is asked, and say in a description with a break in
    `the middle` how.

    Another paragraph.
    """

    name: Annotated[str, tyro.conf.Positional]
    """What it is called."""

    depth: int = 3
    """How deep it is, in a sentence that is so long that it does not fit on
    one line of the source (`2`,
    or more)."""

    group: Annotated[Group, tyro.conf.arg(name="")] = field(default_factory=Group)
    undocumented: bool = False


def help_of(capsys, **options: str) -> list[str]:
    """Return the help in lines, without the frame."""
    with pytest.raises(SystemExit) as caught:
        parse_arguments(Arguments, ["--help"], prog="command", **options)
    assert caught.value.code == 0
    return [line.strip("│ ") for line in capsys.readouterr().out.splitlines()]


def test_parse_arguments_returns_the_dataclass():
    expected = Arguments(name="a", depth=5, group=Group(width=6), undocumented=True)
    assert parse_arguments(Arguments, ["a", "--depth", "5", "--width", "6", "--undocumented"], prog="c") == expected


def test_parse_arguments_changes_a_default():
    default = Arguments(name="b", depth=7)
    assert parse_arguments(Arguments, ["b"], prog="c", default=default) == default


def test_help_breaks_lines_only_where_the_terminal_ends(capsys):
    text = "\n".join(help_of(capsys))
    assert "How deep it is, in a sentence that is so long that it" in text
    assert "How wide it is; this sentence has a break in the" in text
    assert "\none line" not in text
    assert "\nor more" not in text
    assert "\na line" not in text


def test_help_describes_the_command_by_paragraphs(capsys):
    lines = help_of(capsys)
    assert "Do what is asked, and say in a description with a break in `the middle` how." in lines
    assert "Another paragraph." in lines
    assert "Something else." in help_of(capsys, description="Something else.")


def test_illegal_arguments_end_with_status_2(capsys):
    with pytest.raises(SystemExit) as caught:
        parse_arguments(Arguments, ["a", "--depth", "deep"], prog="command")
    assert caught.value.code == 2
    assert "--depth" in capsys.readouterr().err


def test_help_says_how_the_command_was_called(capsys, monkeypatch):
    for program, usage in (
        ("/usr/bin/tumour-search", "usage: tumour-search tune "),
        ("tune.py", "usage: python -m search.tune "),
    ):
        monkeypatch.setattr(sys, "argv", [program])
        with pytest.raises(SystemExit):
            parse_arguments(Arguments, ["--help"], prog="python -m search.tune")
        assert capsys.readouterr().out.startswith(usage)
