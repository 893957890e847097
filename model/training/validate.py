"""Measure a network on the validation patients during training."""

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from data.loaders import eval_batches
from data.packing.pack import Pack
from model.device import Device
from model.scoring import metrics
from model.segmentation_network import SegmentationNetwork
from model.training import parallel


def validate(network: SegmentationNetwork, pack: Pack, device: Device, batch_size: int) -> dict[str, float]:
    """Return the mean over patients of every metric; each patient's counts are summed over its slices and all ranks.

    A patient's metric is the mean over regions. Of several regions, the Dice of each is there as well, as `dice_WT`. A
    metric is nan where it is undefined for every patient. The network is left in evaluation mode.
    """
    counts = count_by_patient(network, pack, device, batch_size)
    found = {name: metric(counts).nanmean(1).nanmean().item() for name, metric in metrics.METRICS.items()}
    if len(pack.regions) == 1:
        return found
    dices = metrics.dice(counts).nanmean(0)
    return found | {f"dice_{one.name}": dice.item() for one, dice in zip(pack.regions, dices, strict=True)}


@torch.inference_mode()
def count_by_patient(
    network: SegmentationNetwork, pack: Pack, device: Device, batch_size: int
) -> Int64[Tensor, "patients regions 4"]:
    """Return each patient's counts of each region (see `metrics.count`) over its slices and all ranks, on the CPU.

    The network is left in evaluation mode.
    """
    network.eval()
    counts = torch.zeros(len(pack.patient_ids), len(pack.regions), 4, dtype=torch.int64, device=device.device)
    patient_of_slice = torch.from_numpy(pack.patient_of_slice.copy()).to(device.device)
    rank, world_size = parallel.rank(), parallel.world_size()
    slices = np.arange(pack.num_slices)
    for batch in eval_batches(pack, slices, batch_size=batch_size, rank=rank, world_size=world_size):
        with device.autocast():
            logits = network(device.put(batch.images))
        found = metrics.count(logits > 0, device.put(batch.masks) > 0)
        counts.index_add_(0, patient_of_slice[torch.from_numpy(batch.slices).to(device.device)], found)
    parallel.sum_over_ranks(counts)
    return counts.cpu()
