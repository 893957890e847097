"""Make a space of what a person gives: a name, a sweep file, Optuna distributions, and changes of them."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from data.errors import UserError, did_you_mean
from data.legal import Rule
from model.networks import DEFAULT_ARCHITECTURE
from search.space.arrange import arrange
from search.space.hyperparameters import ARCHITECTURE, Hyperparameter, find_hyperparameters
from search.space.named import SPACES
from search.space.parameters import Parameter, parameter_of, read_parameter
from search.space.space import Space
from search.space.sweep_file import read_sweep
from search.space.values import as_number, check_value, make_choices, make_range, short

RANGE = re.compile(r"(?P<low>.+?)\.\.(?P<high>[^:]+)(?P<log>: *log)?(?:: *step=(?P<step>[^:]+))?")

OPTIONS = {
    "epochs": "--max-epochs",
    "max_epochs": "--max-epochs",
    "seed": "--seed",
    "size": "--size",
    "image_size": "--size",
    "input_size": "--size",
}
"""What other programs search for, and this one takes as an option."""

OTHER_NAMES = {"lr": "learning_rate", "wd": "weight_decay", "filters": "width"}
"""What other programs call hyperparameters, where that is not alike."""

EXAMPLES = {"set": "width=24", "range": "learning_rate=1e-4..3e-3:log"}
"""What may stand behind --set and --range."""

NETWORK_RULE = Rule(kind=str, default=DEFAULT_ARCHITECTURE)

Reader: TypeAlias = Callable[[str, Sequence[Rule]], Parameter]
"""Returns a hyperparameter by its name and what is legal."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What the options of a search change of a space."""

    network: str = ""
    """The network of all trials; "": the space says, or it is the default one."""

    fixed: Sequence[str] = ()
    """Hyperparameters with their values, such as `width=24`."""

    ranges: Sequence[str] = ()
    """Hyperparameters with their ends or choices, such as `learning_rate=1e-4..3e-3:log` or `norm=instance,batch`."""


def make_space(choice: object, changes: Changes | None = None) -> Space:
    """Return the space that a person has chosen, with the changes.

    Args:
        choice: A space, its name in SPACES, the path of a sweep file, a sweep, or Optuna distributions by name.

    Raises:
        UserError: The file cannot be read; or a hyperparameter, a word or a value is not legal.
    """
    changes = changes or Changes()
    named = SPACES.get(choice) if isinstance(choice, str) else None
    readers = _of_space(named) if named else _read(choice)
    own = {*readers}
    _check_twice([*changes.fixed, *changes.ranges])
    for text in changes.fixed:
        name, value = _split("set", text)
        readers[name] = _text(value)
        own.discard(name)
    for text in changes.ranges:
        name, value = _split("range", text)
        readers[name] = _range(text, value, readers.get(name))
        own.discard(name)
    if changes.network:
        if ARCHITECTURE in readers:
            raise UserError(f"network is {changes.network!r}, but the space says itself which {ARCHITECTURE} it has")
        readers[ARCHITECTURE] = _constant(changes.network)
    architectures = _architectures(readers)
    legal = find_hyperparameters(architectures)
    if named:  # what the network does not have, or does not take, is left out
        readers |= {name: _distribution(_within(named[name], legal[name])) for name in own if name in legal}
        readers = {name: reader for name, reader in readers.items() if name not in own or name in legal}
    parameters = {name: _read_one(name, reader, legal) for name, reader in readers.items()}
    return arrange(parameters, legal, architectures)


def _check_twice(texts: Sequence[str]) -> None:
    """Raise UserError if --set and --range name a hyperparameter more than once."""
    names = [text.partition("=")[0].strip() for text in texts]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"--set and --range name {twice[0]} {names.count(twice[0])} times: give it once")


def _read(choice: object) -> dict[str, Reader]:
    if isinstance(choice, Space):
        return _of_space(choice)
    if isinstance(choice, Mapping) and "parameters" not in choice:
        if not choice or not all(isinstance(axis, BaseDistribution) for axis in choice.values()):
            raise UserError(
                f"space is {short(choice)}, but must be a name ({', '.join(SPACES)}), a sweep file, a sweep with "
                "`parameters`, or Optuna distributions by name"
            )
        return {str(name): _distribution(axis) for name, axis in choice.items()}
    parameters = read_sweep(choice).parameters
    return {name: _words(words) for name, words in parameters.items()}


def _of_space(space: Space) -> dict[str, Reader]:
    axes = {
        name: _distribution(
            axis, Parameter(axis=axis, expected=space.expected.get(name), condition=space.conditions.get(name, {}))
        )
        for name, axis in space.items()
    }
    return axes | {name: _constant(value) for name, value in space.constants.items()}


def _words(words: object) -> Reader:
    return lambda name, rules: read_parameter(name, words, rules)


