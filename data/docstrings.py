"""The docstrings of the fields of a dataclass: the lines below each field, which Python itself does not keep."""

import ast
import inspect
import textwrap
from dataclasses import is_dataclass


def field_docstrings(kind: type) -> dict[str, str]:
    """Return the docstring of each field of a dataclass, without line breaks, by its name."""
    found = {name: text for base in reversed(kind.__mro__) for name, text in _docstrings(base).items()}
    return {name: join_lines(inspect.cleandoc(text)) for name, text in found.items()}


def join_lines(text: str) -> str:
    """Return a text with each paragraph on one line."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _docstrings(kind: type) -> dict[str, str]:
    """Return the docstring of each field of a dataclass, by name; empty for any other class."""
    if not is_dataclass(kind):
        return {}
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, following in zip(definition.body, definition.body[1:], strict=False):
        match field, following:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = text
    return found
