"""A hyperparameter in the words of a W&B sweep: `min` and `max`, `distribution`, `values`, `value`, `mu` and `sigma`.

`when` is this program's own word: the values of other hyperparameters beside which this one has an effect.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from optuna.distributions import BaseDistribution

from data.errors import UserError
from data.legal import Rule, Value
from search.space import ranges
from search.space.space import Condition, Expectation
from search.space.values import as_number, check_value, make_choices, short, single_value

WORDS = {
    "constant": ("value",),
    "categorical": ("values",),
    "categorical_w_probabilities": ("values", "probabilities"),
    **ranges.WORDS,
}
"""The words beside each distribution of a sweep."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A hyperparameter as somebody describes it: an axis, or a constant."""

    axis: BaseDistribution | None = None
    """None: it is a constant."""

    value: Value = None
    expected: Expectation | None = None
    condition: Condition = field(default_factory=dict)


def read_parameter(name: str, words: object, rules: Sequence[Rule]) -> Parameter:
    """Return a hyperparameter that a sweep describes.

    Args:
        rules: What is legal in each of the networks that have the hyperparameter.

    Raises:
        UserError: A word or a value is not legal; the message says which are.
    """
    if not isinstance(words, Mapping):
        raise UserError(f"{name} is {short(words)}, but must be words such as min and max, values, or value")
    condition = _condition(name, words.get("when", {}))
    words = {str(word): value for word, value in words.items() if word != "when"}
    distribution = _distribution(name, words, rules[0])
    words.pop("distribution", None)
    if unknown := sorted(set(words) - {*WORDS[distribution]}):
        raise UserError(
            f"{name} has the word {unknown[0]!r}, but with the distribution {distribution} it has "
            f"{', '.join(WORDS[distribution])}, when"
        )
    if distribution == "constant":
        return Parameter(value=check_value(name, words["value"], rules), condition=condition)
    if "values" in words:
        axis = make_choices(name, words["values"], rules)
        expected = _most_likely(name, axis.choices, words.get("probabilities"))
    else:
        axis, expected = ranges.read_range(name, distribution, words, rules)
    return parameter_of(axis, expected=expected, condition=condition)


def parameter_of(
    axis: BaseDistribution, *, expected: Expectation | None = None, condition: Condition | None = None
) -> Parameter:
    """Return an axis as a hyperparameter; one with a single value is a constant."""
    if axis.single():
        return Parameter(value=single_value(axis), condition=condition or {})
    return Parameter(axis=axis, expected=expected, condition=condition or {})


def _distribution(name: str, words: Mapping[str, object], rule: Rule) -> str:
    """Return the distribution that a sweep names, or the one that W&B takes for these words."""
    if "parameters" in words:
        raise UserError(f"{name} has nested parameters, but a hyperparameter is one value: give each by itself")
    if "distribution" in words:
        distribution = words["distribution"]
        if not isinstance(distribution, str) or distribution not in WORDS:
            raise UserError(f"{name} has distribution {short(distribution)}, but must have one of {', '.join(WORDS)}")
        if missing := [word for word in WORDS[distribution] if word.startswith("value") and word not in words]:
            raise UserError(f"{name} has no {missing[0]} beside its distribution {distribution}")
        return distribution
    if "value" in words:
        return "constant"
    if "values" in words:
        return "categorical_w_probabilities" if "probabilities" in words else "categorical"
    if "mu" in words or "sigma" in words:
        return "q_normal" if rule.kind is int else "normal"
    return "int_uniform" if rule.kind is int else "uniform"


def _most_likely(name: str, choices: Sequence[Value], probabilities: object) -> Expectation | None:
    """Return what probabilities of choices lead to expect; Optuna's axes have none."""
    if probabilities is None:
        return None
    if not isinstance(probabilities, list | tuple) or len(probabilities) != len(choices):
        raise UserError(f"probabilities of {name} are {short(probabilities)}, but must be a list of one for each value")
    shares = [as_number(name, "probabilities", one) for one in probabilities]
    if min(shares) < 0 or not math.isclose(sum(shares), 1, abs_tol=1e-3):
        raise UserError(f"probabilities of {name} are {short(probabilities)}, but must be at least 0, and 1 in all")
    return Expectation(value=choices[shares.index(max(shares))]) if max(shares) > min(shares) else None


def _condition(name: str, when: object) -> Condition:
    if not isinstance(when, Mapping) or not all(isinstance(parent, str) for parent in when):
        raise UserError(f"when of {name} is {short(when)}, but must be names with values, such as optimizer: sgd")
    return {
        str(parent): tuple(values) if isinstance(values, list | tuple) else (values,) for parent, values in when.items()
    }
