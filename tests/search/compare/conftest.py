"""The experiments that several tests compare."""

import pytest

from search.record.trials import State
from tests.support.experiments import DICES, search_rows, write_experiment
from tests.support.fakes import trial_row


@pytest.fixture
def two(tmp_path):
    write_experiment(tmp_path, "a", dices=DICES)
    rows = [*search_rows(4, seed=1, seconds=4.0), trial_row(4, [], state=State.FAILED, error="raised")]
    write_experiment(tmp_path, "b", rows=rows, config={"searcher": "random", "seed": 1})
    return tmp_path
