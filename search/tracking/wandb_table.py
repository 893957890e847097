"""Predicted slices as a table on W&B's pages, with masks that are switched on and off there."""

from typing import Any

import numpy as np

from model.training.sample_slices import PredictedSlices

LABELS = {1: "tumour"}
"""What is in no class is not painted."""


def slices_table(slices: PredictedSlices) -> Any:
    """Return a `wandb.Table`: a row a slice."""
    import wandb

    rows = []
    for index, dice in enumerate(slices.dices):
        masks = {
            name: {"mask_data": mask[index].astype(np.uint8), "class_labels": LABELS}
            for name, mask in (("prediction", slices.predicted), ("truth", slices.true))
        }
        image = wandb.Image(slices.images[index], masks=masks)
        rows.append([slices.patients[index], int(slices.numbers[index]), image, float(dice)])
    return wandb.Table(columns=["patient", "slice", "image", "Dice"], data=rows)
