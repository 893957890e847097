"""Predicted validation slices, kept in the experiment's folder beside the record of the search.

A lane sends them with the result of an epoch that was the best of the search so far; the driver keeps them here.
"""

import io
import logging
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from data.atomic import write
from search.record.trials import trial_id

logger = logging.getLogger(__name__)

FOLDER = "wandb/slices"


def pack_slices(*, epoch: int, **arrays: Any) -> bytes:
    """Return the fields of `PredictedSlices` as a compressed archive: some 100 KB for eight slices of 128 pixels."""
    content = io.BytesIO()
    np.savez_compressed(content, epoch=epoch, **arrays)
    return content.getvalue()


def keep_slices(folder: Path, number: int, epoch: int, content: bytes) -> None:
    """Keep the packed slices of a trial's epoch. A disk that is full costs the pictures, not the search."""
    file = folder / FOLDER / f"{trial_id(number)}-{epoch:03d}.npz"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write(file, content)
    except OSError as error:
        logger.warning("validation slices are not kept: %s", error)


def find_kept_slices(folder: Path, number: int) -> dict[int, Path]:
    """Return the files with a trial's slices by epoch. A file that was cut off is left out."""
    found = {}
    for file in sorted((folder / FOLDER).glob(f"{trial_id(number)}[-.]*npz")):
        try:
            with file.open("rb") as content, np.load(content) as arrays:
                found[int(arrays["epoch"])] = file  # earlier versions did not have the epoch in the name
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            continue
    return found
