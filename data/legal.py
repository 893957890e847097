"""What values a field of a dataclass may have: its type, and the annotations of this module.

    width: Annotated[int, Range(at_least=1, at_most=256)] = 16
    norm: Annotated[str, OneOf("instance", "batch")] = "instance"
    momentum: Annotated[float, Range(at_least=0, below=1), When(optimizer="sgd")] = 0.9

A config calls `check_legal` when it is made; the search space reads the same rules (search/space/).
"""

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from data.errors import UserError

Value: TypeAlias = bool | int | float | str | None


@dataclass(frozen=True, kw_only=True)
class Range:
    """The legal range of a number, in the annotation of its field. An end that is not given is open."""

    at_least: int | float | None = None
    above: int | float | None = None
    at_most: int | float | None = None
    below: int | float | None = None

    def __contains__(self, value: int | float) -> bool:
        return (
            is_finite(value)
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.at_least is not None and self.at_most is not None:
            return f"from {self.at_least:g} to {self.at_most:g}"
        ends = (("at least", self.at_least), ("above", self.above), ("at most", self.at_most), ("below", self.below))
        return " and ".join(f"{words} {end:g}" for words, end in ends if end is not None)


class OneOf:
    """The legal values of a field, in its annotation, if they are few."""

    def __init__(self, *values: Value) -> None:
        """Begin with the legal values."""
        self.values = values


class When:
    """The condition under which a field has an effect, in its annotation: another field has one of these values."""

    def __init__(self, **values: Value | tuple[Value, ...]) -> None:
        """Begin with the legal values of each other field, by its name."""
        self.values = {name: one if isinstance(one, tuple) else (one,) for name, one in values.items()}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What values a field may have."""

    kind: type
    """`bool`, `int`, `float` or `str`."""

    default: Value
    range: Range | None = None
    choices: tuple[Value, ...] = ()
    """All legal values, if they are few; empty if they are not."""

    takes_none: bool = False
    when: Mapping[str, tuple[Value, ...]] | None = None
    """The values that other fields must have for this one to have an effect; None if it always has one."""

    def accepts(self, value: object) -> bool:
        """Return whether a value is legal; a whole number is a legal float, and `True` is no number."""
        if value is None:
            return self.takes_none
        if self.choices:  # 2.0 and True are not among whole numbers, although they equal some
            return any(value == one and (type(value) is type(one) or self.kind is float) for one in self.choices)
        if not self._is_of_kind(value):
            return False
        return isinstance(value, str) or self.range is None or value in self.range  # pyright: ignore[reportOperatorIssue]

    def legal_instead_of(self, value: object) -> str:
        """Return what is legal in place of a value that is not, as the words after "must be"."""
        end = ", or left out" if self.takes_none else ""
        is_outside = self.range is not None and self._is_of_kind(value)
        return (str(self.range) if is_outside else self.legal) + end

    @property
    def legal(self) -> str:
        """What is legal, such as "a whole number from 1 to 7"."""
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        kind = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[self.kind]
        if not self.range:
            return kind
        return f"{kind}{',' if str(self.range).startswith('at') else ''} {self.range}"

    def _is_of_kind(self, value: object) -> bool:
        kinds = (int, float) if self.kind is float else (self.kind,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and self.kind is not bool):
            return False
        return isinstance(value, str) or is_finite(value)  # pyright: ignore[reportArgumentType]  # a number


def check_legal(config: object) -> None:
    """Raise UserError if a field of a dataclass has a value that its annotation does not allow."""
    for name, rule in rules(type(config)).items():
        value = getattr(config, name)
        if not rule.accepts(value):
            raise UserError(f"{name} is {value!r}, but must be {rule.legal_instead_of(value)}")


@cache
def rules(kind: type) -> dict[str, Rule]:
    """Return the rule of each field of a dataclass that holds a bool, a number or text, by its name."""
    hints = get_type_hints(kind, include_extras=True)
    found = {}
    for field in fields(kind):
        default = None if field.default is MISSING else field.default
        if rule := make_rule(hints[field.name], default=default):
            found[field.name] = rule
    return found


def make_rule(hint: Any, *, default: Any) -> Rule | None:
    """Return the rule of an annotated type; None if it is not that of a bool, a number or text."""
    hint, extras = (get_args(hint)[0], get_args(hint)[1:]) if get_origin(hint) is Annotated else (hint, ())
    takes_none = False
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [one for one in get_args(hint) if one is not types.NoneType]
        takes_none, hint = len(kinds) < len(get_args(hint)), kinds[0]
        if len(kinds) > 1:
            return None
    choices, kind = (), hint
    if get_origin(hint) is Literal:
        choices, kind = get_args(hint), type(get_args(hint)[0])
    if kind not in (bool, int, float, str):
        return None
    when = next((one.values for one in extras if isinstance(one, When)), None)
    return Rule(
        kind=kind,
        default=default,
        range=next((one for one in extras if isinstance(one, Range)), None),
        choices=next((one.values for one in extras if isinstance(one, OneOf)), choices),
        takes_none=takes_none,
        when=when,
    )


def is_finite(number: int | float) -> bool:
    """Return whether a number is finite; a whole number beyond the largest float counts as infinite."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False
