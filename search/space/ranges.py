"""The numbers that a distribution of a W&B sweep draws, as an axis.

What W&B draws from a distribution without ends becomes an axis of three standard deviations to either side, and an
expectation for the searcher.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from optuna.distributions import BaseDistribution

from data.errors import UserError
from data.legal import Rule
from search.space.space import Expectation
from search.space.values import as_number, make_range

WORDS = {
    "uniform": ("min", "max"),
    "int_uniform": ("min", "max"),
    "q_uniform": ("min", "max", "q"),
    "log_uniform": ("min", "max"),
    "log_uniform_values": ("min", "max"),
    "inv_log_uniform": ("min", "max"),
    "inv_log_uniform_values": ("min", "max"),
    "q_log_uniform": ("min", "max", "q"),
    "q_log_uniform_values": ("min", "max", "q"),
    "normal": ("mu", "sigma", "min", "max"),
    "q_normal": ("mu", "sigma", "min", "max", "q"),
    "log_normal": ("mu", "sigma", "min", "max"),
    "q_log_normal": ("mu", "sigma", "min", "max", "q"),
    "beta": ("a", "b"),
    "q_beta": ("a", "b", "q"),
}
"""The words beside each distribution of numbers. W&B's normal distributions have no ends; this program lets you give
them."""

DEFAULTS = {"mu": 0.0, "sigma": 1.0, "a": 1.0, "b": 1.0, "q": 1.0}
"""What W&B takes where a word is left out."""

NUM_DEVIATIONS = 3.0
"""Standard deviations from `mu` to the end of an axis."""

NUM_DIGITS = 12
"""Digits after the point that multiples keep: 3 * 0.1 is 0.3, not 0.30000000000000004."""

MAX_EXPONENT = 100.0
"""Exponents of e beyond this are mistakes: somebody took `log_uniform` for `log_uniform_values`."""


@dataclass(frozen=True, kw_only=True)
class _Numbers:
    """The numbers that a distribution draws from, and where it draws most of them."""

    low: float
    high: float
    centre: float | None = None
    """The most likely value; None if all are alike."""

    deviation: float = 0.0
    """Standard deviation around the centre, in logarithms on a logarithmic axis."""


def read_range(
    name: str, distribution: str, words: Mapping[str, object], rules: Sequence[Rule]
) -> tuple[BaseDistribution, Expectation | None]:
    """Return the axis that a distribution and its words describe, and what is expected of it.

    Raises:
        UserError: A word is missing or no number, or they do not make a legal axis.
    """
    given = {word: as_number(name, word, value) for word, value in words.items()}
    values = {word: given.get(word, DEFAULTS.get(word)) for word in WORDS[distribution]}
    is_log, is_whole, step = "log" in distribution, rules[0].kind is int, values.get("q")
    if is_whole and not (distribution == "int_uniform" or distribution.startswith("q_")):
        raise UserError(f"{name} is a whole number, but {distribution} gives fractions: take int_uniform or a q_ one")
    numbers = _numbers(name, distribution, values, rules[0])
    if step is not None:
        numbers = _multiples(name, numbers, step, is_whole=is_whole)
        # Optuna has no steps on a logarithmic axis: apart from all whole numbers, multiples are on a linear one.
        is_log = is_log and is_whole and step == 1 and numbers.low > 0
    axis = make_range(name, numbers.low, numbers.high, rules, is_log=is_log, step=step)
    return axis, _expected(numbers, is_log=is_log, is_whole=is_whole)


def _numbers(name: str, distribution: str, values: Mapping[str, float | None], rule: Rule) -> _Numbers:
    if "a" in values:
        return _beta(name, values["a"] or 0.0, values["b"] or 0.0, rule)
    if "sigma" in values:
        return _normal(name, values, rule, is_log="log" in distribution)
    low, high = values["min"], values["max"]
    if low is None or high is None:
        raise UserError(f"{name} has no {'min' if low is None else 'max'}: give min and max, values, or value")
    if "log" in distribution and not distribution.endswith("_values"):  # W&B gives the exponents of e
        low, high = (-high, -low) if distribution.startswith("inv") else (low, high)
        if 0 < low < high < 1:
            raise UserError(
                f"{name} is from e to the power of {low:g} to e to the power of {high:g}, which is about 1: "
                f"{distribution} takes exponents, {distribution}_values takes the ends themselves"
            )
        low, high = _exp(name, low), _exp(name, high)
    return _Numbers(low=low, high=high)


def _beta(name: str, a: float, b: float, rule: Rule) -> _Numbers:
    if not min(a, b) > 0:
        raise UserError(f"{name} has a {a:g} and b {b:g}, but both must be above 0")
    deviation = math.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))
    lowest, highest = _legal_ends(rule)
    low, high = max(0.0, lowest or 0.0), min(1.0, 1.0 if highest is None else highest)
    return _Numbers(low=low, high=high, centre=min(max(a / (a + b), low), high), deviation=deviation)


def _normal(name: str, values: Mapping[str, float | None], rule: Rule, *, is_log: bool) -> _Numbers:
    mu, sigma = values["mu"] or 0.0, values["sigma"] or 0.0
    if not sigma > 0:
        raise UserError(f"{name} has sigma {sigma:g}, but it must be above 0")
    ends = (mu - NUM_DEVIATIONS * sigma, mu, mu + NUM_DEVIATIONS * sigma)
    low, centre, high = (_exp(name, end) for end in ends) if is_log else ends
    lowest, highest = _legal_ends(rule)
    low = max(end for end in (low, values["min"], lowest) if end is not None)
    high = min(end for end in (high, values["max"], highest) if end is not None)
    if low >= high:
        raise UserError(f"{name} has mu {mu:g} and sigma {sigma:g}, but must be {rule.legal}: nothing is left of it")
    return _Numbers(low=low, high=high, centre=min(max(centre, low), high), deviation=sigma)


def _legal_ends(rule: Rule) -> tuple[float | None, float | None]:
    """Return the lowest and the highest legal number; a little inside of an end that is not legal itself."""
    if rule.range is None:
        return None, None
    low, high, above, below = rule.range.at_least, rule.range.at_most, rule.range.above, rule.range.below
    return (
        low if above is None else above + 1e-6 * max(1.0, abs(above)),
        high if below is None else below - 1e-6 * max(1.0, abs(below)),
    )


def _multiples(name: str, numbers: _Numbers, step: float, *, is_whole: bool) -> _Numbers:
    """Return the numbers with multiples of a step as their ends, which is what W&B draws."""
    if not step > 0 or (is_whole and step != int(step)):
        raise UserError(f"{name} has q {step:g}, but it must be {'a whole number, ' if is_whole else ''}above 0")
    low, high = math.ceil(numbers.low / step - 1e-9) * step, math.floor(numbers.high / step + 1e-9) * step
    if low > high:
        raise UserError(f"{name} has no multiple of its q {step:g} from {numbers.low:g} to {numbers.high:g}")
    return replace(numbers, low=round(low, NUM_DIGITS), high=round(high, NUM_DIGITS))


def _expected(numbers: _Numbers, *, is_log: bool, is_whole: bool) -> Expectation | None:
    low, high = (math.log(numbers.low), math.log(numbers.high)) if is_log else (numbers.low, numbers.high)
    if numbers.centre is None or not high > low:
        return None
    value = min(max(numbers.centre, numbers.low), numbers.high)
    return Expectation(
        value=round(value) if is_whole else value, width=min(max(numbers.deviation / (high - low), 0.01), 1.0)
    )


def _exp(name: str, exponent: float) -> float:
    if abs(exponent) > MAX_EXPONENT:
        raise UserError(
            f"{name} has an end of e to the power of {exponent:g}: log_uniform and log_normal take exponents, "
            "log_uniform_values takes the ends themselves"
        )
    return math.exp(exponent)
