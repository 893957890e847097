"""The words of a W&B sweep: what each distribution becomes, and what is refused in which words."""

import math

import pytest
from optuna.distributions import CategoricalDistribution as Choice
from optuna.distributions import FloatDistribution as Float
from optuna.distributions import IntDistribution as Int

from data.errors import UserError
from data.legal import OneOf, Range, Rule
from search.space.parameters import WORDS, Parameter, read_parameter
from search.space.space import Expectation

SHARE = Rule(kind=float, default=0.0)
NUMBER = Rule(kind=float, default=0.1, range=Range(at_least=0, below=1))
RATE = Rule(kind=float, default=1e-3, range=Range(above=0))
WHOLE = Rule(kind=int, default=4, range=Range(at_least=1, at_most=64))
NAME = Rule(kind=str, default="a", choices=OneOf("a", "b", "c").values)
FLAG = Rule(kind=bool, default=False)


@pytest.mark.parametrize(
    ("rule", "words", "axis"),
    [
        (NUMBER, {"min": 0, "max": 0.5}, Float(0.0, 0.5)),
        (NUMBER, {"distribution": "uniform", "min": 0.25, "max": 0.5}, Float(0.25, 0.5)),
        (
            NUMBER,
            {"distribution": "q_uniform", "min": 0.1, "max": 0.7, "q": 0.25},
            Float(0.25, 0.5, step=0.25),
        ),
        (
            RATE,
            {"distribution": "log_uniform_values", "min": "1e-4", "max": 1e-2},
            Float(1e-4, 1e-2, log=True),
        ),
        (
            RATE,
            {"distribution": "inv_log_uniform_values", "min": 1e-4, "max": 1e-2},
            Float(1e-4, 1e-2, log=True),
        ),
        (
            RATE,
            {"distribution": "log_uniform", "min": -2, "max": 1},
            Float(math.exp(-2), math.exp(1), log=True),
        ),
        (
            RATE,
            {"distribution": "inv_log_uniform", "min": 1, "max": 2},
            Float(math.exp(-2), math.exp(-1), log=True),
        ),
        (WHOLE, {"min": 2, "max": 5}, Int(2, 5)),
        (WHOLE, {"min": 2.0, "max": "5"}, Int(2, 5)),
        (WHOLE, {"distribution": "int_uniform", "min": 2, "max": 5}, Int(2, 5)),
        (WHOLE, {"distribution": "q_uniform", "min": 5, "max": 30, "q": 8}, Int(8, 24, step=8)),
        (WHOLE, {"distribution": "q_log_uniform_values", "min": 4, "max": 32}, Int(4, 32, log=True)),
        (WHOLE, {"distribution": "q_log_uniform_values", "min": 6, "max": 62, "q": 8}, Int(8, 56, step=8)),
        (NUMBER, {"distribution": "q_uniform", "min": 0.05, "max": 0.35, "q": 0.1}, Float(0.1, 0.3, step=0.1)),
        (WHOLE, {"distribution": "q_log_uniform", "min": 0, "max": 3}, Int(1, 20, log=True)),
        (WHOLE, {"values": [8, 16.0, "32"]}, Choice([8, 16, 32])),
        (NAME, {"distribution": "categorical", "values": ["a", "b"]}, Choice(["a", "b"])),
        (FLAG, {"values": [True, False]}, Choice([True, False])),
    ],
)
def test_words_of_a_distribution_are_an_axis(rule, words, axis):
    assert read_parameter("it", words, [rule]) == Parameter(axis=axis)


