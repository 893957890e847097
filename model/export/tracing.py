"""Trace a predictor once, into the program from which both exports are made."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from model.export.predictor import Predictor
from model.settings import Settings


class ExportError(ValueError):
    """The exported model does not compute what the network computes, or could not be made; a fault of the program."""


def trace(predictor: Predictor, settings: Settings) -> ExportedProgram:
    """Return the predictor's computation as a program that takes any number of slices, with sides that it allows.

    Raises:
        ExportError: The settings do not suit the network.
    """
    _check_settings(predictor, settings)
    model = copy.deepcopy(predictor).cpu().eval()  # the original may still be training
    model.requires_grad_(False)  # tracing it takes a fifth less time
    example = _example_inputs(model, settings)
    program = torch.export.export(model, example, dynamic_shapes=dynamic_axes(model))
    program.example_inputs = None  # the only part that would be stored as a pickle
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it shows paths of this machine
    return program


def dynamic_axes(predictor: Predictor) -> dict[str, dict[int, Dim]]:
    """Return which axes of a program's inputs have any length.

    The sides of slices do, too, unless a network needs fixed ones: then they are those of the settings.
    """
    axes = {0: Dim("batch")}
    if not predictor.fixed_sides:
        axes |= {2: predictor.side_multiple * Dim("rows"), 3: predictor.side_multiple * Dim("columns")}
    return {"slices": axes, "mean": {}, "std": {}}


def check_samples(sample_volumes: Sequence[np.ndarray]) -> None:
    """Check, before anything is traced, that there are slices to compare.

    Raises:
        ExportError: There are none.
    """
    if not sum(len(volume) for volume in sample_volumes):
        raise ExportError("sample_volumes is empty, but the proof needs at least one slice")


def _check_settings(predictor: Predictor, settings: Settings) -> None:
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


def _example_inputs(predictor: Predictor, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """Return slices, mean and std to trace a predictor with."""
    channels = predictor.in_channels
    if predictor.fixed_sides:
        sides = settings.preprocessing.size, settings.preprocessing.size
    else:
        multiple = predictor.side_multiple
        # All sizes differ and none is 1, because the exporter would take equal sizes, or a 1, as fixed.
        times = max(2, -(-predictor.min_side // multiple))
        sides = times * multiple, (times + 1) * multiple
    return torch.zeros(2, channels, *sides), torch.zeros(channels), torch.ones(channels)
