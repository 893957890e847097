"""Anybody's own network: a function that builds a module, named as `package.module:function`.

    def build(in_channels: int, num_regions: int, width: int = 16, kind: Literal["a", "b"] = "a") -> nn.Module: ...
    build.side_multiple = 8

Its other parameters have defaults and are annotated as the fields of a config are (data/legal.py), so each of them can
be an axis of a search. The module maps slices, batch x channels x height x width, to logits, batch x regions x height x
width. Three optional attributes of the function state facts: `side_multiple` (a number, or a function of the other
parameters that returns it; 32 unless stated), `min_side` (alike; twice that) and `fixed_sides` (False).
"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache, partial
from typing import Any, get_type_hints

from torch import nn

from data import legal
from data.errors import UserError
from data.legal import Rule, Value, make_rule
from model.networks.architecture import Architecture
from model.networks.foreign import ForeignNetwork
from model.segmentation_network import NetworkConfig

SIDE_MULTIPLE = 32
"""What the sides of slices must be divisible by if the function does not say; right for up to five halvings."""

PACKAGES = ("monai", "smp")
"""What stands before the colon in a name of our own list."""


@dataclass(frozen=True, kw_only=True)
class OwnConfig(NetworkConfig):
    """The shape of one network that a function of somebody's own builds. `own_config` makes one from keywords."""

    architecture: str  # pyright: ignore[reportIncompatibleVariableOverride]  # one class serves all functions
    """The function, as `package.module:function`."""

    arguments: tuple[tuple[str, Value], ...] = ()
    """Name and value of each of its parameters but `in_channels` and `num_regions`, in their order."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, rule in _rules(self.architecture).items():
            value = dict(self.arguments)[name]
            if not rule.accepts(value):
                raise UserError(f"{name} is {value!r}, but must be {rule.legal_instead_of(value)}")

    @property
    def network_side_multiple(self) -> int:
        """The number that a slice's sides must be divisible by, in pixels."""
        return self._stated("side_multiple", SIDE_MULTIPLE)

    @property
    def network_min_side(self) -> int:
        """The shortest side that the network can be trained on, in pixels: two pixels at the bottom, because the values
        of a single one have no spread to normalise by."""
        return self._stated("min_side", 2 * self.network_side_multiple)

    @property
    def fixed_sides(self) -> bool:
        """Whether an export takes slices of one size only."""
        return bool(getattr(_function(self.architecture), "fixed_sides", False))

    def to_dict(self) -> dict[str, bool | int | float | str | None]:
        """Return the name of the function and all its arguments; `model.networks.read_config` is the inverse."""
        own = {name: value for name, value in asdict(self).items() if name != "arguments"}
        return {**own, **dict(self.arguments)}

    def _stated(self, fact: str, default: int) -> int:
        stated = getattr(_function(self.architecture), fact, default)
        value = _call(stated, f"{fact} of {self.architecture}", **dict(self.arguments)) if callable(stated) else stated
        if type(value) is not int or value < 1:
            raise UserError(f"{fact} of {self.architecture} is {value!r}, but must be a whole number from 1 on")
        return value


def is_own(name: str) -> bool:
    """Return whether a name of an architecture has the form of a function of somebody's own."""
    package, colon, function = name.partition(":")
    return bool(colon and package and function) and package not in PACKAGES


def find_own(name: str) -> Architecture:
    """Return the architecture whose networks a function builds; its module is imported.

    Raises:
        UserError: There is no such function, or its parameters are not as the program needs them.
    """
    fields = {**legal.rules(NetworkConfig), **_rules(name)}
    return Architecture(config=partial(own_config, name), network=_build, title=name, fields=fields)


