"""A trained network as one `torch.export` program, for those who run torch but not this repository.

`torch.export.load` (2.13) unpickles what a foreign file tells it to: weights and constants that are marked so, and
example inputs whose safe reading failed. So nothing in this repository reads such a file: the proof runs on the bytes
before they are written. Ours hold no pickle at all, and the model card says when others may load them.
"""

import copy
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from data.atomic import write
from model.export.onnx_export import Parity, check_exportable, example_inputs, prove
from model.export.predictor import Predictor
from model.inference.onnx_file import METADATA_KEY
from model.inference.volume import Network
from model.settings import Settings

PROGRAM_NAME = "model.pt2"


def export_program(
    predictor: Predictor,
    path: Path,
    settings: Settings,
    *,
    sample_volumes: Sequence[UInt8[np.ndarray, "_ _ _ _"]],
) -> Parity:
    """Return how near the program, now in the file `path`, is to the predictor on the sample volumes.

    Inputs, outputs and volumes are those of `model.export.export_onnx`; the settings are the archive's extra file
    `tumour_search`. The file appears only after the proof; one that was there before is replaced then.

    Raises:
        ExportError: The settings do not suit the network, there is no sample, or the two differ.
    """
    check_exportable(predictor, settings, sample_volumes)
    content = _program(predictor, settings)
    parity = prove(predictor, _network(content), settings, sample_volumes)
    write(path, content)
    return parity


def _program(predictor: Predictor, settings: Settings) -> bytes:
    """Return the archive, without a pickle in it."""
    model = copy.deepcopy(predictor).cpu().eval()  # the original may be in training elsewhere
    example, axes = example_inputs(model)
    program = torch.export.export(model, example, dynamic_shapes=axes)
    program.example_inputs = None  # the one thing that would be stored as a pickle
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={METADATA_KEY: settings.to_json()})
    return content.getvalue()


def _network(content: bytes) -> Network:
    """Return what runs an archive of this process."""
    module = torch.export.load(io.BytesIO(content)).module()

    @torch.inference_mode()
    def network(slices: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        return module(*(torch.from_numpy(array) for array in (slices, mean, std)))[0].numpy()

    return network
