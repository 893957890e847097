"""What a search knows before its first trial: the trials of earlier experiments, and configurations to try first.

Both are copied into config.json when the search begins, so that it can be resumed after their source is gone.
"""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from data.errors import UserError
from data.regions import Region, parse_regions
from search.config import SearchConfig
from search.experiment import recorded_config
from search.record.experiment_record import EarlierTrial, WarmStart, read_experiment
from search.record.files import CONFIG_FILE, TABLE_FILE
from search.record.objectives import costs
from search.record.trials import Sample, State, TrialRow, read_rows
from search.space.configs import complete_default, default_samples, to_configs
from search.space.space import Space, describe_axis
from search.storage.download import sync_down
from search.suggestion.searcher import Observation


def gather(config: SearchConfig) -> WarmStart:
    """Return the trials and samples that a config's `warm_start` and `try_first` name, as config.json keeps them.

    Raises:
        UserError: An experiment or file cannot be read, segments other regions, or a sample lies outside the space.
    """
    space = config.search_space
    earlier: list[EarlierTrial] = []
    for name in config.warm_start:
        found = _from_experiment(sync_down(config.out / name, light=True), space, config)
        if not found:
            measured = "".join(f" and has {cost}" for cost in costs(config.objective))
            raise UserError(
                f"no trial of {config.out / name} lies in the search space{measured}: leave it out of --warm-start"
            )
        earlier += found
    first = default_samples(space) if config.begin_with_default else []
    first += [] if config.try_first is None else _read_samples(config.try_first, space)
    return WarmStart(earlier=tuple(earlier), first=tuple(first))


def load(folder: Path) -> WarmStart:
    """Return what an experiment knew before its first trial."""
    if not (folder / CONFIG_FILE).exists():  # run_search without an experiment, as tests do
        return WarmStart()
    return read_experiment(folder).known


def observations(known: WarmStart) -> list[Observation]:
    """Return the earlier trials as the searcher learns from them."""
    return [
        Observation(sample=one.sample, values=dict(one.values), costs=dict(one.costs), state=one.state, attrs={})
        for one in known.earlier
    ]


def _from_experiment(folder: Path, space: Space, config: SearchConfig) -> list[EarlierTrial]:
    """Return the trials of an experiment that lie in this search's space and have its objectives.

    An axis that the earlier space lacked takes the value that all trials of that experiment had. Epochs are scaled to
    this search's max_epochs, because the learning rate depends on the completed share of the schedule.
    """
    recorded = recorded_config(folder)
    if _regions(recorded) != _regions(config):
        raise UserError(
            f"{folder} segments other regions, so that its Dice cannot be compared with that of this search: leave it "
            "out of --warm-start"
        )
    stretch = config.max_epochs / recorded.max_epochs
    found = []
    for row in read_rows(folder / TABLE_FILE):
        sample = _in_space(row, recorded, space)
        values = {max(1, round(epoch.epoch * stretch)): epoch.val_dice for epoch in row.epochs if epoch.has_dice}
        best = row.best_epoch
        if sample is None or best is None or row.state == State.FAILED:
            continue
        measured = {name: best.value(name) for name in costs(config.objective)}
        cost = {name: value for name, value in measured.items() if value is not None}
        if len(cost) == len(measured):
            found.append(EarlierTrial(sample=sample, values=values, costs=cost, state=row.state))
    return found


def _regions(config: SearchConfig) -> tuple[Region, ...]:
    regions = parse_regions(config.reading.regions, config.reading.labels)
    return regions if len(regions) > 1 else ()


def _in_space(row: TrialRow, config: SearchConfig, space: Space) -> Sample | None:
    try:
        network, train = to_configs(row.sample, config.shared_settings(3))  # the number of channels is no axis
    except (ValueError, UserError):  # the trial is of another version of the program
        return None
    values = network.to_dict() | asdict(train)
    if any(values.get(name, value) != value for name, value in space.constants.items()):  # not one it does not have
        return None
    sample = space.active({name: values[name] for name in space if name in values})
    is_whole = set(sample) == set(space.active(complete_default(space) | sample))
    return sample if is_whole and not _outside(sample, space) else None


def _read_samples(path: Path, space: Space) -> list[Sample]:
    try:
        samples = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"--try {path} cannot be read as JSON: {error}") from error
    if not isinstance(samples, list) or not all(isinstance(sample, dict) for sample in samples):
        raise UserError(f'--try {path} must hold a list of objects, such as [{{"learning_rate": 0.001, "depth": 4}}]')
    for place, sample in enumerate(samples):
        if unknown := sorted(set(sample) - set(space)):
            raise UserError(
                f"--try {path}, sample {place + 1}: {unknown[0]!r} is not an axis; legal are {', '.join(space)}"
            )
        if idle := sorted(set(sample) - set(space.active(complete_default(space) | sample))):
            raise UserError(f"--try {path}, sample {place + 1}: {idle[0]} has no effect beside the other values")
        if outside := _outside(sample, space):
            raise UserError(f"--try {path}, sample {place + 1}: {outside}")
    return samples


def _is_of_kind(value: Any, axis: BaseDistribution) -> bool:
    """Return whether a value has an axis's type: 3.0 is not a depth, and `true` is not a weight."""
    if isinstance(axis, CategoricalDistribution):
        return any(value == choice and type(value) is type(choice) for choice in axis.choices)
    kinds = (int,) if isinstance(axis, IntDistribution) else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)


def _outside(sample: Sample, space: Space) -> str | None:
    """Return a message about the first value that lies outside the space; None if all lie in it."""
    for name, value in sample.items():
        axis = space[name]
        if not (_is_of_kind(value, axis) and axis._contains(axis.to_internal_repr(value))):
            return f"{name} is {value!r}, but must be {describe_axis(axis)}"
    return None
