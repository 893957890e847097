"""A space as data: which axes have an effect, how it is described, and what an experiment records of it."""

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from data.errors import UserError
from search.space.named import SPACES, WIDE
from search.space.space import Expectation, Space, describe

CONDITIONAL = Space(
    {
        "optimizer": CategoricalDistribution(["adamw", "sgd"]),
        "momentum": FloatDistribution(0.5, 0.99),
        "depth": IntDistribution(2, 6, step=2),
        "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
    },
    constants={"width": 24, "norm": "batch"},
    conditions={"momentum": {"optimizer": ("sgd",)}},
    expected={"learning_rate": Expectation(value=1e-3, width=0.2), "depth": Expectation(value=4)},
)


def test_active_leaves_out_what_has_no_effect():
    whole = {"optimizer": "adamw", "momentum": 0.9, "depth": 4}
    assert CONDITIONAL.active(whole) == {"optimizer": "adamw", "depth": 4}
    assert CONDITIONAL.active(whole | {"optimizer": "sgd"}) == whole | {"optimizer": "sgd"}
    assert CONDITIONAL.active({"momentum": 0.9}) == {}


def test_active_leaves_out_what_depends_on_an_axis_without_effect():
    axes = {name: CategoricalDistribution([1, 2]) for name in "abc"}
    space = Space(axes, conditions={"b": {"a": (1,)}, "c": {"b": (1,)}})
    assert space.active({"a": 2, "b": 1, "c": 1}) == {"a": 2}
    assert space.active({"a": 1, "b": 1, "c": 1}) == {"a": 1, "b": 1, "c": 1}


@pytest.mark.parametrize("space", [*SPACES.values(), CONDITIONAL])
def test_from_json_is_the_inverse_of_to_json(space):
    assert Space.from_json(space.to_json()) == space


@pytest.mark.parametrize("values", [{}, {"axes": {"depth": "{}"}}, {"axes": [], "constants": {}}])
def test_from_json_refuses_what_is_damaged(values):
    with pytest.raises(UserError, match="the recorded space is damaged"):
        Space.from_json(values)


def test_describe_says_each_axis_by_hand():
    assert describe(CONDITIONAL) == {
        "optimizer": "one of adamw, sgd",
        "momentum": "0.5 to 0.99; where optimizer is sgd",
        "depth": "2 to 6, in steps of 2",
        "learning_rate": "0.0001 to 0.01, log",
        "width": "24 in every trial",
        "norm": "batch in every trial",
    }
    assert describe(WIDE)["depth"] == "2 to 5"
