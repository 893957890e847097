"""The folder of one search, and in it config.json: everything that must be known to understand or repeat it."""

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

from model.checkpoint import write
from search.cohort import Cohort
from search.config import SearchConfig
from search.lanes import Lanes
from search.provenance import provenance
from search.space import SPACES, describe


def create_experiment(config: SearchConfig, cohort: Cohort, lanes: Lanes) -> dict[str, Any]:
    """Return what config.json now says of a search that begins.

    Raises:
        ValueError: The folder exists already, or cannot be written.
    """
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
    try:
        config.folder.mkdir(parents=True)
        write(config.folder / "config.json", json.dumps(experiment, indent=2).encode())
    except FileExistsError:
        raise ValueError(f"{config.folder} exists already: choose another --name, or remove it") from None
    except OSError as error:
        raise ValueError(f"--out {config.out} cannot be written ({error}): choose another folder") from error
    return experiment
