"""A trained network as one ONNX file that takes raw intensities, proven equal to the network it was made from."""

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.export import Dim

from model.export.predictor import Predictor, torch_network
from model.inference.onnx_file import METADATA_KEY
from model.inference.runtime import load_model
from model.inference.volume import Network, predict_volume
from model.settings import Settings

OPSET = 20
"""Version of ONNX's operators that is written; ONNX Runtime 1.17 and later read it."""

MAX_DIFFERENCE = 1e-4
"""Largest difference of a probability, or of Dice, that passes as rounding; a trained network of depth 4 gave 9e-6."""


class ExportError(ValueError):
    """The exported model does not do what the network does, or could not be made."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How near the exported model is to its original, on the same slices."""

    max_probability_difference: float
    """Largest absolute difference at any pixel."""

    dice_difference: float
    """1 - Dice between the two predictions, over all slices together, without pixels within MAX_DIFFERENCE of the
    threshold; 0 where both are empty."""

    num_slices: int
    """Slices that were compared."""


class RowwiseInstanceNorm(nn.Module):
    """Instance norm whose means are taken over rows first.

    ONNX Runtime adds up a whole map in one float32 sum. In the nearly black slices at the ends of a volume the error of
    that grows, norm by norm: 5e-5 in probability, where this has 9e-6, for a tenth to a fifth more time.
    """

    def __init__(self, norm: nn.InstanceNorm2d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, features: Float[Tensor, "batch channels height width"]) -> Tensor:
        centred = features - _mean(features)
        scale = self.weight[:, None, None] * torch.rsqrt(_mean(centred.square()) + self.eps)
        return centred * scale + self.bias[:, None, None]


def export_onnx(
    predictor: Predictor,
    path: Path,
    settings: Settings,
    *,
    sample_volumes: Sequence[UInt8[np.ndarray, "_ _ _ _"]],
) -> Parity:
    """Return how near the exported model, now in the file `path`, is to the network on the sample volumes.

    A volume is "slices height width channels"; each may have its own number of slices and size.

    The model maps `slices` (raw intensities, any number, sides that the U-Net's depth allows) and their volume's `mean`
    and `std` to `probability` and `mask`. The settings travel in its metadata. The file appears under its name only
    after the proof; one that was there before is replaced then.

    Raises:
        ExportError: The settings do not suit the network, there is no sample, or the two models differ.
    """
    check_exportable(predictor, settings, sample_volumes)
    partial = path.with_name(path.name + ".partial")
    try:
        _write(predictor, partial, settings)
        exported, _ = load_model(partial, runtime="onnxruntime")  # in float32, to which MAX_DIFFERENCE belongs
        parity = prove(predictor, exported, settings, sample_volumes)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return parity


def check_exportable(predictor: Predictor, settings: Settings, sample_volumes: Sequence[np.ndarray]) -> None:
    """Make sure, before anything is traced, that the settings suit the network and that there is something to compare.

    Raises:
        ExportError: They do not, or there is nothing.
    """
    if settings.num_inputs != predictor.in_channels:
        raise ExportError(f"the settings have {settings.num_inputs} channels, but the network {predictor.in_channels}")
    if settings.threshold != predictor.threshold:
        raise ExportError(
            f"the settings have threshold {settings.threshold}, but the network {predictor.threshold}: give both one"
        )
    size = settings.preprocessing.size
    if size % predictor.side_multiple:
        raise ExportError(f"size is {size}, but must be divisible by {predictor.side_multiple}")
    if not sum(len(volume) for volume in sample_volumes):
        raise ExportError("sample_volumes is empty, but the proof needs at least one slice")


def prove(predictor: Predictor, exported: Network, settings: Settings, sample_volumes: Sequence[np.ndarray]) -> Parity:
    """Return how near what was exported is to the predictor on the sample volumes.

    Raises:
        ExportError: They differ by more than rounding.
    """
    original = torch_network(predictor, torch.device("cpu"))
    parity = _compare(original, exported, settings, sample_volumes)
    if not max(parity.max_probability_difference, parity.dice_difference) <= MAX_DIFFERENCE:  # nan fails, too
        raise ExportError(
            f"the exported model differs from its network by {parity.max_probability_difference:.2g} in probability "
            f"and {parity.dice_difference:.2g} in Dice, but at most {MAX_DIFFERENCE} is legal: nothing was written; "
            "report it with the versions of torch, onnxscript and onnxruntime"
        )
    return parity


def example_inputs(predictor: Predictor) -> tuple[tuple[Tensor, Tensor, Tensor], dict[str, Any]]:
    """Return inputs to trace a predictor with, and which of their axes may have any length."""
    multiple, channels = predictor.side_multiple, predictor.in_channels
    # Sizes that differ, and none of them 1: the exporter would take equal ones, or a 1, for a rule.
    example = (torch.zeros(2, channels, 2 * multiple, 3 * multiple), torch.zeros(channels), torch.ones(channels))
    axes = {0: Dim("batch"), 2: multiple * Dim("rows"), 3: multiple * Dim("columns")}
    return example, {"slices": axes, "mean": {}, "std": {}}


def _mean(features: Tensor) -> Tensor:
    return features.mean(3, keepdim=True).mean(2, keepdim=True)


def _write(predictor: Predictor, path: Path, settings: Settings) -> None:
    """Write the model without a proof."""
    model = copy.deepcopy(predictor).cpu().eval()  # the original may be in training elsewhere
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.InstanceNorm2d):
                setattr(parent, name, RowwiseInstanceNorm(child))
    example, axes = example_inputs(model)
    with _quiet():
        program = torch.onnx.export(
            model,
            example,
            dynamo=True,
            dynamic_shapes=axes,
            input_names=["slices", "mean", "std"],
            output_names=["probability", "mask"],
            opset_version=OPSET,
            verbose=False,
        )
    for node in program.model.graph:
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)  # lines of source, with paths of this machine
    program.model.metadata_props[METADATA_KEY] = settings.to_json()
    program.save(path, external_data=False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep two things from the terminal that are not about this model: torchvision's absence, torch's old calls."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated", category=FutureWarning)
            yield
    finally:
        logger.setLevel(level)


def _compare(original: Network, exported: Network, settings: Settings, sample_volumes: Sequence[np.ndarray]) -> Parity:
    largest, intersection, total = 0.0, 0, 0
    for volume in sample_volumes:
        one, other = (predict_volume(network, volume, settings.preprocessing) for network in (original, exported))
        largest = np.maximum(largest, np.abs(one - other).max(initial=0.0))  # np.maximum keeps nan
        # A pixel this near to the threshold may fall on either side by rounding; all others must agree.
        clear = np.abs(one - settings.threshold) > MAX_DIFFERENCE
        masks = clear & (one >= settings.threshold), clear & (other >= settings.threshold)
        intersection += int((masks[0] & masks[1]).sum())
        total += int(masks[0].sum() + masks[1].sum())
    return Parity(
        max_probability_difference=float(largest),
        dice_difference=1 - 2 * intersection / total if total else 0.0,
        num_slices=sum(len(volume) for volume in sample_volumes),
    )
