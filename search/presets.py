"""What a search can begin with: a preset, or a sweep of Weights & Biases."""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from data.preprocess import Preprocessing
from search.config import SearchConfig
from search.promotion.options import Promotion
from search.record.epochs import METRIC
from search.space.sweep_file import read_sweep

SMALL = 64
"""Side of a slice in a first search, in pixels: the smallest that every network of the core space takes."""

SIZE = {
    "trials",
    "max_epochs",
    "grace_period",
    "reduction_factor",
    "time_budget_seconds",
    "no_begin_with_default",
}
"""Options that do not go with the budget of a preset."""


def smoke() -> SearchConfig:
    """Return a first search: a few synthetic patients, a few trials, a final training; two minutes on any machine.

    In so short a time a budget alone would train the default configuration and nothing else. Slices are small, because
    at their full size an old processor would not even train an epoch for each trial.
    """
    return SearchConfig(
        data="phantom:12",
        budget="2m",
        trials=3,
        batch_size=8,
        promotion=Promotion(final_seeds=1),
        preprocessing=Preprocessing(size=SMALL),
    )


def workstation() -> SearchConfig:
    """Return a search for one machine with a GPU, or for a night on a CPU."""
    return SearchConfig(trials=60, max_epochs=54, space="wide", patience=15)


def cluster() -> SearchConfig:
    """Return a search for a cluster of GPUs: a large space and long trials."""
    return SearchConfig(
        trials=200, max_epochs=81, preprocessing=Preprocessing(size=256), width=32, space="wide", patience=20
    )


PRESETS = {preset.__name__: preset for preset in (smoke, workstation, cluster)}


def fit_to(config: SearchConfig, given: Collection[str]) -> SearchConfig:
    """Return a preset without its size where a budget is given, and without its budget where a size is given.

    In both cases somebody wants more than a first look, so slices and batches have their usual sizes.

    Args:
        given: The names of the options that are given beside the preset.
    """
    if "budget" in given:
        config = replace(config, trials=SearchConfig.trials, max_epochs=SearchConfig.max_epochs, promotion=Promotion())
    elif config.budget and {*given} & SIZE:
        config = replace(config, budget=None, trials=SearchConfig.trials, promotion=Promotion())
    else:
        return config
    small = config.preprocessing.size == SMALL
    if not small:
        return config
    return replace(config, preprocessing=Preprocessing(), batch_size=SearchConfig.batch_size)


def from_sweep(sweep: str | Path | Mapping[str, Any], **options: Any) -> SearchConfig:
    """Return the search that a W&B sweep asks for: its space, method, objective, early stopping and number of runs.

    Args:
        sweep: The path of a YAML or JSON file, or a dictionary.
        options: Fields of SearchConfig, which override what the sweep says.

    Raises:
        UserError: The sweep or an option is not legal.
    """
    asked: dict[str, Any] = {"space": sweep, **read_sweep(sweep).options}
    if "objective" in asked:
        asked["objective"] = (METRIC, asked["objective"])
    return SearchConfig(**asked | options)


def named(config: SearchConfig) -> SearchConfig:
    """Return a config with a name: its own, or else one made from the data and the time."""
    if config.name:
        return config
    stem = re.sub(r"[^A-Za-z0-9]+", "-", Path(config.data).name).strip("-").lower()[:80] or "search"
    return replace(config, name=f"{stem}-{datetime.now():%Y%m%d-%H%M%S}")
