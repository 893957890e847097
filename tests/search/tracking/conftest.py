"""What the tests of tracking share."""

from pathlib import Path

import pytest

from tests.support.wandb_experiment import write_tracked_experiment


@pytest.fixture
def out(no_wandb_server, tmp_path) -> Path:
    """Return the folder of an experiment that nobody has sent, at another place than the one it was searched in."""
    write_tracked_experiment(tmp_path / "searched" / "small")
    return (tmp_path / "searched").rename(tmp_path / "runs")
