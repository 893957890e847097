"""Requests wait for memory, and those that need too much are refused."""

import threading

import pytest

from model.serve.limits import Allowance, Refusal


def test_allowance_makes_requests_wait_for_memory():
    allowance, order = Allowance(10), []

    def second() -> None:
        with allowance.reserve(6):
            order.append("second")

    with allowance.reserve(5):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.05)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]
    with pytest.raises(Refusal, match="11 values"), allowance.reserve(11):
        pass
