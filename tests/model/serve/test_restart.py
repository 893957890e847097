"""A service that ends under load, and the next one on its port, give each client a whole answer or none."""

import os
import signal
import subprocess
import time

import numpy as np
import pytest

from model.inference.runtime import load_model
from model.inference.volume import predict_volume
from tests.support.load import Outcome, request, unceasing
from tests.support.service import decoded, encoded, image
from tests.support.service_process import service_process
from tests.support.waiting import wait_until

IMAGES = [image(seed, height=40 + 20 * seed, width=50) for seed in range(6)]
REQUESTS = [request("/predict?filename=Jane_Q_Patient.png", encoded(pixels, ".png"), "image/png") for pixels in IMAGES]
NUM_CLIENTS = 36
"""More than the 32 requests that a service takes at once, so that some are refused before it ends."""


def end(process: subprocess.Popen[str]) -> None:
    """End a service as an operator does, and check that it ends in two seconds, or later where cores are shared."""
    seconds = 2 * max(1, os.getloadavg()[0] / (os.cpu_count() or 1))
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)
    assert time.monotonic() - began < seconds
    assert process.returncode == 0


def num_answered(outcomes: list[tuple[int, Outcome]]) -> int:
    return sum(outcome.status == 200 for _, outcome in outcomes)


def check(outcomes: list[tuple[int, Outcome]], masks: list[np.ndarray]) -> None:
    """Check that each answer is whole, and either the right mask or a refusal."""
    for number, outcome in outcomes:
        assert outcome.status in (0, 200, 503), outcome
        if outcome.status:
            assert outcome.is_whole, outcome
        if outcome.status == 200:
            np.testing.assert_array_equal(decoded(outcome.body) > 0, masks[number])
        if outcome.status == 503:
            assert "\r\nretry-after: 1" in outcome.head


@pytest.mark.slow
def test_restart_under_load_gives_each_client_a_whole_answer_or_none(model, tmp_path):
    network, settings = load_model(model)
    masks = [predict_volume(network, one[None], settings.preprocessing)[0, 0] >= 0.5 for one in IMAGES]
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with (
        (tmp_path / "log").open("w") as log,
        service_process(model, temporary, seconds=0.02, log=log.fileno()) as (first, port),
        unceasing(port, REQUESTS, num_clients=NUM_CLIENTS) as outcomes,
    ):
        wait_until(lambda: num_answered(outcomes) > 60)
        end(first)
        assert list(temporary.iterdir()) == []
        num_before = len(outcomes)
        with service_process(model, temporary, port=port, seconds=0.02, log=log.fileno()) as (second, _):
            wait_until(lambda: num_answered(outcomes[num_before:]) > 60)
            end(second)
    assert list(temporary.iterdir()) == []
    check(outcomes, masks)
    assert {outcome.status for _, outcome in outcomes} == {0, 200, 503}
    written = (tmp_path / "log").read_text()
    assert "Traceback" not in written
    assert "Jane" not in written
