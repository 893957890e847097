"""Training that is halted in the middle of an epoch continues as if it had never been halted."""

import io
import itertools
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from model.device import find_device
from model.training import parallel
from model.training.checkpoint import PartialEpoch, TrainState
from model.training.train import EpochResult, Halted, train
from model.unet import NORMS, UNetConfig
from tests.support.fakes import small_pack
from tests.support.training import PACK, UNET, Weights, run_training, same_weights, small_training, without_clocks

pytestmark = pytest.mark.slow

STEPS = 3
"""Batches of an epoch of PACK."""


def halt_at(*calls: int) -> Callable[[], bool]:
    """Return a `halt` that returns True at these of its calls, counted from 0; there is one call before every batch."""
    count = itertools.count()
    return lambda: next(count) in calls


def run_until_halted(
    halt: Callable[[], bool], unet: UNetConfig = UNET, *, resume_from: bytes | None = None, **changes
) -> tuple[list[EpochResult], TrainState]:
    """Return the epochs that ended before the halt, and the state at the halt."""
    results = []
    epochs = train(unet, small_training(**changes), PACK, PACK, resume_from=resume_from, halt=halt)
    with pytest.raises(Halted) as halted:
        results.extend(epochs)  # keeps the epochs that were yielded before it raised
    return results, halted.value.state


@pytest.mark.parametrize("call", range(12))
def test_halted_anywhere_and_resumed_equals_uninterrupted(call):
    whole, weights = run_training(augment=1.0)
    before, state = run_until_halted(halt_at(call))
    assert len(before) == state.epoch == call // STEPS
    assert state.partial_epoch.num_batches == call % STEPS
    rest, resumed = run_training(resume_from=state.to_bytes())
    assert without_clocks(before + rest) == without_clocks(whole)
    assert same_weights(resumed, weights)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("changes", [{"loader_processes": 2, "augment": 2.0}, {"precision": "bf16"}, {"seed": 3}])
def test_halted_with_every_kind_of_training_equals_uninterrupted(norm, changes):
    unet = UNetConfig(depth=1, width=2, dropout=0.5, norm=norm)
    whole, weights = run_training(unet, **changes)
    before, state = run_until_halted(halt_at(4), unet, **changes)
    assert multiprocessing.active_children() == [], "the garbage collector would wait 5 s for each"
    rest, resumed = run_training(unet, resume_from=state.to_bytes(), **changes)
    assert without_clocks(before + rest) == without_clocks(whole)
    assert same_weights(resumed, weights)


def test_halted_after_every_single_batch_equals_uninterrupted():
    whole, weights = run_training()
    content, results = None, []
    for _ in range(12):
        epochs, state = run_until_halted(halt_at(1), resume_from=content)
        results += epochs
        content = state.to_bytes()
        if state.epoch == 3 and state.partial_epoch.num_batches == 2:
            break
    rest, resumed = run_training(resume_from=content)
    assert without_clocks(results + rest) == without_clocks(whole)
    assert same_weights(resumed, weights)


def test_halted_before_any_batch_is_the_state_at_the_start():
    _, state = run_until_halted(halt_at(0))
    assert (state.epoch, state.partial_epoch.num_batches) == (0, 0)
    assert same_weights(run_training(resume_from=state.to_bytes())[1], run_training()[1])


def test_halt_is_called_before_every_batch_and_not_after_the_last():
    asked = []
    list(train(UNET, small_training(), PACK, PACK, halt=lambda: bool(asked.append(1))))
    assert len(asked) == 4 * STEPS


def test_halted_names_epoch_and_batch():
    with pytest.raises(Halted, match=r"^halted after batch 2 of epoch 2$"):
        list(train(UNET, small_training(), PACK, PACK, halt=halt_at(5)))


