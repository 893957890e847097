"""The values of a hyperparameter, checked against what its field allows, and axes made of them."""

import math
from collections.abc import Sequence

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from data.errors import UserError
from data.legal import Rule, Value, is_finite


def check_value(name: str, value: object, rules: Sequence[Rule]) -> Value:
    """Return a value as the field's own type; YAML reads 1e-4 as text, and 16.0 may stand for 16.

    Args:
        rules: What is legal in each of the networks that have the field.

    Raises:
        UserError: It is not legal in one of the networks.
    """
    kind = rules[0].kind
    if kind in (int, float) and isinstance(value, str):
        value = _number(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and is_finite(value):
        if kind is float:
            value = float(value)
        elif kind is int and value == int(value):
            value = int(value)
    for rule in rules:
        if not rule.accepts(value):
            raise UserError(f"{name} is {short(value)}, but must be {rule.legal_instead_of(value)}")
    return value  # pyright: ignore[reportReturnType]  # a rule accepts no other types


def make_choices(name: str, values: object, rules: Sequence[Rule]) -> CategoricalDistribution:
    """Return the axis of some values.

    Raises:
        UserError: There is none, one is there twice, or one is not legal.
    """
    if not isinstance(values, list | tuple) or not values:
        raise UserError(f"values of {name} are {short(values)}, but must be a list of at least one")
    checked = [check_value(name, value, rules) for value in values]
    if len({(type(value), value) for value in checked}) < len(checked):
        raise UserError(f"values of {name} are {short(values)}, but none may be there twice")
    return CategoricalDistribution(checked)


def make_range(
    name: str, low: float, high: float, rules: Sequence[Rule], *, is_log: bool = False, step: float | None = None
) -> BaseDistribution:
    """Return the axis of the numbers between two ends; of whole numbers if the field has them.

    Raises:
        UserError: An end is not legal, or the ends and the step do not make an axis.
    """
    if not low <= high:
        raise UserError(f"{name} is from {low:g} to {high:g}, but its max must not be below its min")
    if is_log and low <= 0:
        raise UserError(f"{name} begins at {low:g}, but a logarithmic axis must begin above 0")
    if is_log and step not in (None, 1 if rules[0].kind is int else None):
        raise UserError(f"{name} has steps on a logarithmic axis: list its values, or leave the steps out")
    if step is not None and not (step > 0 and (rules[0].kind is not int or step == int(step))):
        whole = "a whole number, " if rules[0].kind is int else ""
        raise UserError(f"{name} has steps of {step:g}, but they must be {whole}above 0")
    if step is not None and not is_log:  # or Optuna does it, with a warning
        high = round(low + math.floor((high - low) / step + 1e-9) * step, 12)
    ends = [check_value(name, end, rules) for end in (low, high)]
    if rules[0].kind is int:
        return IntDistribution(*map(int, ends), log=is_log, step=int(step or 1))  # pyright: ignore[reportArgumentType]
    return FloatDistribution(*map(float, ends), log=is_log, step=step)  # pyright: ignore[reportArgumentType]


def single_value(axis: BaseDistribution) -> Value:
    """Return the only value of an axis that has one only."""
    assert axis.single(), axis
    if isinstance(axis, CategoricalDistribution):
        return axis.choices[0]
    assert isinstance(axis, IntDistribution | FloatDistribution)
    return axis.low


def as_number(name: str, word: str, value: object) -> float:
    """Return a number that stands beside a word; YAML reads 1e-4 as text.

    Raises:
        UserError: It is no finite number.
    """
    number = _number(value) if isinstance(value, str) else value
    if not isinstance(number, int | float) or isinstance(number, bool) or not is_finite(number):
        raise UserError(f"{word} of {name} is {short(value)}, but must be a number")
    return number


def short(value: object) -> str:
    """Return a value as an error message shows it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
