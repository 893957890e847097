"""The presets with which a command line can begin."""

from dataclasses import replace

from data.preprocess import Preprocessing
from search.config import SearchConfig


def smoke() -> SearchConfig:
    """Return the default search: synthetic patients, minutes on a laptop."""
    return SearchConfig()


def workstation() -> SearchConfig:
    """Return a search for one machine with a GPU, or for a night on a CPU."""
    return SearchConfig(trials=60, max_epochs=54, space="wide", patience=15)


def cluster() -> SearchConfig:
    """Return a search for a cluster of GPUs: a large space and long trials."""
    return SearchConfig(
        trials=200, max_epochs=81, preprocessing=Preprocessing(size=256), width=32, space="wide", patience=20
    )


PRESETS = {preset.__name__: preset for preset in (smoke, workstation, cluster)}


def without_size(config: SearchConfig) -> SearchConfig:
    """Return a preset for a search with a budget, from which the number of trials and of epochs follow."""
    return replace(config, trials=SearchConfig.trials, max_epochs=SearchConfig.max_epochs)
