"""What a person expects of a space: the text of `--prior`, and what the searcher makes of it."""

import re

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution

from data.errors import UserError
from search.config import SearchConfig
from search.space.configs import default_sample
from search.space.named import CORE, WIDE
from search.space.space import Expectation, Space
from search.suggestion.expectation import parse_expectations
from search.suggestion.gaussian_process import Prior
from search.suggestion.unit_cube import UnitCube
from tests.support.searching import make_searcher, train


def test_expectations_are_read():
    found = parse_expectations(["learning_rate=3e-3:0.1", "depth=5", "norm=batch", "batch_size=32"], WIDE)
    assert found == {
        "learning_rate": Expectation(value=0.003, width=0.1),
        "depth": Expectation(value=5),
        "norm": Expectation(value="batch"),
        "batch_size": Expectation(value=32),
    }
    assert isinstance(found["depth"].value, int)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["depth"], "prior is 'depth', but must be AXIS=VALUE or AXIS=VALUE:WIDTH, such as learning_rate=0.003:0.1"),
        (["width=8"], "prior is 'width=8', but the axes of the space are learning_rate, depth, dropout, bce_weight"),
        (["depth=4", "depth=5"], "prior names depth twice: give one value"),
        (["depth=6"], "prior is 'depth=6', but depth must be 2 to 5"),
        (["depth=3.5"], "prior is 'depth=3.5', but depth must be 2 to 5"),
        (["learning_rate=fast"], "prior is 'learning_rate=fast', but learning_rate must be 0.0001 to 0.01, log"),
        (["learning_rate=nan"], "prior is 'learning_rate=nan', but learning_rate must be 0.0001 to 0.01, log"),
        (["depth=4:2"], "prior is 'depth=4:2', but the width must be a share of the axis from 0.01 to 1"),
        (["depth=4:x"], "prior is 'depth=4:x', but the width must be a share of the axis from 0.01 to 1"),
    ],
)
def test_expectations_are_refused(texts, message):
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        SearchConfig(searcher="prior_gp", prior=tuple(texts))


def test_choice_with_a_colon_may_be_expected():
    space = Space({"architecture": CategoricalDistribution(["unet", "monai:UNet"])})
    expected = {"architecture": Expectation(value="monai:UNet", width=0.2)}
    assert parse_expectations(["architecture=monai:UNet:0.2"], space) == expected
    assert parse_expectations(["architecture=monai:UNet"], space)["architecture"].width is None


def test_expectations_of_categories_are_refused():
    message = "prior is 'norm=layer', but norm must be one of instance, batch"
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        parse_expectations(["norm=layer"], WIDE)


def test_expectations_are_for_a_searcher_that_uses_them():
    message = "prior is for the searcher prior_gp, but searcher is 'random': choose prior_gp, or leave prior out"
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        SearchConfig(searcher="random", prior=("depth=5",))


def test_the_first_suggestion_is_near_what_is_expected():
    expected = parse_expectations(["learning_rate=0.008:0.05", "dropout=0.45:0.05"], CORE)
    centre = UnitCube(CORE).encode(default_sample(CORE) | {"learning_rate": 0.008, "dropout": 0.45})[0]

    def distance(expectations: dict[str, Expectation]) -> float:
        searcher = make_searcher("prior_gp", first=[default_sample(CORE)], expected=expectations)
        sample = [train(searcher) for _ in range(2)][1].sample
        return float(np.abs(UnitCube(CORE).encode(sample)[0] - centre)[[0, 2]].max())

    assert distance(expected) < 0.1 < distance({})


def test_width_along_one_axis_leaves_the_others():
    widths = UnitCube(WIDE).along_axes({"depth": 0.1, "norm": 0.2}, Prior().width)
    assert widths.tolist() == [0.35, 0.1, *[0.35] * 2, *[0.35] * 4, *[0.35] * 3, 0.35, 0.2, 0.2, 0.35]
