"""The peak of memory: that it rises with what is held, and begins anew."""

import sys

import numpy as np
import pytest

from model.memory import peak_memory_mb, reset_peak_memory


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone can forget a peak")
def test_peak_rises_with_what_is_held_and_is_forgotten():
    reset_peak_memory()
    before = peak_memory_mb()
    held = np.ones(200 * 2**17)  # float64: 200 MB
    high = peak_memory_mb()
    assert high >= before + 190
    del held
    assert peak_memory_mb() == pytest.approx(high, abs=2)  # Linux counts each processor's share with delay
    reset_peak_memory()
    assert peak_memory_mb() < high - 190