@pytest.mark.parametrize(
    ("rule", "words", "axis", "expected"),
    [
        (NUMBER, {"distribution": "normal", "mu": 0.5, "sigma": 0.1}, (0.2, 0.8), (0.5, 1 / 6)),
        (NUMBER, {"mu": 0.5, "sigma": 0.1, "max": 0.6}, (0.2, 0.6), (0.5, 0.25)),
        (NUMBER, {"mu": 0.1, "sigma": 0.1}, (0.0, 0.4), (0.1, 0.25)),
        (
            RATE,
            {"distribution": "log_normal", "mu": -7, "sigma": 1},
            (math.exp(-10), math.exp(-4)),
            (math.exp(-7), 1 / 6),
        ),
        (
            Rule(kind=float, default=0.0),
            {"distribution": "beta", "a": 1, "b": 3},
            (0.0, 1.0),
            (0.25, math.sqrt(3 / 80)),
        ),
        (WHOLE, {"distribution": "q_normal", "mu": 4, "sigma": 1}, (1, 7), (4, 1 / 6)),
        (WHOLE, {"distribution": "q_normal", "mu": 4, "sigma": 2, "q": 2}, (2, 10), (4, 0.25)),
    ],
)
def test_distribution_with_a_centre_is_an_axis_and_an_expectation(rule, words, axis, expected):
    found = read_parameter("it", words, [rule])
    assert isinstance(found.axis, Float | Int)
    assert (found.axis.low, found.axis.high) == pytest.approx(axis)
    assert found.expected is not None
    assert (found.expected.value, found.expected.width) == pytest.approx(expected)


def test_most_probable_value_is_expected():
    found = read_parameter("it", {"values": ["a", "b"], "probabilities": [0.2, 0.8]}, [NAME])
    assert found.expected == Expectation(value="b")
    assert read_parameter("it", {"values": ["a", "b"], "probabilities": [0.5, 0.5]}, [NAME]).expected is None


@pytest.mark.parametrize(
    ("rule", "words", "value"),
    [
        (NUMBER, {"value": "1e-1"}, 0.1),
        (NUMBER, {"value": 0}, 0.0),
        (NUMBER, {"min": 0.5, "max": 0.5}, 0.5),
        (WHOLE, {"distribution": "constant", "value": 16.0}, 16),
        (NAME, {"values": ["b"]}, "b"),
        (FLAG, {"value": True}, True),
    ],
)
def test_single_value_is_a_constant(rule, words, value):
    found = read_parameter("it", words, [rule])
    assert (found.axis, found.value, type(found.value)) == (None, value, type(value))


def test_when_is_a_condition():
    words = {"min": 0.5, "max": 0.9, "when": {"optimizer": "sgd", "depth": [2, 3]}}
    assert read_parameter("it", words, [NUMBER]).condition == {"optimizer": ("sgd",), "depth": (2, 3)}


def test_value_must_be_legal_in_every_network():
    with pytest.raises(UserError, match="it is 16, but must be one of 12, 24"):
        read_parameter("it", {"values": [16, 24]}, [WHOLE, Rule(kind=int, default=24, choices=(12, 24))])


