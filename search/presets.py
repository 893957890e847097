"""The named presets that a command line starts from."""

from data.preprocess import Preprocessing
from search.config import SearchConfig


def smoke() -> SearchConfig:
    """The default: synthetic patients, minutes on a laptop."""
    return SearchConfig()


def workstation() -> SearchConfig:
    """One machine with a GPU, or a night on a CPU."""
    return SearchConfig(trials=60, max_epochs=54, space="wide", patience=15)


def cluster() -> SearchConfig:
    """A cluster of GPUs: a large space, long trials."""
    return SearchConfig(
        trials=200, max_epochs=81, preprocessing=Preprocessing(size=256), width=32, space="wide", patience=20
    )


PRESETS = {preset.__name__: preset for preset in (smoke, workstation, cluster)}
