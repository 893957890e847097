"""From a sample of a space to the network and the training that it describes."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from data.errors import UserError
from data.legal import Value
from model.networks import DEFAULT_ARCHITECTURE, find_architecture, is_own
from model.segmentation_network import NetworkConfig
from model.training.train_config import TrainConfig
from search.record.trials import Sample
from search.space.hyperparameters import ARCHITECTURE, find_hyperparameters
from search.space.space import Condition, Space
from search.space.values import single_value

SHRINKING = "downscale"
"""The axis whose largest number makes the smallest network."""

NO_MORE_MEMORY = (SHRINKING, "patience")
"""Axes of numbers that do not take more memory the larger they are."""


@dataclass(frozen=True, kw_only=True)
class SharedSettings:
    """What all trials of a search have in common; an axis of the space overrides the field of the same name."""

    in_channels: int
    max_epochs: int
    batch_size: int
    width: int | None = None
    """None: the network's own default."""

    patience: int
    precision: str
    seed: int
    num_regions: int = 1
    packed_context: int = 0
    measure_latency: bool = False
    loader_processes: int = 0
    constants: Mapping[str, Value] = field(default_factory=dict)
    """The constants of the space."""

    def values(self) -> dict[str, Any]:
        """Return the settings and the constants by the names of the configs' fields."""
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "constants"}
        return {**{name: value for name, value in own.items() if value is not None}, **self.constants}


def to_configs(sample: Sample, shared: SharedSettings) -> tuple[NetworkConfig, TrainConfig]:
    """Return the network and the training that a sample of a space describes.

    Raises:
        ValueError: The sample has a key that neither config knows, or a value that one of them refuses.
    """
    values: dict[str, Any] = {**shared.values(), **sample}
    architecture = find_architecture(values.pop(ARCHITECTURE, DEFAULT_ARCHITECTURE))
    network_names, train_names = set(architecture.rules()), {one.name for one in fields(TrainConfig)}
    # A shared setting that this network does not have, such as a width, has no effect on it.
    if unknown := sorted(set(sample) - {ARCHITECTURE} - network_names - train_names):
        legal = ", ".join(sorted(network_names | train_names))
        raise ValueError(f"unknown hyperparameter {', '.join(unknown)}; legal are {legal}")
    return (
        architecture.config(**{name: values[name] for name in network_names & set(values)}),
        TrainConfig(**{name: values[name] for name in train_names & set(values)}),
    )


def architectures(space: Space) -> tuple[str, ...]:
    """Return the names of the networks that a trial can have."""
    axis = space.axes.get(ARCHITECTURE)
    if isinstance(axis, CategoricalDistribution):
        return tuple(str(choice) for choice in axis.choices)
    return (str(space.constants.get(ARCHITECTURE, DEFAULT_ARCHITECTURE)),)


def own_networks(space: Space) -> tuple[str, ...]:
    """Return the functions of somebody's own that build networks of a space; its checkpoints may name these."""
    return tuple(name for name in architectures(space) if is_own(name))


def complete_default(space: Space) -> Sample:
    """Return for every axis the default, or what is nearest to it, also for axes that have no effect beside it."""
    names = architectures(space)
    legal = find_hyperparameters(names)
    first = DEFAULT_ARCHITECTURE if DEFAULT_ARCHITECTURE in names else names[0]
    defaults = {name: one.rules.get(first, one.rule).default for name, one in legal.items()} | {ARCHITECTURE: first}
    return {name: _nearest(axis, defaults[name]) for name, axis in space.items()}


def default_sample(space: Space) -> Sample:
    """Return the sample of a space that describes the default network and training, or what is nearest to them."""
    return space.active(complete_default(space))


def default_samples(space: Space) -> list[Sample]:
    """Return the default sample, and then that of each other network of the space."""
    complete = complete_default(space)
    names = sorted(architectures(space), key=lambda name: name != complete.get(ARCHITECTURE, name))
    return [space.active(complete | {ARCHITECTURE: name}) for name in names]


def corner_samples(space: Space, *, largest: bool) -> Iterator[Sample]:
    """Yield for each network of the space a sample with its largest numbers, or with its smallest.

    Numbers are those of whole numbers, and of choices among them; other axes have their default. A network is the
    larger, the less its slices are shrunk. Which block or which encoder needs most is not known: beside its largest
    numbers, each choice of text or of yes and no has a sample of its own.
    """
    corner = complete_default(space)
    for name, axis in space.items():
        if numbers := _numbers(axis):
            corner[name] = numbers[-1 if largest != (name == SHRINKING) else 0]
    for name in architectures(space):
        own = corner | {ARCHITECTURE: name}  # `active` drops it if the network is no axis
        yield space.active(own)
        for axis in find_architecture(name).rules().keys() & space.keys() if largest else ():
            for choice in _others(space[axis], corner[axis]):
                changed = space.active(own | {axis: choice})
                if axis in changed:
                    yield changed


