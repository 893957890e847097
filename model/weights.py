"""A predictor's weights as one safetensors file, with everything that is needed to rebuild the networks around them.

The format is a list of names, shapes and positions, followed by numbers, so reading it executes nothing. What a file
claims is compared with the networks that its metadata describe before any memory is allocated for them.
"""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from data.atomic import write
from data.errors import UserError
from model.export.predictor import Predictor
from model.inference.onnx_file import METADATA_KEY
from model.manifest import check_file
from model.networks import build, read_config
from model.networks.shapes import Shapes, build_without_memory, check_shapes, has_all_buffers
from model.settings import ModelError

WEIGHTS_NAME = "weights.safetensors"

FORMAT = 2
"""Increased when a field changes its meaning; a newer file is refused."""

FORMATS = (1, FORMAT)
"""The formats that are read. Format 1 knew only U-Nets: `networks` was called `unets`, in the metadata and in the names
of the tensors, and no configuration named its architecture."""

DTYPES = {torch.float32: "F32", torch.int64: "I64"}
"""The types of a network's tensors, as safetensors names them."""


@dataclass(frozen=True, kw_only=True)
class _Description:
    """The description of a predictor in the metadata of its file."""

    networks: Sequence[Mapping[str, object]]
    """The configuration of each network, as `NetworkConfig.to_dict` gives it."""

    threshold: float | Sequence[float]
    """One for all regions, or of several one for each."""

    flips: bool
    temperature: float


def write_weights(predictor: Predictor, path: Path) -> None:
    """Write the predictor's weights and configuration to the file, whole or not at all."""
    description = _Description(
        networks=[config.to_dict() for config in predictor.configs],
        threshold=float(predictor.thresholds[0]) if predictor.num_regions == 1 else list(predictor.thresholds),
        flips=predictor.flips,
        temperature=float(predictor.temperature),
    )
    # Copies: members of an ensemble may share memory, which the format does not know.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in predictor.state_dict().items()}
    text = json.dumps({"format": FORMAT, **asdict(description)})
    write(path, safetensors.torch.save(tensors, {"format": "pt", METADATA_KEY: text}))  # other readers look for "pt"


def read_weights(path: Path, *, own: Collection[str] = ()) -> Predictor:
    """Return the predictor that `write_weights` wrote to a file, bit for bit, on the CPU and ready to evaluate.

    Args:
        own: The functions `package.module:function` that may build its networks; the file's word is not enough.

    Raises:
        ModelError: The file is missing, damaged, of another program or version, or not what its own metadata or the
            manifest beside it say.
    """
    if not path.is_file():
        raise ModelError(f"weights {path} do not exist; name a {WEIGHTS_NAME}")
    check_file(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            # The reader has checked by now that the header is of a sane length and describes this many bytes.
            format, description = _read_description(file.metadata() or {})
            stored = {_current_name(name, format): name for name in file.keys()}  # noqa: SIM118
            predictor = _build_without_memory(description, own, num_tensors=len(stored))
            parts = {name: file.get_slice(in_file) for name, in_file in stored.items()}
            found = {name: (list(part.get_shape()), part.get_dtype()) for name, part in parts.items()}
            check_shapes(_shapes(predictor), found)
            # Copies: the reader maps the file, and a file may change or vanish.
            tensors = {name: file.get_tensor(in_file).clone() for name, in_file in stored.items()}
    except (safetensors.SafetensorError, OSError) as error:
        raise ModelError(
            f"weights {path} cannot be read: damaged, or not a safetensors file ({error}); export them again"
        ) from error
    except ModelError as error:
        raise ModelError(f"weights {path}: {error}") from error
    # What the file says has been checked against shapes; now the networks may take memory.
    for index, config in enumerate(predictor.configs):
        if not has_all_buffers(predictor.networks[index]):
            predictor.networks[index] = build(config)
    predictor.load_state_dict(tensors, assign=True)
    return predictor.eval()


def _read_description(metadata: Mapping[str, str]) -> tuple[int, _Description]:
    """Return the format of a file and the description in its metadata, after checking the types."""
    if METADATA_KEY not in metadata:
        raise ModelError(f"there is no {METADATA_KEY} in the metadata: this program did not write the file")
    text = metadata[METADATA_KEY]
    try:
        values = dict(json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"the metadata are {text[:80]!r}, but must be a JSON object") from error
    format = values.pop("format", None)
    if format not in FORMATS:
        legal = " and ".join(map(str, FORMATS))
        raise ModelError(f"the metadata have format {format!r}, but this version reads {legal}")
    names = {field.name for field in fields(_Description)}
    in_file = {"unets" if name == "networks" and format == 1 else name for name in names}
    if values.keys() != in_file:
        raise ModelError(f"the metadata have {sorted(values)}, but must have exactly {sorted(in_file)}")
    if format == 1:
        values["networks"] = values.pop("unets")
    _check_types(values)
    return format, _Description(**values)


def _check_types(values: Mapping[str, Any]) -> None:
    networks, threshold, temperature = values["networks"], values["threshold"], values["temperature"]
    if not isinstance(networks, list) or not networks or not all(isinstance(one, dict) for one in networks):
        raise ModelError(f"networks are {str(networks)[:80]}, but must be a list of one configuration a network")
    thresholds = threshold if isinstance(threshold, list) else [threshold]
    if not thresholds or not all(type(one) is float and 0 < one < 1 for one in thresholds):
        raise ModelError(
            f"threshold is {threshold!r}, but must be a number above 0 and below 1, or one for each region"
        )
    if type(temperature) is not float or not 0 < temperature < math.inf:
        raise ModelError(f"temperature is {temperature!r}, but must be a number above 0")
    if type(values["flips"]) is not bool:
        raise ModelError(f"flips are {values['flips']!r}, but must be true or false")


def _current_name(name: str, format: int) -> str:
    """Return the name in the predictor's state of a tensor that a file calls `name`."""
    return "networks." + name.removeprefix("unets.") if format == 1 and name.startswith("unets.") else name


def _build_without_memory(description: _Description, own: Collection[str], *, num_tensors: int) -> Predictor:
    """Return the predictor without allocating memory for its weights, whose size the file may exaggerate."""
    configs = description.networks
    if len(configs) > num_tensors:
        raise ModelError(f"networks are {str(configs)[:80]}, but must be a list of one configuration a network")
    try:
        networks = [build_without_memory(read_config(config, own=own)) for config in configs]
    except UserError as error:
        raise ModelError(f"a network's configuration is not legal: {error}") from error
    if len({network.config.in_channels for network in networks}) > 1:
        raise ModelError("the networks take different numbers of channels, but an ensemble sees one image")
    if len({network.config.num_regions for network in networks}) > 1:
        raise ModelError("the networks segment different numbers of regions, but an ensemble has one answer")
    num_regions = networks[0].config.num_regions
    if isinstance(description.threshold, Sequence) and len(description.threshold) != num_regions:
        raise ModelError(f"there are {len(description.threshold)} thresholds for {num_regions} regions")
    return Predictor(
        networks,
        threshold=description.threshold,
        flips=description.flips,
        temperature=description.temperature,
    )


def _shapes(predictor: Predictor) -> Shapes:
    return {name: (list(value.shape), DTYPES[value.dtype]) for name, value in predictor.state_dict().items()}
