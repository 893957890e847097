"""What a person expects of a space: where on an axis the best configurations are likely to be (`--prior`)."""

import re
from collections.abc import Sequence

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from data.errors import UserError
from data.legal import Value
from search.space.space import Expectation, Space, describe_axis

FORM = re.compile(r"(?P<axis>\w+)=(?P<belief>.+)")


def parse_expectations(texts: Sequence[str], space: Space) -> dict[str, Expectation]:
    """Return what texts such as `learning_rate=0.003` and `depth=5:0.1` expect, by axis.

    Raises:
        UserError: A text has another form, an axis that the space has not or that has an expectation already, a value
            that is not on the axis, or a width that is not a share.
    """
    found: dict[str, Expectation] = {}
    for text in texts:
        match = FORM.fullmatch(text)
        if not match:
            raise UserError(
                f"prior is {text!r}, but must be AXIS=VALUE or AXIS=VALUE:WIDTH, such as learning_rate=0.003:0.1"
            )
        axis = match["axis"]
        if axis not in space:
            raise UserError(f"prior is {text!r}, but the axes of the space are {', '.join(space)}")
        if axis in found:
            raise UserError(f"prior names {axis} twice: give one value")
        value, width = _split(match["belief"], space[axis])
        found[axis] = Expectation(value=_value(text, axis, value, space), width=_width(text, width))
    return found


def _split(belief: str, axis: BaseDistribution) -> tuple[str, str | None]:
    """Return the value and the width of VALUE:WIDTH; a choice may itself have a colon, such as `monai:UNet`."""
    if isinstance(axis, CategoricalDistribution) and belief in map(str, axis.choices):
        return belief, None
    value, colon, width = belief.rpartition(":")
    return (value, width) if colon else (belief, None)


def _value(text: str, name: str, value: str, space: Space) -> Value:
    axis = space[name]
    if isinstance(axis, CategoricalDistribution):
        fitting = [choice for choice in axis.choices if str(choice) == value]
    else:
        assert isinstance(axis, FloatDistribution | IntDistribution)
        numbers = [number for number in _number(value) if axis.low <= number <= axis.high]
        if isinstance(axis, IntDistribution):
            numbers = [int(number) for number in numbers if number == int(number)]
        fitting = numbers
    if not fitting:
        raise UserError(f"prior is {text!r}, but {name} must be {describe_axis(axis)}")
    return fitting[0]


def _width(text: str, width: str | None) -> float | None:
    if width is None:
        return None
    fitting = [number for number in _number(width) if 0.01 <= number <= 1]
    if not fitting:
        raise UserError(f"prior is {text!r}, but the width must be a share of the axis from 0.01 to 1")
    return fitting[0]


def _number(text: str) -> list[float]:
    """Return the number in a text; nothing if it is none."""
    try:
        return [float(text)]
    except ValueError:
        return []
