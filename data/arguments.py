"""Parse a command line into a dataclass: each field is an option, and the docstring of the field is its help.

What values an option may have is in the annotation of its field (data/legal.py).
"""

import inspect
import sys
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar, get_type_hints

import tyro

from data.docstrings import field_docstrings, join_lines

T = TypeVar("T")


def parse_arguments(
    kind: type[T], argv: Sequence[str] | None, *, prog: str, default: T | None = None, description: str | None = None
) -> T:
    """Return the parsed arguments of a command; if one is illegal, print why and exit with status 2.

    Args:
        kind: A dataclass with one field for each option; its docstring is the description of the command.
        argv: The arguments; None takes those of this process.
        prog: How the command is called as a module, such as `python -m search.tune`.
        default: The values of options that are not given; None takes the defaults of the dataclass.
        description: A description other than the docstring.
    """
    _set_help(kind)
    text = join_lines(inspect.cleandoc(description or kind.__doc__ or ""))
    parse = partial(tyro.cli, kind, args=argv, prog=_called_as(prog), description=text)
    return parse() if default is None else parse(default=default)


def _called_as(prog: str) -> str:
    """Return the name that the command was called by: the module's, or a command of `tumour-search` (search/cli.py)."""
    program = Path(sys.argv[0]).name
    return f"{program} {prog.rpartition('.')[2]}" if program == "tumour-search" else prog


def _set_help(kind: type) -> None:
    """Set the help of each field of a dataclass, and of nested ones, to its docstring without line breaks.

    tyro 1.0.17 would keep the line breaks of indented docstrings.
    """
    docstrings, hints = field_docstrings(kind), get_type_hints(kind)
    for field in fields(kind):
        if field.name in docstrings:
            field.metadata = MappingProxyType({**field.metadata, "help": docstrings[field.name]})
        if is_dataclass(hints[field.name]):
            _set_help(hints[field.name])
