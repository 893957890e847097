"""The search space: which hyperparameters are tried, and which network and training a sample of them describes.

Every axis is an Optuna distribution, so that the study file is enough to see what was searched.
"""

from dataclasses import dataclass, fields
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from data.errors import UserError
from model.networks import DEFAULT_ARCHITECTURE, find_architecture
from model.segmentation_network import NetworkConfig
from model.training.train_config import TrainConfig
from search.record.trials import Sample

Space = dict[str, BaseDistribution]

CORE: Space = {
    # The usual range for AdamW. Some configurations diverge at 1e-2 already; the search finds that out.
    "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
    # At 128 pixels, a U-Net of depth 2 sees the surroundings of a lesion, one of depth 5 the whole head.
    "depth": IntDistribution(2, 5),
    "dropout": FloatDistribution(0.0, 0.5),
    "bce_weight": FloatDistribution(0.0, 1.0),
}

WIDE: Space = CORE | {
    "width": CategoricalDistribution([8, 16, 24, 32]),
    "batch_size": CategoricalDistribution([8, 16, 32]),
    "weight_decay": FloatDistribution(1e-5, 1e-1, log=True),
    "norm": CategoricalDistribution(["instance", "batch"]),
    "augment": FloatDistribution(0.0, 2.0),
}

SPACES: dict[str, Space] = {"core": CORE, "wide": WIDE}


@dataclass(frozen=True, kw_only=True)
class SharedSettings:
    """What all trials of a search have in common; an axis of the space overrides the field of the same name."""

    in_channels: int
    max_epochs: int
    batch_size: int
    width: int
    patience: int
    precision: str
    seed: int
    num_regions: int = 1
    measure_latency: bool = False
    loader_processes: int = 0
    architecture: str = DEFAULT_ARCHITECTURE


def to_configs(sample: Sample, shared: SharedSettings) -> tuple[NetworkConfig, TrainConfig]:
    """Return the network and the training that a sample of a space describes.

    Raises:
        ValueError: The sample has a key that neither config knows, or a value that one of them refuses.
    """
    values: dict[str, Any] = {field.name: getattr(shared, field.name) for field in fields(shared)} | sample
    network_config = find_architecture(values.pop("architecture")).config
    network_names, train_names = _names(network_config), _names(TrainConfig)
    # A shared setting that this network does not have, such as a width, has no effect on it.
    if unknown := sorted(set(sample) - {"architecture"} - network_names - train_names):
        legal = ", ".join(sorted(network_names | train_names))
        raise ValueError(f"unknown hyperparameter {', '.join(unknown)}; legal are {legal}")
    return (
        network_config(**{name: values[name] for name in network_names & set(values)}),
        TrainConfig(**{name: values[name] for name in train_names & set(values)}),
    )


def default_sample(space: Space, architecture: str = DEFAULT_ARCHITECTURE) -> Sample:
    """Return the sample of a space that describes the default network and training, or what is nearest to them."""
    defaults = vars(find_architecture(architecture).config()) | vars(TrainConfig(max_epochs=1))
    return {name: _nearest(axis, defaults[name]) for name, axis in space.items()}


def describe(space: Space) -> dict[str, str]:
    """Return a description of each axis for people, such as "0.0001 to 0.01, log"."""
    return {name: _describe_axis(axis) for name, axis in space.items()}


def largest_network(space: Space, architecture: str = DEFAULT_ARCHITECTURE) -> NetworkConfig:
    """Return the network with the largest value of every integer axis; no other needs images with longer sides."""
    config = find_architecture(architecture).config
    axes = {name: axis for name, axis in space.items() if isinstance(axis, IntDistribution)}
    return config(**{name: axes[name].high for name in _names(config) & set(axes)})


def batch_sizes(space: Space, default: int) -> tuple[int, ...]:
    """Return every global batch size that a trial can have; `default` if the space has no such axis."""
    axis = space.get("batch_size")
    if not isinstance(axis, CategoricalDistribution):
        return (default,)
    return tuple(choice for choice in axis.choices if isinstance(choice, int))


def check_image_size(name: str, size: int) -> None:
    """Raise UserError if the largest network of a named space cannot take images of `size` pixels."""
    network = largest_network(SPACES[name])
    if size < network.min_side or size % network.side_multiple:
        raise UserError(
            f"size is {size}, but the space {name!r} has networks that need a multiple of {network.side_multiple} "
            f"pixels, from {network.min_side} to 1024: 128 or 256 are usual"
        )


def check_batch_size(name: str, default: int, num_workers: int) -> None:
    """Raise UserError if a global batch of a named space cannot be split evenly among the workers of a trial."""
    for batch_size in batch_sizes(SPACES[name], default):
        if batch_size % num_workers:
            raise UserError(f"batch_size is {batch_size}, but must be divisible by workers_per_trial ({num_workers})")


def _names(config: type) -> set[str]:
    return {field.name for field in fields(config)}


def _nearest(axis: BaseDistribution, value: Any) -> Any:
    """Return the value of an axis that is nearest to another value; the first choice where no choice is near."""
    if isinstance(axis, CategoricalDistribution):
        numbers = [one for one in axis.choices if isinstance(one, int | float) and isinstance(value, int | float)]
        return (
            value if value in axis.choices else min(numbers, key=lambda one: abs(one - value), default=axis.choices[0])
        )
    assert isinstance(axis, FloatDistribution | IntDistribution)
    return min(max(value, axis.low), axis.high)


def _describe_axis(axis: BaseDistribution) -> str:
    if isinstance(axis, CategoricalDistribution):
        return "one of " + ", ".join(str(choice) for choice in axis.choices)
    assert isinstance(axis, FloatDistribution | IntDistribution)
    return f"{axis.low:g} to {axis.high:g}" + (", log" if getattr(axis, "log", False) else "")
