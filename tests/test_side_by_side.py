"""Models that are trained side by side in one program: each is trained as if it were alone."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from model.device import Device
from tests.benchmarks.side_by_side import gains, largest_difference
from tests.benchmarks.throughput.stacked import DropMaps, RowAdamW, SideBySide, Stack, make_members, network_of
from tests.benchmarks.throughput.workload import DrawnPatient, Workload, make_workload


@pytest.fixture(scope="module")
def workload() -> Workload:
    return make_workload([DrawnPatient(id="P1", number=1)], size=32, batch_size=4, width=2, num_batches=1)


@pytest.mark.parametrize("norm", ["instance", "group"])
def test_models_side_by_side_have_the_losses_of_each_alone(workload, norm):
    assert largest_difference(workload, norm=norm, num_models=2) < 1e-10


def test_models_without_their_own_learning_rates_have_other_losses(workload, monkeypatch):
    monkeypatch.setattr(RowAdamW, "__init__", with_one_rate(RowAdamW.__init__))
    assert largest_difference(workload, norm="instance", num_models=2) > 1e-5


def with_one_rate(init):
    return lambda self, rows, *, learning_rates: init(self, rows, learning_rates=learning_rates[:1])


def test_rows_take_the_steps_of_pytorchs_adamw_with_their_rates():
    generator = torch.Generator().manual_seed(0)
    rates, rows = torch.tensor([[1e-3], [3e-2]]), torch.randn(2, 5, generator=generator)
    alone = [rows[number].clone().requires_grad_() for number in range(2)]
    optimizers = [
        torch.optim.AdamW([one], lr=rate, weight_decay=1e-2)
        for one, rate in zip(alone, rates[:, 0].tolist(), strict=True)
    ]
    together = rows.clone().requires_grad_()
    of_rows = RowAdamW(together, learning_rates=rates)
    for scale in (10.0, 0.01, 1.0):  # clipped, and not
        gradients = scale * torch.randn(2, 5, generator=generator)
        together.grad = gradients.clone()
        of_rows.step()
        for one, optimizer, gradient in zip(alone, optimizers, gradients, strict=True):
            one.grad = gradient.clone()
            nn.utils.clip_grad_norm_([one], 1.0)
            optimizer.step()
    torch.testing.assert_close(together.detach(), torch.stack([one.detach() for one in alone]))


def test_each_model_drops_its_own_share_of_whole_maps():
    modules = [DropMaps(share) for share in (0.0, 0.75)]
    _, shares = stack_module_state(modules)
    maps = torch.ones(100, 20, 2, 2)
    torch.manual_seed(0)
    found = vmap(lambda one: functional_call(modules[0], one, (maps,)), randomness="different")(shares)
    assert torch.equal(found[0], maps)
    assert set(found[1].unique().tolist()) == {0.0, 4.0}
    assert (found[1] == found[1][:, :, :1, :1]).all()
    assert found[1].mean().item() == pytest.approx(1.0, abs=0.15)


def test_models_train_in_bf16_and_channels_last(workload):
    device = Device(device=torch.device("cpu"), precision="bf16", memory_format=torch.channels_last)
    stack = Stack(network_of(workload, "instance"), make_members(2), device)
    images, masks = torch.rand(2, 3, 32, 32), torch.zeros(2, 1, 32, 32)
    losses = [stack.take(images, masks) for _ in range(3)]
    assert losses[0].dtype == torch.float32
    assert (losses[2] < losses[0]).all()


def test_pipeline_trains_rounds(workload):
    pipeline = SideBySide(workload, num_models=2, norm="instance", layout=torch.contiguous_format)
    pipeline.train()
    pipeline.train()


def test_gains_are_those_of_all_models_over_the_fastest_alone():
    rates = {"alone_a": [10.0, 10.0, 20.0], "alone_b": [5.0] * 3, "4": [5.0, 6.0, 7.0]}
    found = gains(rates, {"alone_a": 0, "alone_b": 0, "4": 4})
    assert (found["gain"], found["alone"]) == ({"4": 2.0}, "alone_a")
    assert found["slices_per_second"]["4"]["median"] == 24.0
    assert gains({"4": [1.0]}, {"alone_a": 0, "4": 4})["gain"] == {}
