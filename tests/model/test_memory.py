"""The peak of memory rises with what is held, and can be reset."""

import sys

import numpy as np
import pytest

from model.memory import peak_memory_mb, reset_peak_memory


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can reset a peak")
def test_peak_rises_with_what_is_held_and_is_reset():
    reset_peak_memory()
    before = peak_memory_mb()
    held = np.ones(200 * 2**17)  # float64: 200 MB
    high = peak_memory_mb()
    assert high >= before + 190
    del held
    assert peak_memory_mb() == pytest.approx(high, abs=2)  # Linux adds up the counts of its processors with a delay
    reset_peak_memory()
    assert peak_memory_mb() < high - 190
