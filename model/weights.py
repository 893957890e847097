"""A predictor's weights as one safetensors file, with all that is needed to build the networks around them again.

The format is a list of names, shapes and places, and then numbers: reading it runs nothing, and what it claims is
compared with the networks that its metadata describe before any memory is taken for them.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from data.atomic import write
from model.export.predictor import Predictor
from model.inference.onnx_file import METADATA_KEY
from model.settings import ModelError
from model.unet import UNet, UNetConfig

WEIGHTS_NAME = "weights.safetensors"

FORMAT = 1
"""Raised when a field changes meaning; a file of another format is refused."""

FIELDS = {"format", "unets", "threshold", "flips", "temperature"}

DTYPES = {torch.float32: "F32", torch.int64: "I64"}
"""What a U-Net is made of, in the format's words."""


def write_weights(predictor: Predictor, path: Path) -> None:
    """Put the predictor's weights and configuration into the file, whole or not at all."""
    description = {
        "format": FORMAT,
        "unets": [asdict(unet.config) for unet in predictor.unets],
        "threshold": float(predictor.threshold),
        "flips": predictor.flips,
        "temperature": float(predictor.temperature),
    }
    # Copies: members of an ensemble may share memory, which the format does not know.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in predictor.state_dict().items()}
    metadata = {"format": "pt", METADATA_KEY: json.dumps(description)}  # `format` is what other readers look for
    write(path, safetensors.torch.save(tensors, metadata))


def read_weights(path: Path) -> Predictor:
    """Return the predictor of a file that `write_weights` wrote, bit for bit as it was, on the CPU, ready to evaluate.

    Raises:
        ModelError: The file is missing, damaged, of another program or version, or not what its own metadata say.
    """
    if not path.is_file():
        raise ModelError(f"weights {path} do not exist; name a {WEIGHTS_NAME}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            # The reader has checked by now that the header is of a sane length and describes this many bytes.
            description = _description(file.metadata() or {})
            predictor = _outline(description, num_tensors=len(file.keys()))
            _check(predictor.state_dict(), {name: file.get_slice(name) for name in file.keys()})  # noqa: SIM118
            # Copies: the reader maps the file, and a file may change or vanish.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise ModelError(
            f"weights {path} cannot be read as safetensors: damaged, or something else ({error}); export them again"
        ) from error
    except ModelError as error:
        raise ModelError(f"weights {path}: {error}") from error
    predictor.load_state_dict(tensors, assign=True)
    return predictor.eval()


def _description(metadata: dict[str, str]) -> dict[str, Any]:
    """Return what the metadata say, of legal types."""
    if METADATA_KEY not in metadata:
        raise ModelError(f"there is no {METADATA_KEY} in the metadata: the file is not of this program")
    text = metadata[METADATA_KEY]
    try:
        values = dict(json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"the metadata are {text[:80]!r}, but must be a JSON object") from error
    if values.get("format") != FORMAT:
        raise ModelError(f"the metadata have format {values.get('format')!r}, but this version reads format {FORMAT}")
    if values.keys() != FIELDS:
        raise ModelError(f"the metadata have {sorted(values)}, but must have exactly {sorted(FIELDS)}")
    threshold, temperature = values["threshold"], values["temperature"]
    if type(threshold) is not float or not 0 < threshold < 1:
        raise ModelError(f"threshold is {threshold!r}, but must be a number above 0 and below 1")
    if type(temperature) is not float or not 0 < temperature < math.inf:
        raise ModelError(f"temperature is {temperature!r}, but must be a number above 0")
    if type(values["flips"]) is not bool:
        raise ModelError(f"flips are {values['flips']!r}, but must be true or false")
    return values


def _outline(description: dict[str, Any], *, num_tensors: int) -> Predictor:
    """Return the predictor of a description without memory for its weights, however large it says that they are."""
    configs = description["unets"]
    if not isinstance(configs, list) or not 0 < len(configs) <= num_tensors:
        raise ModelError(f"unets are {str(configs)[:80]}, but must be a list of one configuration a network")
    try:
        with torch.device("meta"):
            unets = [UNet(UNetConfig(**config)) for config in configs]
    except (TypeError, ValueError) as error:
        raise ModelError(f"a network's configuration is not legal: {error}") from error
    if len({unet.config.in_channels for unet in unets}) > 1:
        raise ModelError("the networks take different numbers of channels, but an ensemble sees one image")
    return Predictor(
        unets,
        threshold=description["threshold"],
        flips=description["flips"],
        temperature=description["temperature"],
    )


def _check(expected: Mapping[str, torch.Tensor], found: Mapping[str, Any]) -> None:
    """Make sure that the file has exactly the tensors of the networks that it describes."""
    if missing := sorted(expected.keys() - found.keys()):
        raise ModelError(f"{len(missing)} of {len(expected)} tensors are missing, the first is {missing[0]}")
    if extra := sorted(found.keys() - expected.keys()):
        raise ModelError(f"{len(extra)} tensors belong to none of its networks, the first is {extra[0]}")
    for name, tensor in expected.items():
        is_, must_be = (found[name].get_shape(), found[name].get_dtype()), (list(tensor.shape), DTYPES[tensor.dtype])
        if is_ != must_be:
            raise ModelError(f"{name} is {is_[1]} of shape {is_[0]}, but must be {must_be[1]} of shape {must_be[0]}")