def _constant(value: object) -> Reader:
    return lambda name, rules: Parameter(value=check_value(name, value, rules))


def _within(axis: BaseDistribution, one: Hyperparameter) -> BaseDistribution:
    """Return the part of an axis of whole numbers or of choices that every network takes; all of it if none is."""

    def is_legal(value: object) -> bool:
        return all(rule.accepts(value) for rule in one.rules.values())

    match axis:
        case CategoricalDistribution(choices=choices):
            return CategoricalDistribution([*filter(is_legal, choices)] or choices)
        case IntDistribution(low=low, high=high, step=step, log=log):
            legal = [*filter(is_legal, range(low, high + 1, step))] or [low, high]
            return IntDistribution(legal[0], legal[-1], step=step, log=log)
    return axis


def _text(value: str) -> Reader:
    """Return a reader of `--set`."""
    return lambda name, rules: Parameter(value=check_value(name, _value(value, rules), rules))


def _range(text: str, value: str, before: Reader | None) -> Reader:
    """Return a reader of `--range`; the axis keeps the condition that it had."""

    def read(name: str, rules: Sequence[Rule]) -> Parameter:
        condition = before(name, rules).condition if before else {}
        return parameter_of(_axis(text, name, value, rules), condition=condition)

    return read


def _axis(text: str, name: str, value: str, rules: Sequence[Rule]) -> BaseDistribution:
    match = RANGE.fullmatch(value)
    if match is None:
        if "," in value or rules[0].kind is bool:
            return make_choices(name, [_value(one.strip(), rules) for one in value.split(",")], rules)
        raise UserError(
            f"range is {text!r}, but must be {name}=LOW..HIGH, such as learning_rate=1e-4..3e-3:log or "
            "depth=2..6:step=2, or choices such as norm=instance,batch"
        )
    low, high = (as_number(name, word, match[group]) for word, group in (("min", "low"), ("max", "high")))
    step = None if match["step"] is None else as_number(name, "step", match["step"])
    return make_range(name, low, high, rules, is_log=bool(match["log"]), step=step)


def _distribution(axis: BaseDistribution, parameter: Parameter | None = None) -> Reader:
    """Return a reader of an axis that is there already, which checks that its values are legal."""

    def read(name: str, rules: Sequence[Rule]) -> Parameter:
        checked = axis
        match axis:
            case CategoricalDistribution(choices=choices):
                checked = make_choices(name, list(choices), rules)  # 2.0 may stand for 2
            case IntDistribution(low=low, high=high) | FloatDistribution(low=low, high=high):
                make_range(name, low, high, rules)
                if rules[0].kind is int and isinstance(axis, FloatDistribution):
                    raise UserError(f"{name} is a whole number: give optuna's IntDistribution")
            case _:
                raise UserError(f"{name} is {short(axis)}, but must be a categorical, int or float distribution")
        return parameter or parameter_of(checked)

    return read


def _split(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise UserError(f"{option} is {text!r}, but must be NAME=VALUE, such as {EXAMPLES[option]}")
    return name.strip(), value.strip()


def _value(text: str, rules: Sequence[Rule]) -> object:
    return {"true": True, "false": False}.get(text.lower(), text) if rules[0].kind is bool else text


def _architectures(readers: Mapping[str, Reader]) -> tuple[str, ...]:
    """Return the names of the networks that a trial can have."""
    if ARCHITECTURE not in readers:
        return (DEFAULT_ARCHITECTURE,)
    found = readers[ARCHITECTURE](ARCHITECTURE, [NETWORK_RULE])
    values: Any = getattr(found.axis, "choices", (found.value,))
    return tuple(map(str, values))


def _read_one(name: str, reader: Reader, legal: Mapping[str, Hyperparameter]) -> Parameter:
    if name == ARCHITECTURE:
        return reader(name, [NETWORK_RULE])
    if name not in legal:
        raise UserError(f"{name} is no hyperparameter{_hint(name, legal)}; legal are {', '.join(_names(legal))}")
    rules = legal[name].rules
    meant = None
    for rule in rules.values():
        with suppress(UserError):  # not legal in this network, for which it may not be meant
            meant = reader(name, [rule]).condition.get(ARCHITECTURE)
            break
    chosen = [rule for one, rule in rules.items() if not one or meant is None or one in meant]
    return reader(name, chosen or [*rules.values()])


def _hint(name: str, legal: Mapping[str, Hyperparameter]) -> str:
    if option := OPTIONS.get(name):
        return f": it is the option {option} of a search"
    return f" (did you mean {OTHER_NAMES[name]}?)" if name in OTHER_NAMES else did_you_mean(name, _names(legal))


def _names(legal: Mapping[str, Hyperparameter]) -> list[str]:
    return sorted({*legal, ARCHITECTURE})
