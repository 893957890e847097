"""A model and patients to predict."""

from pathlib import Path

import pytest

from tests.support.fakes import write_lgg_patient
from tests.support.hand_model import write_model_of


@pytest.fixture
def model(tmp_path) -> Path:
    return write_model_of(tmp_path / "model.onnx")


@pytest.fixture
def source(tmp_path) -> Path:
    """Return a folder with three patients."""
    for seed, name in enumerate("ABC"):
        write_lgg_patient(tmp_path / "in", name, seed=seed)
    return tmp_path / "in"