ERRORS = [
    (NUMBER, 0.5, "it is 0.5, but must be words such as min and max, values, or value"),
    (NUMBER, {}, "it has no min: give min and max, values, or value"),
    (NUMBER, {"max": 1}, "it has no min"),
    (NUMBER, {"min": 0}, "it has no max"),
    (NUMBER, {"min": 0.5, "max": 0.25}, "it is from 0.5 to 0.25, but its max must not be below its min"),
    (NUMBER, {"min": 0, "max": 1}, "it is 1.0, but must be at least 0 and below 1"),
    (NUMBER, {"min": "low", "max": 1}, "min of it is 'low', but must be a number"),
    (NUMBER, {"min": math.nan, "max": 1}, "min of it is nan, but must be a number"),
    (NUMBER, {"min": True, "max": 1}, "min of it is True, but must be a number"),
    (
        NUMBER,
        {"min": 0, "max": 0.5, "value": 1},
        "it has the word 'max', but with the distribution constant it has value, when",
    ),
    (
        NUMBER,
        {"min": 0, "max": 0.5, "step": 1},
        "it has the word 'step', but with the distribution uniform it has min, max, when",
    ),
    (
        NUMBER,
        {"distribution": "uniformly", "min": 0, "max": 0.5},
        "it has distribution 'uniformly', but must",
    ),
    (NUMBER, {"distribution": ["uniform"], "min": 0, "max": 0.5}, "it has distribution ['uniform']"),
    (NUMBER, {"distribution": "constant"}, "it has no value beside its distribution constant"),
    (NUMBER, {"distribution": "categorical"}, "it has no values beside its distribution categorical"),
    (NUMBER, {"value": 1.5}, "it is 1.5, but must be at least 0 and below 1"),
    (NUMBER, {"value": "high"}, "it is 'high', but must be a number, at least 0 and below 1"),
    (NUMBER, {"value": None}, "it is None, but must be a number"),
    (NUMBER, {"values": []}, "values of it are [], but must be a list of at least one"),
    (NUMBER, {"values": "0.5"}, "values of it are '0.5', but must be a list"),
    (NUMBER, {"values": [0.5, "5e-1"]}, "but none may be there twice"),
    (NUMBER, {"values": [0.5, 2]}, "it is 2.0, but must be at least 0 and below 1"),
    (NUMBER, {"parameters": {"a": {"value": 1}}}, "it has nested parameters"),
    (NUMBER, {"mu": 0.5, "sigma": 0}, "it has sigma 0, but it must be above 0"),
    (
        NUMBER,
        {"mu": 5, "sigma": 0.1},
        "it has mu 5 and sigma 0.1, but must be a number",
    ),
    (NUMBER, {"distribution": "beta", "a": 0, "b": 1}, "it has a 0 and b 1, but both must be above 0"),
    (NUMBER, {"distribution": "q_uniform", "min": 0, "max": 0.5, "q": 0}, "it has q 0, but it must be above 0"),
    (NUMBER, {"distribution": "q_uniform", "min": 0.1, "max": 0.2, "q": 0.5}, "it has no multiple of its q 0.5"),
    (
        RATE,
        {"distribution": "log_uniform_values", "min": 0, "max": 1},
        "it begins at 0, but a logarithmic",
    ),
    (
        RATE,
        {"distribution": "log_uniform", "min": 1e-4, "max": 0.01},
        "it is from e to the power of 0.0001 to e to the power of 0.01, which is about 1: log_uniform takes exponents, "
        "log_uniform_values takes the ends themselves",
    ),
    (RATE, {"distribution": "log_uniform", "min": 1, "max": 1000}, "log_uniform_values takes the ends themselves"),
    (WHOLE, {"distribution": "uniform", "min": 1, "max": 4}, "it is a whole number, but uniform gives fractions"),
    (WHOLE, {"min": 1, "max": 4.5}, "it is 4.5, but must be a whole number from 1 to 64"),
    (WHOLE, {"min": 0, "max": 4}, "it is 0, but must be from 1 to 64"),
    (WHOLE, {"distribution": "q_uniform", "min": 1, "max": 4, "q": 0.5}, "it has q 0.5, but it must be a whole number"),
    (WHOLE, {"value": True}, "it is True, but must be a whole number from 1 to 64"),
    (NAME, {"values": ["a", "d"]}, "it is 'd', but must be one of a, b, c"),
    (NAME, {"values": ["a", "b"], "probabilities": [0.5]}, "must be a list of one for each value"),
    (NAME, {"values": ["a", "b"], "probabilities": [0.5, 0.7]}, "must be at least 0, and 1 in all"),
    (NAME, {"value": "a", "when": "sgd"}, "when of it is 'sgd', but must be names with values"),
    (FLAG, {"value": "yes"}, "it is 'yes', but must be true or false"),
]


@pytest.mark.parametrize(("rule", "words", "message"), ERRORS, ids=range(len(ERRORS)))
def test_mistake_is_one_line_with_what_is_legal(rule, words, message):
    with pytest.raises(UserError) as caught:
        read_parameter("it", words, [rule])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_distribution_of_a_sweep_is_read():
    numbers = {"min": 1, "max": 2, "q": 1, "mu": 1.5, "sigma": 1, "a": 1, "b": 1, "value": 1, "values": [1, 2]}
    anything = Rule(kind=float, default=1.0)
    for distribution, words in WORDS.items():
        if distribution.startswith(("q_log", "categorical_w")):  # these are above
            continue
        read_parameter("it", {"distribution": distribution} | {word: numbers[word] for word in words}, [anything])
