"""The folder of one search, and in it config.json: everything that must be known to understand or repeat it."""

import json
import tempfile
from dataclasses import asdict
from datetime import datetime
from typing import Any

from model.checkpoint import write
from search.cohort import Cohort
from search.config import SearchConfig
from search.lanes import Lanes
from search.provenance import provenance
from search.space import SPACES, describe


def check_folder(config: SearchConfig) -> None:
    """Make sure, before anything else is done, that the experiment can have its folder.

    Raises:
        ValueError: The experiment exists already, or its parent cannot be written.
    """
    if config.folder.exists():
        raise ValueError(f"{config.folder} exists already: choose another --name, or remove it")
    try:
        config.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=config.out):
            pass
    except OSError as error:
        raise ValueError(f"--out {config.out} cannot be written ({error}): choose another folder") from error


def create_experiment(config: SearchConfig, cohort: Cohort, lanes: Lanes) -> dict[str, Any]:
    """Return what config.json now says of a search that begins."""
    experiment = {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "config": {name: str(value) if name == "out" else value for name, value in asdict(config).items()},
        "space": describe(SPACES[config.space]),
        "lanes": asdict(lanes),
        "data": {
            "source": config.data,
            "format": cohort.format,
            "fingerprint": cohort.fingerprint,
            "num_slices": cohort.num_slices,
            "num_tumour_slices": cohort.num_tumour_slices,
            "split": asdict(cohort.split),
        },
        **provenance(),
    }
    config.folder.mkdir(parents=True)
    write(config.folder / "config.json", json.dumps(experiment, indent=2).encode())
    return experiment
