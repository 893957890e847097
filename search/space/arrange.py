"""Arrange hyperparameters as a space: where each has an effect, and in which order they are chosen."""

from collections.abc import Mapping, Sequence

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from data.errors import UserError
from data.legal import Value
from search.space.hyperparameters import ARCHITECTURE, Hyperparameter
from search.space.parameters import Parameter
from search.space.space import Condition, Space


def arrange(
    parameters: Mapping[str, Parameter], legal: Mapping[str, Hyperparameter], architectures: Sequence[str]
) -> Space:
    """Return the space of some hyperparameters, each of which follows those that its condition names.

    Args:
        legal: What can be a hyperparameter of the networks.
        architectures: The names of the networks.

    Raises:
        UserError: There is no axis; a condition names what is no hyperparameter, can never hold, or depends on itself.
    """
    conditions = {name: _condition(name, one, parameters, legal, architectures) for name, one in parameters.items()}
    axes = {name: one.axis for name, one in parameters.items() if one.axis is not None}
    if not axes:
        raise UserError("the space has constants only, but a search needs an axis: give one min and max, or values")
    return Space(
        {name: axes[name] for name in _in_order(axes, conditions)},
        constants={name: one.value for name, one in parameters.items() if one.axis is None},
        conditions={name: conditions[name] for name in axes if conditions[name]},
        expected={name: one.expected for name, one in parameters.items() if one.axis is not None and one.expected},
    )


def _condition(
    name: str,
    parameter: Parameter,
    parameters: Mapping[str, Parameter],
    legal: Mapping[str, Hyperparameter],
    architectures: Sequence[str],
) -> Condition:
    """Return the part of a hyperparameter's condition that depends on the trial."""
    natural = legal[name].condition if name in legal else {}
    found: dict[str, tuple[Value, ...]] = {}
    for parent in {**natural, **parameter.condition}:
        wanted = [one[parent] for one in (natural, parameter.condition) if parent in one]
        if parent == name or (parent not in legal and parent != ARCHITECTURE):
            raise UserError(f"when of {name} names {parent!r}, which is no other hyperparameter; see search.space show")
        possible = _possible(parent, parameters, legal, architectures)
        _check_values(name, parent, parameter.condition.get(parent, ()), legal)
        if not possible:  # numbers of a range
            raise UserError(f"when of {name} names {parent}, but that has a range: give {parent} a list of values")
        holding = tuple(value for value in possible if all(value in values for values in wanted))
        if not holding:
            needed = " and ".join(dict.fromkeys(" or ".join(map(str, values)) for values in wanted))
            found_values = " or ".join(map(str, possible))
            raise UserError(
                f"{name} has an effect only where {parent} is {needed}, but {parent} is {found_values}: leave {name} "
                f"out, or change {parent}"
            )
        if len(holding) < len(possible):
            found[parent] = holding
            if parameter.axis is None and parameter.condition.get(parent, natural.get(parent)) != natural.get(parent):
                raise UserError(f"{name} has one value, but also a when: leave when out, or give values")
    return found


def _check_values(name: str, parent: str, values: Sequence[Value], legal: Mapping[str, Hyperparameter]) -> None:
    rules = legal[parent].rules.values() if parent in legal else ()
    for value in values:
        if rules and not any(rule.accepts(value) for rule in rules):
            raise UserError(f"when of {name} has {parent} {value!r}, but {parent} must be {legal[parent].rule.legal}")


def _possible(
    name: str,
    parameters: Mapping[str, Parameter],
    legal: Mapping[str, Hyperparameter],
    architectures: Sequence[str],
) -> tuple[Value, ...]:
    """Return the values that a hyperparameter can have; none if they are the numbers of a range."""
    if name == ARCHITECTURE:
        return tuple(architectures)
    if name not in parameters:
        return (legal[name].rule.default,)
    match parameters[name].axis:
        case None:
            return (parameters[name].value,)
        case CategoricalDistribution(choices=choices):
            return tuple(choices)
        case IntDistribution(low=low, high=high, step=step):
            return tuple(range(low, high + 1, step))
        case FloatDistribution():
            return ()
    raise AssertionError(f"{name} has a kind of axis that no space has")


def _in_order(axes: Mapping[str, object], conditions: Mapping[str, Condition]) -> list[str]:
    """Return the names of the axes, in their order but each after those that its condition names."""
    found: list[str] = []
    while len(found) < len(axes):
        ready = [name for name in axes if name not in found and set(conditions[name]) & set(axes) <= set(found)]
        if not ready:
            left = ", ".join(name for name in axes if name not in found)
            raise UserError(f"the conditions of {left} depend on each other in a circle: remove a `when`")
        found.append(ready[0])
    return found
