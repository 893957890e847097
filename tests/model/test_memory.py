"""The peak of memory: that it rises with what is held, and begins anew."""

import sys

import numpy as np
import pytest

from model.memory import forget_peak, peak_mb


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone can forget a peak")
def test_peak_rises_with_what_is_held_and_is_forgotten():
    forget_peak()
    before = peak_mb()
    held = np.ones(200 * 2**17)  # float64: 200 MB
    high = peak_mb()
    assert high >= before + 190
    del held
    assert peak_mb() == pytest.approx(high, abs=2)  # Linux counts each processor's share with delay
    forget_peak()
    assert peak_mb() < high - 190
