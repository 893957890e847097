"""The device with the precision that was asked for, or the fastest."""

import pytest
import torch

from data.errors import UserError
from model.device import PRECISIONS, find_device
from model.unet import UNetConfig


@pytest.mark.parametrize("precision", PRECISIONS)
def test_find_device_gives_the_precision_that_was_asked_for(precision):
    assert find_device(precision).precision == precision


def test_find_device_auto_gives_a_precision_by_name():
    assert find_device().precision in PRECISIONS
    assert find_device() == find_device("auto", channels_last_on_cpu=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is fastest in channels_last with every network")
@pytest.mark.parametrize(("norm", "layout"), [("batch", torch.channels_last), ("instance", torch.contiguous_format)])
def test_find_device_gives_the_layout_that_suits_the_norm(norm, layout):
    device = find_device(channels_last_on_cpu=UNetConfig(norm=norm).channels_last_on_cpu)
    assert device.device == torch.device("cpu")
    assert device.memory_format == layout


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast_computes_in_the_precision_and_float32_changes_nothing(precision, dtype):
    device = find_device(precision)
    matrix = torch.ones(2, 2, device=device.device)
    with device.autocast():
        assert (matrix @ matrix).dtype == dtype
    assert (matrix @ matrix).dtype == torch.float32


def test_find_device_names_the_legal_precisions():
    with pytest.raises(UserError, match="precision is 'int8', but must be one of auto, float32, bf16, fp16"):
        find_device("int8")
