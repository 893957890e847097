"""Export a trained network as one ONNX file that takes raw intensities, and prove that both compute the same."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Shaped
from torch.export import ExportedProgram

from data.atomic import write
from model.export.parity import Parity
from model.export.predictor import Predictor, torch_network
from model.export.tracing import ExportError, check_samples, dynamic_axes, trace
from model.inference.onnx_file import METADATA_KEY, settings_of
from model.inference.runtime import onnxruntime_network
from model.inference.volume import Network, predict_volume
from model.settings import Settings

if TYPE_CHECKING:
    from onnxscript import ir

OPSET = 20
"""Version of ONNX's operators in the file; ONNX Runtime 1.17 and later read it."""

MAX_DIFFERENCE = 1e-4
"""Largest difference in probability, or in Dice, that passes as rounding; a trained network of depth 4 gave 9e-6."""


def export_onnx(
    predictor: Predictor,
    path: Path,
    settings: Settings,
    *,
    sample_volumes: Sequence[Shaped[np.ndarray, "_ _ _ _"]],
    program: ExportedProgram | None = None,
) -> Parity:
    """Export the predictor to the file `path`, and return how much the model differs from it on the sample volumes.

    A volume is "slices height width channels"; volumes may differ in their number of slices and in size.

    The model maps `slices` (raw intensities, any number, sides that the network allows) and their volume's `mean`
    and `std` to `probability` and `mask`. The settings are in its metadata. The file is written, or an older one is
    replaced, only after the proof.

    Args:
        program: The predictor as `model.export.tracing.trace` traced it, if that was done; else it is done here.

    Raises:
        ExportError: The settings do not suit the network, there are no samples, or the model differs from the network.
    """
    content, parity = proven_onnx(predictor, settings, sample_volumes=sample_volumes, program=program)
    write(path, content)
    return parity


def proven_onnx(
    predictor: Predictor,
    settings: Settings,
    *,
    sample_volumes: Sequence[Shaped[np.ndarray, "_ _ _ _"]],
    program: ExportedProgram | None = None,
) -> tuple[bytes, Parity]:
    """Return the bytes of the file that `export_onnx` writes, after the proof, and its outcome.

    Raises:
        ExportError: As `export_onnx`.
    """
    check_samples(sample_volumes)
    content = _content(program or trace(predictor, settings), predictor, settings)
    assert settings_of(content) == settings, "the settings survive the file"
    # MAX_DIFFERENCE is for float32, in which ONNX Runtime computes.
    return content, prove(predictor, onnxruntime_network(content), settings, sample_volumes)


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


def _content(program: ExportedProgram, predictor: Predictor, settings: Settings) -> bytes:
    """Return the bytes of the model's file, without a proof."""
    from model.export.centred_norms import CENTRED_NORMS  # imported late, because onnxscript takes a second

    with _quiet():
        converted = torch.onnx.export(
            program,
            dynamo=True,
            dynamic_shapes=dynamic_axes(predictor),  # their names
            input_names=["slices", "mean", "std"],
            output_names=["probability", "mask"],
            opset_version=OPSET,
            custom_translation_table=CENTRED_NORMS,
            optimize=False,
            verbose=False,
        )
    assert converted is not None, "dynamo=True returns a program"
    _simplify(converted.model)
    converted.model.metadata_props[METADATA_KEY] = settings.to_json()
    return converted.model_proto.SerializeToString()


def _simplify(model: "ir.Model") -> None:
    """Compute what is constant, once, and leave out what is double or unused.

    The exporter's own optimisation also looks for patterns that the runtimes find by themselves, and takes ten times
    as long.
    """
    from onnxscript import optimizer
    from onnxscript.ir.passes import common

    optimizer.inline(model)
    optimizer.fold_constants(model)
    for one in (
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedFunctionsPass(),
        common.RemoveUnusedOpsetsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
    ):
        one(model)


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
