"""ONNX files that no exporter writes: their parts exchanged, out of range, or in other files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from model.inference.onnx_file import METADATA_KEY
from tests.support.mutation import mutate_json

Damage = Callable[[onnx.ModelProto, np.random.Generator], None]

OPS = ("Sub", "Div", "Conv", "Sigmoid", "Reshape", "Gather", "Concat", "Resize", "Cast", "MatMul", "If", "Nonsense")


def damage_onnx(content: bytes, rng: np.random.Generator, secrets: Sequence[Path]) -> bytes:
    """Return a model with one or two parts changed.

    Args:
        secrets: Files outside of the model's folder, which a model may name as the place of its weights.
    """
    model = onnx.load_from_string(content)
    ways = (*WAYS, lambda model, rng: _externalise(model, rng, secrets))
    for _ in range(int(rng.integers(1, 3))):
        ways[rng.integers(len(ways))](model, rng)
    return model.SerializeToString()


def _externalise(model: onnx.ModelProto, rng: np.random.Generator, secrets: Sequence[Path]) -> None:
    tensor = _any(model.graph.initializer, rng)
    if tensor is None:
        return
    num_bytes = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    place = secrets[int(rng.integers(len(secrets)))]
    names = (str(place), place.name, f"../{place.name}", "*/_ORT_MEM_ADDR_/*", "model.onnx", "/proc/self/mem")
    offset = int(rng.choice([0, 0, 0, 2**40, -1]))
    for key, value in (("location", names[int(rng.integers(len(names)))]), ("offset", offset), ("length", num_bytes)):
        tensor.external_data.add(key=key, value=str(value))


def _resize_tensor(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    if (tensor := _any(model.graph.initializer, rng)) is not None:
        tensor.dims.append(int(rng.choice([0, -1, 3, 2**31, 2**62])))


def _resize_value(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    values = [*model.graph.input, *model.graph.output]
    dimension = _any(values, rng).type.tensor_type.shape.dim.add()
    dimension.dim_value = int(rng.choice([0, -1, 3, 2**31, 2**62]))


def _retype(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    values = [*model.graph.input, *model.graph.output]
    _any(values, rng).type.tensor_type.elem_type = int(rng.integers(0, 30))
    if (tensor := _any(model.graph.initializer, rng)) is not None and rng.integers(2):
        tensor.data_type = int(rng.integers(0, 30))


def _rewire(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    node, other = _any(model.graph.node, rng), _any(model.graph.node, rng)
    node.input[int(rng.integers(len(node.input)))] = _any(other.output, rng)


def _rename(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    _any([*model.graph.input, *model.graph.output, *model.graph.node], rng).name = "x" * int(rng.choice([0, 1, 10**6]))


def _change_op(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    _any(model.graph.node, rng).op_type = OPS[rng.integers(len(OPS))]


def _change_attribute(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    attributes = [one for node in model.graph.node for one in node.attribute]
    if (attribute := _any(attributes, rng)) is not None:
        attribute.i = int(rng.choice([-(2**63), -1, 0, 7, 2**62]))
        attribute.ints.append(int(rng.choice([-1, 0, 2**62])))


def _change_opset(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    model.opset_import[0].version = int(rng.choice([0, 1, 7, 1000, 2**40]))
    model.ir_version = int(rng.choice([0, 3, 10, 1000]))


def _repeat(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    model.graph.node.extend([_any(model.graph.node, rng)] * int(rng.choice([1, 2000])))


def _remove(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    parts = [one for one in (model.graph.node, model.graph.initializer, model.graph.input, model.graph.output) if one]
    part = parts[int(rng.integers(len(parts)))]
    del part[int(rng.integers(len(part)))]


def _change_settings(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = mutate_json(entry.value, rng).encode("utf-8", "replace").decode()


WAYS: tuple[Damage, ...] = (
    _resize_tensor,
    _resize_value,
    _retype,
    _rewire,
    _rename,
    _change_op,
    _change_attribute,
    _change_opset,
    _repeat,
    _remove,
    _change_settings,
    _change_settings,
    _change_settings,
)


def _any(parts: Any, rng: np.random.Generator) -> Any:
    return parts[int(rng.integers(len(parts)))] if len(parts) else None
