"""Instance and group norm as ONNX operators, of features whose mean was subtracted before, by rows first.

ONNX Runtime adds up a whole feature map in one float32 sum, and OpenVINO errs likewise. In the nearly black slices at
the ends of a volume, where the mean is large beside the deviation, that error grows from norm to norm, to 3e-5 in
probability or more. The norm of centred features is the same, and has no such error: 7e-6. Stages of means in place of
the norm were as exact, but took a fifth to a third more time (tests/benchmarks/LOG.md).

They replace the exporter's own translations of the two operators. So the traced program keeps PyTorch's norms, and one
trace serves both exports.
"""

from collections.abc import Callable
from typing import Any

import torch
from onnxscript import ir, opset20

op: Any = opset20  # its annotations are of tensors, and not of the values of a graph

Maybe = ir.Value | None


def instance_norm(
    features: ir.Value,
    weight: Maybe = None,
    bias: Maybe = None,
    running_mean: Maybe = None,
    running_var: Maybe = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    cudnn_enabled: bool = False,
) -> ir.Value:
    """Return the norm of float32 features, with the parameters of `aten.instance_norm`."""
    del momentum, cudnn_enabled
    rank, num_maps = len(_shape(features)), _shape(features)[1]
    if use_input_stats:
        scale = op.Constant(value_floats=[1.0] * num_maps) if weight is None else weight
        shift = op.Constant(value_floats=[0.0] * num_maps) if bias is None else bias
        centred = op.Sub(features, _mean_of_maps(features, rank))
        return op.InstanceNormalization(centred, scale, shift, epsilon=eps)
    spread = op.Sqrt(op.Add(_per_map(running_var, rank), op.Constant(value_float=eps)))
    return _scaled(op.Div(op.Sub(features, _per_map(running_mean, rank)), spread), weight, bias, rank)


def group_norm(
    features: ir.Value,
    num_groups: int,
    weight: Maybe = None,
    bias: Maybe = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> ir.Value:
    """Return the norm of float32 features, with the parameters of `aten.group_norm`."""
    del cudnn_enabled
    rank, num_maps = len(_shape(features)), _shape(features)[1]
    ones = [1] * (rank - 2)
    maps = op.Reshape(_mean_of_maps(features, rank), _integers(0, num_groups, -1, *ones))
    means = op.Expand(op.ReduceMean(maps, _integers(2)), _integers(1, 1, num_maps // num_groups, *ones))
    centred = op.Sub(features, op.Reshape(means, _integers(0, num_maps, *ones)))
    groups = op.Reshape(centred, _integers(0, num_groups, -1))
    scale, shift = (op.Constant(value_floats=[value] * num_groups) for value in (1.0, 0.0))
    normed = op.InstanceNormalization(groups, scale, shift, epsilon=eps)
    return _scaled(op.Reshape(normed, op.Shape(features)), weight, bias, rank)


CENTRED_NORMS: dict[Callable, Callable] = {
    torch.ops.aten.instance_norm.default: instance_norm,
    torch.ops.aten.group_norm.default: group_norm,
}
"""Both translations, as `torch.onnx.export` takes them."""


def _mean_of_maps(features: ir.Value, rank: int) -> ir.Value:
    """Return the mean of every map, which has one value on each of its sides."""
    for axis in reversed(range(2, rank)):
        features = op.ReduceMean(features, _integers(axis))
    return features


def _scaled(normed: ir.Value, weight: Maybe, bias: Maybe, rank: int) -> ir.Value:
    if weight is None or bias is None:
        return normed
    return op.Add(op.Mul(normed, _per_map(weight, rank)), _per_map(bias, rank))


def _per_map(values: Maybe, rank: int) -> ir.Value:
    return op.Unsqueeze(values, _integers(*range(1, rank - 1)))


def _integers(*values: int) -> ir.Value:
    return op.Constant(value_ints=list(values))


def _shape(features: ir.Value) -> list[Any]:
    """Return the number of slices, of maps, and the sides: integers where they are not dynamic."""
    assert features.shape is not None, "the exporter knows the shape of every tensor"
    return list(features.shape)
