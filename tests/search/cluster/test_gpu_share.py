"""Several trials on one GPU: each is to keep to its share, and two workers of a trial talk in a way that allows it.

tests/model/test_one_gpu.py tests the same on a GPU.
"""

import pytest

from model.memory import CONTEXT_BYTES, limit_gpu_memory
from search.cluster.group.process_group import choose_backend


class FakeCuda:
    """A GPU of 24 GB, and the share of it that was set."""

    def __init__(self, *, num_gpus: int = 1) -> None:
        self.num_gpus = num_gpus
        self.fraction: float | None = None

    def is_available(self) -> bool:
        return self.num_gpus > 0

    def mem_get_info(self) -> tuple[int, int]:
        return 20_000_000_000, 24_000_000_000

    def set_per_process_memory_fraction(self, fraction: float) -> None:
        self.fraction = fraction


def test_four_trials_and_their_contexts_fit_into_a_gpu():
    cuda = FakeCuda()
    limit_gpu_memory(0.25, cuda=cuda)
    assert cuda.fraction == pytest.approx(0.25 - CONTEXT_BYTES / 24e9)
    assert cuda.fraction is not None
    assert 4 * (cuda.fraction * 24e9 + CONTEXT_BYTES) == pytest.approx(24e9)


def test_a_tiny_share_leaves_more_than_cudas_own_context():
    cuda = FakeCuda()
    limit_gpu_memory(0.01, cuda=cuda)
    assert cuda.fraction == 0.005


@pytest.mark.parametrize(("share", "num_gpus"), [(0.0, 1), (1.0, 1), (2.0, 2), (0.5, 0)])
def test_a_whole_gpu_or_none_has_no_limit(share, num_gpus):
    cuda = FakeCuda(num_gpus=num_gpus)
    limit_gpu_memory(share, cuda=cuda)
    assert cuda.fraction is None


@pytest.mark.parametrize(("gpus_per_worker", "expected"), [(0.5, "gloo"), (1.0, "nccl"), (2.0, "nccl"), (0.0, "gloo")])
def test_workers_that_may_share_a_gpu_talk_by_gloo(gpus_per_worker, expected):
    assert choose_backend(gpus_per_worker) == expected
