"""Two workers whose machines differ."""

import io
import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from model.training.train import train
from tests.support.training import PACK, UNET, same_weights, small_training

pytestmark = pytest.mark.slow

PAIRS = [("fp16", "bf16"), ("bf16", "float32")]
"""What `auto` is on an older and a newer GPU, and on two CPUs of which the second has no units for bf16."""


def run_rank(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    for pair in PAIRS:
        *_, last = train(UNET, small_training(max_epochs=1, precision=pair[rank]), PACK, None)
        (folder / f"{'_'.join(pair)} {rank}").write_bytes(last.state.to_bytes())
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # as in test_losses.py


def test_workers_with_precisions_of_their_own_train_one_network(tmp_path):
    spawn(run_rank, (tmp_path,), nprocs=2)
    for pair in PAIRS:
        states = [
            torch.load(io.BytesIO((tmp_path / f"{'_'.join(pair)} {rank}").read_bytes()), weights_only=True)
            for rank in range(2)
        ]
        assert same_weights(*(state["network"] for state in states))
        assert [bool(state["scaler"]) for state in states] == ["fp16" in pair] * 2
