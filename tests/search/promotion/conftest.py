"""A tiny search whose configurations can be trained again."""

import pytest
import torch

from data.preprocess import Preprocessing
from search.cluster.task_runner import TaskRunner
from search.cohort import read_cohort
from search.config import SearchConfig
from search.promotion.best_folder import default_settings
from search.promotion.retraining import Retrainer
from tests.support.fakes import write_lgg_patient


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The config and the cohort of a search over ten tiny patients."""
    root = tmp_path_factory.mktemp("searched")
    for number in range(10):
        write_lgg_patient(root / "patients", f"P{number}", tumour_numbers=(2, 10), seed=number)
    config = SearchConfig(
        data=str(root / "patients"),
        out=root,
        name="tiny",
        preprocessing=Preprocessing(size=64),
        width=2,
        batch_size=4,
        max_epochs=2,
        cache=False,
        precision="float32",
    )
    return config, read_cohort(config)


@pytest.fixture
def retrainer_of(searched):
    """Returns the retrainer of that search with another config, which trains in this process."""
    cohort, num_threads = searched[1], torch.get_num_threads()
    yield lambda config: Retrainer(config, cohort, default_settings(config, cohort), TaskRunner(None))
    torch.set_num_threads(num_threads)
