"""What a run shows beside numbers: predicted slices, and the promoted model."""

from pathlib import Path
from typing import Any

import numpy as np

from model.manifest import FORMAT, MANIFEST_NAME, read_manifest, sha256
from model.settings import ModelError

LABELS = {1: "tumour"}
"""Pixels of no class are not painted."""


def slices_table(file: Path) -> Any:
    """Return a `wandb.Table` of kept slices, one a row, with masks that can be switched on and off on W&B's pages."""
    import wandb

    with np.load(file) as content:
        arrays = dict(content)
    rows = []
    for index, patient in enumerate(arrays["patients"]):
        truth, prediction = arrays["true"][index], arrays["predicted"][index]
        masks = {
            name: {"mask_data": mask.astype(np.uint8), "class_labels": LABELS}
            for name, mask in (("prediction", prediction), ("truth", truth))
        }
        image = wandb.Image(arrays["images"][index], masks=masks)
        rows.append([str(patient), int(arrays["numbers"][index]), image, _dice(truth, prediction)])
    return wandb.Table(columns=["patient", "slice", "image", "Dice"], data=rows)


def model_artifact(best: Path, name: str) -> Any:
    """Return a `wandb.Artifact` of the files that the manifest of a model's folder lists.

    Raises:
        ModelError: There is no manifest, or a file is missing or has changed.
    """
    import wandb

    manifest = read_manifest(best)
    facts = {"format": FORMAT, **manifest.provenance.known()}
    artifact = wandb.Artifact(name, type="model", metadata=facts)
    for file, entry in manifest.files.items():
        if not (best / file).is_file():
            raise ModelError(f"{best / file} does not exist any more")
        if sha256(best / file) != entry.sha256:
            raise ModelError(f"{best / file} has changed since it was exported")
    for file in (*manifest.files, MANIFEST_NAME):
        # The file itself, where `wandb sync` will look for it: W&B would keep copies in the user's home.
        artifact.add_file(str(best / file), file, skip_cache=True, policy="immutable")
    return artifact


def _dice(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Return the Dice of one slice, nan if neither mask has a pixel (PredictedSlices.dices, without torch)."""
    pixels = truth.sum() + prediction.sum()
    return float(2 * (truth & prediction).sum() / pixels) if pixels else float("nan")