def test_clocks_of_a_halted_epoch_count_both_of_its_parts():
    _, state = run_until_halted(halt_at(2))
    part = state.partial_epoch
    assert 0 <= part.waiting_seconds < part.seconds
    state.partial_epoch = PartialEpoch(num_batches=2, losses=part.losses, seconds=1000.0, waiting_seconds=900.0)
    first = run_training(resume_from=state.to_bytes())[0][0].metrics
    assert 1000 < first["seconds"] < 1100
    assert 900 < first["waiting_seconds"] < 1000
    second = run_training()[0][1].metrics
    assert second["seconds"] < 100


def test_state_of_format_1_was_written_between_two_epochs(tmp_path):
    epochs = train(UNET, small_training(), PACK, PACK)
    next(epochs)
    torch.save(in_format_1(next(epochs).state.to_bytes()), tmp_path / "old.pt")
    whole, weights = run_training()
    rest, resumed = run_training(resume_from=(tmp_path / "old.pt").read_bytes())
    assert without_clocks(rest) == without_clocks(whole)[2:]
    assert same_weights(resumed, weights)


def in_format_1(content: bytes) -> dict:
    state = torch.load(io.BytesIO(content), weights_only=True)
    assert state.pop("under_way")["num_batches"] == 0
    config = state.pop("network_config")
    assert config.pop("architecture") == "unet"
    return state | {"format": 1, "unet": config}


def test_losses_are_complete_with_another_number_of_ranks():
    losses = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    part = PartialEpoch(num_batches=2, losses=losses)
    assert [part.losses_of(rank, 3).tolist() for rank in range(3)] == losses.tolist()
    assert torch.stack([part.losses_of(rank, 2) for rank in range(2)]).sum(0).tolist() == [9.0, 12.0]
    assert PartialEpoch().losses_of(0, 2).tolist() == [0.0, 0.0]


WIDE = small_pack([True, False] * 6, size=16)
"""Six steps of two slices: two workers have one slice each."""

EVERY_PART = UNetConfig(
    depth=2, width=2, dropout=0.3, norm="group", block="residual", attention=True, deep_supervision=True, downscale=2
)
"""A network with every part that has weights of its own; two workers refuse one whose weights get no gradient."""


def results_of(rank: int, halt: Callable[[], bool], content: bytes | None) -> tuple[list[str], bytes, int]:
    """Return a rank's epochs, its last state, and the batches that are done of its unfinished epoch."""
    results = []
    try:
        for result in train(EVERY_PART, small_training(max_epochs=2), WIDE, WIDE, resume_from=content, halt=halt):
            results.append(result)
        state = results[-1].state
    except Halted as halted:
        state = halted.state
    return without_clocks(results), state.to_bytes(), state.partial_epoch.num_batches


def run_rank(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    never = lambda: False  # noqa: E731
    whole, weights, _ = results_of(rank, never, None)
    # One rank alone is told to halt, in the middle of the second epoch; the other continues until it hears of it.
    before, content, num_batches = results_of(rank, halt_at(8) if rank == 1 else never, None)
    from_first = [content]
    dist.broadcast_object_list(from_first, src=0)  # a lane keeps the state of rank 0
    rest, resumed, _ = results_of(rank, never, from_first[0])
    torch.save((whole, before + rest, num_batches, weights, resumed), folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # as in test_losses.py


def network_of(content: bytes) -> Weights:
    return torch.load(io.BytesIO(content), weights_only=True)["network"]


def test_two_workers_halt_at_the_same_batch_and_resume_bit_for_bit(tmp_path):
    spawn(run_rank, (tmp_path,), nprocs=2)
    for rank in range(2):
        whole, again, num_batches, weights, resumed = torch.load(tmp_path / f"{rank}.pt")
        assert num_batches == 3, "asked before the third batch, the answer comes before the fourth"
        assert again == whole
        assert same_weights(network_of(resumed), network_of(weights))


def test_votes_of_one_process_are_its_own():
    votes = parallel.Votes(find_device("float32"))
    assert [votes.ask(mine) for mine in (False, True, False)] == [False, True, False]
