"""Export a trained network as one ONNX file that takes raw intensities, and prove that both compute the same."""

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.export import Dim

from data.atomic import write
from model.export.parity import Parity
from model.export.predictor import Predictor, torch_network
from model.inference.onnx_file import METADATA_KEY, settings_of
from model.inference.runtime import onnxruntime_network
from model.inference.volume import Network, predict_volume
from model.settings import Settings

OPSET = 20
"""Version of ONNX's operators in the file; ONNX Runtime 1.17 and later read it."""

MAX_DIFFERENCE = 1e-4
"""Largest difference in probability, or in Dice, that passes as rounding; a trained network of depth 4 gave 9e-6."""


class ExportError(ValueError):
    """The exported model does not compute what the network computes, or could not be made; a fault of the program."""


class CentredNorm(nn.Module):
    """Instance or group norm of features whose mean was subtracted before, by rows first.

    ONNX Runtime adds up a whole feature map in one float32 sum, and OpenVINO errs likewise. In the nearly black slices
    at the ends of a volume, where the mean is large beside the deviation, that error grows from norm to norm, to 3e-5
    in probability or more. The norm of centred features is the same, and has no such error: 7e-6. Three stages of
    means in place of the norm were as exact, but took a fifth to a third more time (tests/benchmarks/LOG.md).
    """

    def __init__(self, norm: nn.InstanceNorm2d | nn.GroupNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, features: Float[Tensor, "batch channels height width"]) -> Tensor:
        mean = features.mean(3, keepdim=True).mean(2, keepdim=True)
        if isinstance(self.norm, nn.GroupNorm):
            grouped = mean.unflatten(1, (self.norm.num_groups, -1))
            mean = grouped.mean(2, keepdim=True).expand_as(grouped).flatten(1, 2)
        return self.norm(features - mean)


def export_onnx(
    predictor: Predictor,
    path: Path,
    settings: Settings,
    *,
    sample_volumes: Sequence[Shaped[np.ndarray, "_ _ _ _"]],
) -> Parity:
    """Export the predictor to the file `path`, and return how much the model differs from it on the sample volumes.

    A volume is "slices height width channels"; volumes may differ in their number of slices and in size.

    The model maps `slices` (raw intensities, any number, sides that the network allows) and their volume's `mean`
    and `std` to `probability` and `mask`. The settings are in its metadata. The file is written, or an older one is
    replaced, only after the proof.

    Raises:
        ExportError: The settings do not suit the network, there are no samples, or the model differs from the network.
    """
    content, parity = proven_onnx(predictor, settings, sample_volumes=sample_volumes)
    write(path, content)
    return parity


def proven_onnx(
    predictor: Predictor, settings: Settings, *, sample_volumes: Sequence[Shaped[np.ndarray, "_ _ _ _"]]
) -> tuple[bytes, Parity]:
    """Return the bytes of the file that `export_onnx` writes, after the proof, and its outcome.

    Raises:
        ExportError: As `export_onnx`.
    """
    check_exportable(predictor, settings, sample_volumes)
    content = _export(predictor, settings)
    assert settings_of(content) == settings, "the settings survive the file"
    # MAX_DIFFERENCE is for float32, in which ONNX Runtime computes.
    return content, prove(predictor, onnxruntime_network(content), settings, sample_volumes)


def check_exportable(predictor: Predictor, settings: Settings, sample_volumes: Sequence[np.ndarray]) -> None:
    """Check, before anything is traced, that the settings suit the network and that there are slices to compare.

    Raises:
        ExportError: The settings do not suit the network, or there are no slices.
    """
    if (found := settings.num_inputs) != (expected := predictor.in_channels):
        raise ExportError(f"the settings have {found} channels, but the network has {expected}")
    if (found := len(settings.regions)) != predictor.num_regions:
        raise ExportError(f"the settings have {found} regions, but the network has {predictor.num_regions}")
    if settings.thresholds != predictor.thresholds:
        found, expected = (", ".join(map(str, one.thresholds)) for one in (settings, predictor))
        raise ExportError(f"the settings have threshold {found}, but the network has {expected}: set both to the same")
    size = settings.preprocessing.size
    if size % predictor.side_multiple:
        raise ExportError(f"size is {size}, but must be divisible by {predictor.side_multiple}")
    if not sum(len(volume) for volume in sample_volumes):
        raise ExportError("sample_volumes is empty, but the proof needs at least one slice")


def prove(predictor: Predictor, exported: Network, settings: Settings, sample_volumes: Sequence[np.ndarray]) -> Parity:
    """Return how much an exported model differs from the predictor on the sample volumes.

    Raises:
        ExportError: They differ by more than rounding.
    """
    original = torch_network(predictor, torch.device("cpu"))
    parity = _compare(original, exported, settings, sample_volumes)
    if not max(parity.max_probability_difference, parity.dice_difference) <= MAX_DIFFERENCE:  # true for nan, too
        raise ExportError(
            f"the exported model differs from its network by {parity.max_probability_difference:.2g} in probability "
            f"and {parity.dice_difference:.2g} in Dice, but at most {MAX_DIFFERENCE} is legal: nothing was written; "
            "report it with the versions of torch, onnxscript and onnxruntime"
        )
    return parity


def example_inputs(
    predictor: Predictor, settings: Settings
) -> tuple[tuple[Tensor, Tensor, Tensor], dict[str, dict[int, Dim]]]:
    """Return inputs for tracing a predictor, and which of their axes are dynamic.

    The sides of slices are dynamic, too, unless a network needs fixed ones: then they are those of the settings.
    """
    channels, axes = predictor.in_channels, {0: Dim("batch")}
    if predictor.fixed_sides:
        sides = settings.preprocessing.size, settings.preprocessing.size
    else:
        multiple = predictor.side_multiple
        # All sizes differ and none is 1, because the exporter would take equal sizes, or a 1, as fixed.
        times = max(2, -(-predictor.min_side // multiple))
        sides = times * multiple, (times + 1) * multiple
        axes |= {2: multiple * Dim("rows"), 3: multiple * Dim("columns")}
    example = (torch.zeros(2, channels, *sides), torch.zeros(channels), torch.ones(channels))
    return example, {"slices": axes, "mean": {}, "std": {}}


def _export(predictor: Predictor, settings: Settings) -> bytes:
    """Return the bytes of the model's file, without a proof."""
    model = copy.deepcopy(predictor).cpu().eval()  # the original may still be training
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.GroupNorm) or (
                isinstance(child, nn.InstanceNorm2d) and not child.track_running_stats
            ):
                setattr(parent, name, CentredNorm(child))
    example, axes = example_inputs(model, settings)
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
    assert program is not None, "dynamo=True returns a program"
    for node in program.model.graph:
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)  # it shows paths of this machine
    program.model.metadata_props[METADATA_KEY] = settings.to_json()
    return program.model_proto.SerializeToString()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide two messages that do not concern the model: torchvision is missing, and torch calls deprecated functions."""
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
        # Rounding may move a pixel this close to the threshold to its other side; all others must agree.
        thresholds = np.array(settings.thresholds, np.float32)[:, None, None, None]
        clear = np.abs(one - thresholds) > MAX_DIFFERENCE
        masks = clear & (one >= thresholds), clear & (other >= thresholds)
        intersection += int((masks[0] & masks[1]).sum())
        total += int(masks[0].sum() + masks[1].sum())
    return Parity(
        max_probability_difference=float(largest),
        dice_difference=1 - 2 * intersection / total if total else 0.0,
        num_slices=sum(len(volume) for volume in sample_volumes),
    )
