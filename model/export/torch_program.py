"""Export a trained network as one `torch.export` program, for people who use torch without this repository.

`torch.export.load` (2.13) unpickles parts of a file if the file says so: weights and constants that are marked as
pickled, and example inputs that cannot be read safely. So nothing in this repository reads such a file: the proof runs
on the bytes before they are written. The files written here hold no pickle, and the model card says when it is safe to
load one.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Shaped
from torch.export import ExportedProgram

from data.atomic import write
from model.export.onnx_export import prove
from model.export.parity import Parity
from model.export.predictor import Predictor
from model.export.tracing import check_samples, trace
from model.inference.onnx_file import METADATA_KEY
from model.inference.volume import Network, with_regions
from model.settings import Settings

PROGRAM_NAME = "model.pt2"


def export_program(
    predictor: Predictor,
    path: Path,
    settings: Settings,
    *,
    sample_volumes: Sequence[Shaped[np.ndarray, "_ _ _ _"]],
    program: ExportedProgram | None = None,
) -> Parity:
    """Export the predictor to the file `path`, and return how much the program differs from it on the sample volumes.

    Arguments, inputs and outputs are those of `model.export.onnx_export.export_onnx`. The settings are in the archive's
    extra file `tumour_search`. The file is written, or an older one is replaced, only after the proof.

    Raises:
        ExportError: The settings do not suit the network, there are no samples, or the two differ.
    """
    content, parity = proven_program(predictor, settings, sample_volumes=sample_volumes, program=program)
    write(path, content)
    return parity


def proven_program(
    predictor: Predictor,
    settings: Settings,
    *,
    sample_volumes: Sequence[Shaped[np.ndarray, "_ _ _ _"]],
    program: ExportedProgram | None = None,
) -> tuple[bytes, Parity]:
    """Return the bytes of the file that `export_program` writes, after the proof, and its outcome.

    Raises:
        ExportError: As `export_program`.
    """
    check_samples(sample_volumes)
    content = _content(program or trace(predictor, settings), settings)
    return content, prove(predictor, _network(content), settings, sample_volumes)


def _content(program: ExportedProgram, settings: Settings) -> bytes:
    """Return the archive, which holds no pickle."""
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={METADATA_KEY: settings.to_json()})
    return content.getvalue()


def _network(content: bytes) -> Network:
    """Return the network in an archive that this process made."""
    module = torch.export.load(io.BytesIO(content)).module()

    @torch.inference_mode()
    def network(slices: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        return with_regions(module(*(torch.from_numpy(array) for array in (slices, mean, std)))[0].numpy())

    return network
