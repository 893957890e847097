"""The slices that a trial's run shows, kept in the experiment's folder: a run that is written anew has them again."""

import io
import zipfile
from pathlib import Path

import numpy as np

from data.atomic import write
from model.training.sample_slices import PredictedSlices
from search.record.trials import trial_id

FOLDER = "wandb/slices"


def keep_slices(folder: Path, number: int, epoch: int, slices: PredictedSlices) -> None:
    """Keep the slices of a trial's epoch, in the place of earlier ones."""
    file = _file(folder, number)
    file.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    np.savez_compressed(content, epoch=epoch, **vars(slices))
    write(file, content.getvalue())  # whole: the thread that opens the run may be reading it


def kept_slices(folder: Path, number: int) -> tuple[int, PredictedSlices] | None:
    """Return the epoch of a trial's kept slices, and the slices; None where there are none."""
    try:
        with _file(folder, number).open("rb") as content, np.load(content) as arrays:
            values = dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):  # none; or cut off with its writer
        return None
    return int(values.pop("epoch")), PredictedSlices(**values | {"patients": tuple(values["patients"].tolist())})


def _file(folder: Path, number: int) -> Path:
    return folder / FOLDER / f"{trial_id(number)}.npz"
