"""A few validation slices with the masks that a network in training predicts; all trainings on a pack use the same."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8

from data.loaders import eval_batches
from data.packing.pack import Pack
from data.patient import shown_channel
from model.device import Device
from model.segmentation_network import SegmentationNetwork

MAX_SLICES = 8
"""Enough to see what a network does, and as many as fill a screen. Each takes a few ms and about 100 KB to store."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PredictedSlices:
    """Slices with their true masks and the masks that a network predicts."""

    patients: tuple[str, ...]
    numbers: Int64[np.ndarray, " slices"]
    images: UInt8[np.ndarray, "slices size size"]
    """Grey levels of the channel that pictures show."""

    true: Bool[np.ndarray, "slices size size"]
    """Whether a pixel lies in any region."""

    predicted: Bool[np.ndarray, "slices size size"]

    @property
    def dices(self) -> Float[np.ndarray, " slices"]:
        """The slice-wise Dice; nan where both masks are empty."""
        both = (self.true & self.predicted).sum((1, 2))
        either = self.true.sum((1, 2)) + self.predicted.sum((1, 2))
        return np.where(either > 0, 2 * both / np.maximum(either, 1), np.nan)


def representative_slices(pack: Pack) -> Int64[np.ndarray, " slices"]:
    """Return one slice of each of the first MAX_SLICES patients: the one with the most tumour, or the middle one of a
    patient without tumour."""
    chosen = []
    for patient in range(min(MAX_SLICES, len(pack.patient_ids))):
        slices = np.flatnonzero(pack.patient_of_slice == patient)
        areas = (pack.masks[slices[0] : slices[-1] + 1] > 0).sum((1, 2))
        chosen.append(slices[areas.argmax() if areas.any() else len(slices) // 2])
    return np.array(chosen, np.int64)


@torch.inference_mode()
def predict_slices(network: SegmentationNetwork, pack: Pack, device: Device) -> PredictedSlices:
    """Return a network's predictions for the representative slices of a pack. It is left in evaluation mode."""
    network.eval()
    slices = representative_slices(pack)
    [batch] = eval_batches(pack, slices, batch_size=len(slices))
    images = torch.from_numpy(batch.images).to(device.device, memory_format=device.memory_format)
    with device.autocast():
        logits = network(images)
    return PredictedSlices(
        patients=tuple(pack.patient_ids[patient] for patient in pack.patient_of_slice[slices]),
        numbers=pack.slice_numbers[slices],
        images=pack.images[slices, ..., shown_channel(pack.images.shape[3])],
        true=pack.masks[slices] > 0,
        predicted=(logits > 0).any(1).cpu().numpy(),
    )
