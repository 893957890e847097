"""The norms of the ONNX export equal PyTorch's, of every kind and rank."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from model.export.centred_norms import CENTRED_NORMS
from model.export.onnx_export import OPSET


class Norms(nn.Module):
    """Every kind of norm, of the same features."""

    def __init__(self) -> None:
        super().__init__()
        tracked = nn.InstanceNorm2d(6, affine=True, track_running_stats=True)
        self.norms = nn.ModuleList(
            [nn.InstanceNorm2d(6), nn.InstanceNorm2d(6, affine=True), tracked, nn.GroupNorm(2, 6), nn.GroupNorm(6, 6)]
        )
        self.of_rows = nn.ModuleList([nn.InstanceNorm1d(6), nn.GroupNorm(3, 6, affine=False)])

    def forward(self, features: Tensor) -> list[Tensor]:
        rows = features.flatten(2)
        return [norm(features) for norm in self.norms] + [norm(rows) for norm in self.of_rows]


@pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")  # torch's own
@pytest.mark.slow
def test_centred_norms_equal_those_of_torch():
    torch.manual_seed(0)
    norms, features = Norms(), torch.randn(3, 6, 5, 7) * 3 + 2
    for parameter in norms.parameters():
        nn.init.normal_(parameter)
    norms(features)  # the tracked one learns its statistics
    found = exported(norms, features)
    for one, expected in zip(found, norms(features), strict=True):
        np.testing.assert_allclose(np.asarray(one), expected.detach(), atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")  # torch's own
@pytest.mark.parametrize("norm", [nn.InstanceNorm2d(16, affine=True), nn.GroupNorm(8, 16)])
def test_centred_norm_is_exact_where_the_mean_is_large(norm):
    torch.manual_seed(0)
    nn.init.normal_(norm.weight)
    features = torch.randn(2, 16, 12, 20) + 1e4 + torch.arange(2.0)[:, None, None, None]
    expected = copy.deepcopy(norm).double()(features.double()).detach()
    [found] = exported(norm, features)
    np.testing.assert_allclose(np.asarray(found), expected, atol=1e-5)


def exported(module: nn.Module, features: Tensor) -> Sequence[Any]:
    """Return the outputs of the exported module, as ONNX Runtime computes them."""
    program = torch.export.export(module.eval(), (features,))
    model = torch.onnx.export(
        program, dynamo=True, opset_version=OPSET, custom_translation_table=CENTRED_NORMS, optimize=False, verbose=False
    )
    assert model is not None
    session = onnxruntime.InferenceSession(model.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: features.numpy()})