def check_effect(space: Space, options: Collection[str]) -> None:
    """Raise UserError if one of the options of a search has no effect on any of its trials.

    Args:
        options: The names of the options that were given; those that are no settings of a trial are passed over.
    """
    networks = find_hyperparameters(architectures(space))
    for name in sorted(set(options) & {one.name for one in fields(SharedSettings)}):
        if name in space or name in space.constants:
            where = "varies" if name in space else "sets"
            raise UserError(f"--{name.replace('_', '-')} has no effect, because the space {where} {name}: leave it out")
        if name == "width" and name not in networks:
            names = " and ".join(architectures(space))
            raise UserError(f"--width has no effect, because {names} has no width: leave it out")


def check_architectures(space: Space, size: int, shared: SharedSettings) -> None:
    """Raise UserError if a network of a space is not installed, or cannot take images of `size` pixels."""
    for name in architectures(space):
        find_architecture(name).check_installed()
    for sample in corner_samples(space, largest=True):
        if SHRINKING in sample:  # the network is smaller, but the sides that it takes are larger
            sample = sample | {SHRINKING: _numbers(space[SHRINKING])[-1]}
        network, _ = to_configs(sample, shared)
        if size < network.min_side or size % network.side_multiple:
            raise UserError(
                f"size is {size}, but the space has {network.architecture} networks that need a multiple of "
                f"{network.side_multiple} pixels, from {network.min_side} to 1024: 128 or 256 are usual"
            )


def check_batch_size(space: Space, default: int, num_workers: int) -> None:
    """Raise UserError if a global batch of a space cannot be split evenly among the workers of a trial."""
    for batch_size in batch_sizes(space, default):
        if batch_size % num_workers:
            raise UserError(f"batch_size is {batch_size}, but must be divisible by workers_per_trial ({num_workers})")


def batch_sizes(space: Space, default: int) -> tuple[int, ...]:
    """Return every global batch size that a trial can have; `default` if the space does not say."""
    if "batch_size" in space:
        return tuple(_numbers(space["batch_size"]))
    constant = space.constants.get("batch_size", default)
    assert isinstance(constant, int)
    return (constant,)


def without_largest(space: Space) -> tuple[Space, str] | None:
    """Return the space without one of its largest numbers, and what was left out; None if each axis has one only.

    Of all numbers it is the one that is the largest multiple of the next one, because that saves most: a batch of 32
    beside one of 16, rather than a depth of 5 beside one of 4. Axes that had an effect beside that number alone are
    left out, too.
    """
    tops = {
        name: numbers[-2:]
        for name, axis in space.items()
        if len(numbers := _numbers(axis)) > 1 and name not in NO_MORE_MEMORY
    }
    if not tops:
        return None
    name = max(tops, key=lambda one: tops[one][1] / max(tops[one][0], 1))
    left, top = tops[name]
    match space[name]:
        case IntDistribution(low=low, step=step, log=log):
            axis = IntDistribution(low, left, step=step, log=log)
        case CategoricalDistribution(choices=choices):
            axis = CategoricalDistribution([one for one in choices if one != top])
        case _:
            raise AssertionError("only whole numbers are left out")
    return _with_fewer(space, name, axis, top), f"{name} {top}"


def _with_fewer(space: Space, name: str, axis: BaseDistribution, top: int) -> Space:
    """Return the space with an axis that has lost a value, and the axes that can still have an effect."""
    axes: dict[str, BaseDistribution] = {}
    conditions: dict[str, Condition] = {}
    constants = dict(space.constants)
    for one, own in {**space.axes, name: axis}.items():
        condition = dict(space.conditions.get(one, {}))
        if name in condition:
            condition[name] = tuple(value for value in condition[name] if value != top)
            if name in constants and condition[name]:
                del condition[name]
        if not all(parent in axes and values for parent, values in condition.items()):
            continue
        if one == name and own.single() and not condition:
            constants[name] = single_value(own)
            continue
        axes[one] = own
        conditions |= {one: condition} if condition else {}
    expected = {
        one: value for one, value in space.expected.items() if one in axes and (one, value.value) != (name, top)
    }
    return Space(axes, constants=constants, conditions=conditions, expected=expected)


def _numbers(axis: BaseDistribution) -> Sequence[int]:
    """Return the whole numbers of an axis, from the smallest to the largest."""
    match axis:
        case IntDistribution(low=low, high=high, step=step):
            return range(low, high + 1, step)
        case CategoricalDistribution(choices=choices):
            return sorted(one for one in choices if isinstance(one, int) and not isinstance(one, bool))
    return ()


def _others(axis: BaseDistribution, choice: object) -> Sequence[Value]:
    """Return the choices of an axis other than one of them, unless they are numbers."""
    choices = axis.choices if isinstance(axis, CategoricalDistribution) else ()
    return [one for one in choices if one != choice and (isinstance(one, bool) or not _is_number(one))]


def _nearest(axis: BaseDistribution, value: Any) -> Any:
    """Return the value of an axis that is nearest to another value; the first choice where no choice is near."""
    if isinstance(axis, CategoricalDistribution):
        numbers = [one for one in axis.choices if _is_number(one) and _is_number(value)]
        return (
            value if value in axis.choices else min(numbers, key=lambda one: abs(one - value), default=axis.choices[0])
        )
    assert isinstance(axis, FloatDistribution | IntDistribution)
    return min(max(value, axis.low), axis.high) if _is_number(value) else axis.low


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)