def own_config(architecture: str, **values: Any) -> OwnConfig:
    """Return the configuration of a function's network from its arguments; the defaults are those of the function.

    Raises:
        UserError: The function has no such parameter, or the value is not legal.
    """
    rules = _rules(architecture)
    shared = {one.name: values.pop(one.name) for one in fields(NetworkConfig) if one.name in values}
    if unknown := sorted(values.keys() - rules.keys()):
        names = ", ".join((*(one.name for one in fields(NetworkConfig)), *rules))
        raise UserError(f"{', '.join(unknown)} is no parameter of {architecture}; it has {names}")
    arguments = tuple((name, values.get(name, rule.default)) for name, rule in rules.items())
    return OwnConfig(architecture=architecture, arguments=arguments, **shared)


def _build(config: OwnConfig) -> ForeignNetwork:
    arguments = {"in_channels": config.in_channels, "num_regions": config.num_regions, **dict(config.arguments)}
    network = _call(_function(config.architecture), config.architecture, **arguments)
    if not isinstance(network, nn.Module):
        raise UserError(f"{config.architecture} returned a {type(network).__name__}, but must return a torch.nn.Module")
    return ForeignNetwork(config, network)


def _call(function: Callable[..., Any], name: str, **arguments: Any) -> Any:
    try:
        return function(**arguments)
    except RuntimeError:  # memory that ran out, or tensors without memory (model/weights.py): others tell them apart
        raise
    except (Exception, SystemExit) as error:  # whatever their function raises is theirs to mend
        given = ", ".join(f"{one}={value!r}" for one, value in arguments.items())
        raise UserError(f"{name} raised {type(error).__name__}: {error}, when called with {given}") from error


@cache
def _function(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except (Exception, SystemExit) as error:  # whatever their module raises is theirs to mend
        raise UserError(
            f"{module} of the network {name!r} cannot be imported ({type(error).__name__}: {error}); "
            "install its package, or put the folder that holds it on PYTHONPATH"
        ) from error
    if not callable(found):
        raise UserError(f"{module} has no function {attribute}: name it as package.module:function")
    return found


@cache
def _rules(name: str) -> Mapping[str, Rule]:
    """Return the rule of each parameter of a function but the two that all networks have."""
    parameters, hints = _signature(name)
    for needed in ("in_channels", "num_regions"):
        if parameters.pop(needed, None) is None:
            raise UserError(f"{name} has no parameter {needed}, but must begin: (in_channels, num_regions, ...)")
    if taken := sorted(parameters.keys() & {"architecture", *(one.name for one in fields(NetworkConfig))}):
        raise UserError(f"parameter {taken[0]} of {name} has the name of a field of every network: rename it")
    return {one: _rule(name, parameter, hints.get(one)) for one, parameter in parameters.items()}


def _signature(name: str) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    """Return the parameters of a function, and their annotations, both by the names of the parameters."""
    function = _function(name)
    try:
        parameters = dict(inspect.signature(function).parameters)
        hints = get_type_hints(function.__init__ if inspect.isclass(function) else function, include_extras=True)
    except Exception as error:  # an annotation in quotes may be any code; an object that is called has no annotations
        raise UserError(
            f"the parameters of {name} cannot be read ({type(error).__name__}: {error}): give a function whose "
            "annotations can be evaluated in its module"
        ) from error
    for one, parameter in parameters.items():
        if parameter.kind not in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY):
            raise UserError(f"{one} of {name} is {parameter.kind.description}, but must be a parameter with a name")
    return parameters, hints


def _rule(name: str, parameter: inspect.Parameter, hint: Any) -> Rule:
    """Return the rule of a parameter, which must have an annotation that states one, and a legal default."""
    has_default = parameter.default is not inspect.Parameter.empty
    default = parameter.default if isinstance(parameter.default, bool | int | float | str) else None
    rule = make_rule(hint, default=default) if hint is not None else None
    if rule is None:
        raise UserError(
            f"parameter {parameter.name} of {name} must be annotated as bool, int, float, str, Literal[...] or "
            "Annotated[..., Range(...)] (data.legal)"
        )
    if not has_default or not rule.accepts(parameter.default):
        raise UserError(f"parameter {parameter.name} of {name} needs a default, which must be {rule.legal}")
    return rule
