"""The first step of a training: what it needs, and what is said where memory or the network does not allow it."""

import subprocess
import sys

import pytest
import torch

from model import memory
from model.memory import as_out_of_memory, limit_memory, process_peak_bytes
from model.networks import NETWORKS, Architecture
from model.training.first_step import take_first_step
from model.training.train_config import TrainConfig
from model.unet import UNetConfig
from tests.support.fakes import small_pack
from tests.support.plain_network import Broken, PlainConfig

TRAINING = TrainConfig(max_epochs=7, batch_size=2, precision="float32", patience=3, measure_latency=True)
PACKS = small_pack([True, False] * 4), small_pack([True, False, True], seed=1)
UNET = UNetConfig(depth=1, width=2)


@pytest.mark.parametrize("batch_size", [2, 64])
def test_first_step_of_a_network_that_fits_is_measured(batch_size):
    found = take_first_step(UNET, TrainConfig(max_epochs=2, batch_size=batch_size), *PACKS)
    assert (found.out_of_memory, found.failure) == (None, None)
    assert 50 < found.peak_mb < 20_000


BEYOND = """
from model.memory import process_peak_bytes
from model.training.first_step import take_first_step
from model.unet import UNetConfig
from tests.model.training.test_first_step import PACKS, TRAINING

limit_mb = process_peak_bytes() / 2**20 + 50
print(take_first_step(UNetConfig(depth=7, width=64), TRAINING, *PACKS, limit_mb=limit_mb).out_of_memory)
"""


@pytest.mark.slow
def test_first_step_beyond_a_limit_is_said():  # in a process of its own, because oneDNN remembers that it failed
    found = subprocess.run([sys.executable, "-c", BEYOND], capture_output=True, text=True, check=True)
    assert found.stdout.startswith("out of memory: the training")


def test_first_step_of_a_network_that_fails_says_why(monkeypatch):
    monkeypatch.setitem(NETWORKS, "plain", Architecture(config=PlainConfig, network=Broken, title="Broken"))
    found = take_first_step(PlainConfig(), TRAINING, *PACKS)
    assert (found.failure, found.out_of_memory) == ("ValueError: no logits today", None)


def test_limit_refuses_what_is_beyond_it_and_is_lifted_again():
    with limit_memory(process_peak_bytes() / 2**20 + 10), pytest.raises(RuntimeError) as caught:
        torch.zeros(200 * 2**18)
    assert as_out_of_memory(caught.value) is not None
    torch.zeros(200 * 2**18)


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 2147483648 bytes."),
            "2,048 MB",
        ),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has"), "1,536 MB"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has"), "20 MB"),
        (MemoryError(), None),
        (RuntimeError("std::bad_alloc"), None),
    ],
)
def test_out_of_memory_says_what_was_asked_for_and_held(error, asked):
    text = as_out_of_memory(error)
    assert text is not None
    assert (f"asked for {asked} more" in text) == (asked is not None)
    assert f"held {memory.peak_memory_mb():,.0f} MB; the machine has" in text


def test_other_errors_are_not_of_memory():
    assert as_out_of_memory(ValueError("depth is 9")) is None
