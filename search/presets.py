"""The presets with which a command line can begin."""

from collections.abc import Collection
from dataclasses import replace

from data.preprocess import Preprocessing
from search.config import SearchConfig
from search.promotion_options import Promotion

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
    """Return a first search: synthetic patients, a few trials, a final training, and three minutes on any machine.

    In so short a time a budget alone would train the default configuration and nothing else.
    """
    return SearchConfig(budget="3m", trials=4, promotion=Promotion(final_seeds=1))


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

    Args:
        given: The names of the options that are given beside the preset.
    """
    if "budget" in given:
        return replace(config, trials=SearchConfig.trials, max_epochs=SearchConfig.max_epochs, promotion=Promotion())
    if config.budget and {*given} & SIZE:
        return replace(config, budget=None, trials=SearchConfig.trials, promotion=Promotion())
    return config
