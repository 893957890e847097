"""A model of a few hand-written ONNX nodes: probability = sigmoid((FLAIR - mean) / std).

FLAIR is channel 1, or the only one. A pixel is tumour where FLAIR is at least the mean of the head.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from data.preprocess import Preprocessing
from model.inference.onnx_file import METADATA_KEY
from model.settings import Settings

NAMES = ("pre", "flair", "post")
SETTINGS = Settings(preprocessing=Preprocessing(size=16), threshold=0.5, channel_names=NAMES)

_INPUTS = {"slices": 1, "mean": 0, "std": 0}


def flair_network(slices: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Return the probabilities of the only region of the hand-written model, computed with numpy."""
    return 1 / (1 + np.exp(-(slices[:, [1]] - mean[1]) / std[1]))


def write_model(path: Path, metadata: dict[str, str], *, num_channels: int = 3) -> Path:
    """Write the hand-written model with these entries of metadata, and return its path."""
    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    picked = [node("Gather", [name, "flair"], [f"{name}_flair"], axis=axis) for name, axis in _INPUTS.items()]
    vectors = [value(name, 1, [num_channels]) for name in ("mean", "std")]
    graph = onnx.helper.make_graph(
        [
            *picked,
            node("Sub", ["slices_flair", "mean_flair"], ["centred"]),
            node("Div", ["centred", "std_flair"], ["normalised"]),
            node("Sigmoid", ["normalised"], ["probability"]),
        ],
        "flair",
        [value("slices", 1, ["batch", num_channels, "height", "width"]), *vectors],
        [value("probability", 1, ["batch", "height", "width"])],
        [onnx.numpy_helper.from_array(np.array(min(1, num_channels - 1)), "flair")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def write_model_of(path: Path, **changes: Any) -> Path:
    """Write the hand-written model with SETTINGS, some of them changed, and return its path."""
    values = {name: getattr(SETTINGS, name) for name in SETTINGS.__dataclass_fields__} | changes
    settings = Settings(**values)
    return write_model(path, {METADATA_KEY: settings.to_json()}, num_channels=settings.num_inputs)
