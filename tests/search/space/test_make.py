"""A space from a name, a sweep, Optuna distributions and changes; and where its axes have an effect."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from data.errors import UserError
from data.legal import OneOf, Range, When
from model.networks import NETWORKS, Architecture
from search.space.make import Changes, make_space
from search.space.named import CORE, SPACES, WIDE
from search.space.space import Expectation, Space
from tests.support.plain_network import PLAIN, Plain, PlainConfig


@dataclass(frozen=True, kw_only=True)
class GatedConfig(PlainConfig):
    """A network with a field that has an effect only beside another."""

    architecture: ClassVar[str] = "gated"

    gate: Annotated[str, OneOf("none", "soft")] = "none"
    softness: Annotated[float, Range(above=0), When(gate="soft")] = 1.0


@pytest.fixture(autouse=True)
def networks(monkeypatch) -> None:
    monkeypatch.setitem(NETWORKS, "plain", PLAIN)
    monkeypatch.setitem(NETWORKS, "gated", Architecture(config=GatedConfig, network=Plain, title="Gated"))


def sweep(**parameters: object) -> dict[str, object]:
    return {"parameters": parameters}


@pytest.mark.parametrize("name", SPACES)
def test_name_is_its_space(name):
    assert make_space(name) == SPACES[name] == make_space(SPACES[name])


def test_optuna_distributions_are_a_space():
    axes = {"learning_rate": FloatDistribution(1e-4, 1e-2, log=True), "depth": IntDistribution(2, 2)}
    assert make_space(axes) == Space({"learning_rate": axes["learning_rate"]}, constants={"depth": 2})


def test_set_fixes_an_axis_and_what_is_no_axis():
    found = make_space("wide", Changes(fixed=["width=24", "patience=3", "norm=batch"]))
    assert found.constants == {"width": 24, "norm": "batch", "patience": 3}
    assert {**found} == {name: axis for name, axis in WIDE.items() if name not in ("width", "norm")}


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("learning_rate=1e-4..3e-3:log", FloatDistribution(1e-4, 3e-3, log=True)),
        ("learning_rate=0.001..0.003", FloatDistribution(0.001, 0.003)),
        ("depth=2..6:step=2", IntDistribution(2, 6, step=2)),
        ("width=8..64:log", IntDistribution(8, 64, log=True)),
        ("norm=batch,instance", CategoricalDistribution(["batch", "instance"])),
        ("dropout=0,0.25", CategoricalDistribution([0.0, 0.25])),
        ("dropout=.1...5", FloatDistribution(0.1, 0.5)),
    ],
)
def test_range_changes_or_adds_an_axis(text, axis):
    found = make_space("core", Changes(ranges=[text]))
    assert found[text.partition("=")[0]] == axis
    assert {**CORE, **found} == {**found}


def test_range_keeps_the_condition_of_its_axis():
    space = sweep(depth={"min": 2, "max": 4, "when": {"norm": "batch"}}, norm={"values": ["batch", "instance"]})
    assert make_space(space, Changes(ranges=["depth=3..5"])).conditions == {"depth": {"norm": ("batch",)}}


def test_axis_of_one_network_has_an_effect_only_there():
    found = make_space(
        sweep(kernel={"min": 1, "max": 7}, depth={"min": 1, "max": 3}, architecture={"values": ["unet", "plain"]})
    )
    assert found.conditions == {"kernel": {"architecture": ("plain",)}, "depth": {"architecture": ("unet",)}}
    assert [*found] == ["architecture", "kernel", "depth"]


def test_network_decides_what_is_legal():
    found = make_space(sweep(kernel={"min": 1, "max": 7}), Changes(network="plain"))
    assert found == Space({"kernel": IntDistribution(1, 7)}, constants={"architecture": "plain"})


def test_named_space_of_another_network_has_what_that_network_has():
    found = make_space("wide", Changes(network="plain"))
    assert {*found} == {"learning_rate", "bce_weight", "batch_size", "weight_decay", "augment"}


def test_values_of_one_network_need_not_be_legal_in_another():
    axes = {"depth": {"min": 2, "max": 7, "when": {"architecture": "unet"}}}
    found = make_space(sweep(architecture={"values": ["monai:SegResNet", "unet"]}, **axes))
    assert (found["depth"], found.conditions) == (IntDistribution(2, 7), {"depth": {"architecture": ("unet",)}})


def test_text_of_an_option_may_be_true_or_have_blanks():
    found = make_space("core", Changes(fixed=["attention=true"], ranges=["norm=batch, group", "depth=2 .. 4 : log"]))
    assert found.constants == {"attention": True}
    assert found["norm"] == CategoricalDistribution(["batch", "group"])
    assert found["depth"] == IntDistribution(2, 4, log=True)


@pytest.mark.parametrize(
    ("network", "depth", "width"),
    [("smp:Unet", IntDistribution(3, 5), WIDE["width"]), ("monai:SwinUNETR", None, 24)],
)
def test_named_space_of_another_network_is_what_that_network_takes(network, depth, width):
    found = make_space("wide", Changes(network=network))
    assert (found.get("depth"), found.get("width", found.constants.get("width"))) == (depth, width)


def test_condition_of_a_field_is_followed_without_being_asked_for():
    axes = {"softness": {"min": 1, "max": 2}, "gate": {"values": ["none", "soft"]}}
    found = make_space(sweep(**axes), Changes(network="gated"))
    assert [*found] == ["gate", "softness"]
    assert found.conditions == {"softness": {"gate": ("soft",)}}
    always = make_space(sweep(softness=axes["softness"], gate={"value": "soft"}), Changes(network="gated"))
    assert always.conditions == {}


def test_condition_of_a_file_joins_that_of_the_field():
    axes = {
        "softness": {"min": 1, "max": 2, "when": {"kernel": [3, 5]}},
        "gate": {"values": ["none", "soft"]},
        "kernel": {"values": [1, 3, 5]},
    }
    found = make_space(sweep(**axes), Changes(network="gated"))
    assert found.conditions == {"softness": {"gate": ("soft",), "kernel": (3, 5)}}


def test_expectations_of_a_sweep_are_kept():
    found = make_space(sweep(depth={"distribution": "q_normal", "mu": 4, "sigma": 0.5}, dropout={"min": 0, "max": 0.5}))
    assert found.expected == {"depth": Expectation(value=4, width=0.25)}


ERRORS = [
    (
        {"lr": {"min": 0, "max": 1}},
        Changes(),
        "lr is no hyperparameter (did you mean learning_rate?); legal are activation, architecture",
    ),
    ({"deph": {"min": 1, "max": 2}}, Changes(), "deph is no hyperparameter (did you mean depth?); legal are"),
    (
        {"epochs": {"values": [5, 10]}},
        Changes(),
        "epochs is no hyperparameter: it is the option --max-epochs of a search",
    ),
    ({"in_channels": {"value": 3}}, Changes(), "in_channels is no hyperparameter"),
    ({"depth": {"value": 3}}, Changes(), "the space has constants only, but a search needs an axis"),
    ({"architecture": {"values": ["unet", "vgg"]}}, Changes(), "architecture is 'vgg', but must be one of unet"),
    ({"architecture": {"values": ["unet", "monai:Unet"]}}, Changes(), "'monai:Unet' (did you mean monai:UNet?)"),
    ({"architecture": {"values": ["unet", 3]}}, Changes(), "architecture is 3, but must be text"),
    ({"kernel": {"min": 1, "max": 7}}, Changes(), "kernel is no hyperparameter"),
    ({"depth": {"min": 1, "max": 9}}, Changes(), "depth is 9, but must be from 1 to 7"),
    (
        {"depth": {"min": 1, "max": 2, "when": {"norm": "batch"}}},
        Changes(),
        "depth has an effect only where norm is batch",
    ),
    (
        {"depth": {"min": 1, "max": 2, "when": {"norm": ["batch", "bach"]}}, "norm": {"values": ["batch", "group"]}},
        Changes(),
        "when of depth has norm 'bach', but norm must be one of instance, batch",
    ),
    (
        {"dropout": {"value": 0.2, "when": {"norm": "batch"}}, "norm": {"values": ["batch", "group"]}},
        Changes(),
        "dropout has one value, but also a when: leave when out, or give values",
    ),
    ({"depth": {"min": 1, "max": 2}}, Changes(ranges=["width=8..16:step=0"]), "must be a whole number, above 0"),
    (
        {"depth": {"min": 1, "max": 2}},
        Changes(ranges=["dropout=0..0.5:step=-1"]),
        "has steps of -1, but they must be above 0",
    ),
    ({"depth": {"min": 1, "max": 2, "when": {"normal": "batch"}}}, Changes(), "names 'normal', which is no other"),
    (
        {"depth": {"min": 1, "max": 2, "when": {"depth": 1}}},
        Changes(),
        "names 'depth', which is no other",
    ),
    (
        {"depth": {"min": 1, "max": 2, "when": {"dropout": 0.1}}, "dropout": {"min": 0, "max": 0.5}},
        Changes(),
        "when of depth names dropout, but that has a range: give dropout a list of values",
    ),
    (
        {
            "depth": {"values": [1, 2], "when": {"width": 8}},
            "width": {"values": [8, 16], "when": {"depth": 1}},
        },
        Changes(),
        "the conditions of depth, width depend on each other in a circle: remove a `when`",
    ),
    (
        {"softness": {"min": 1, "max": 2}},
        Changes(network="gated"),
        "softness has an effect only where gate is soft, but gate is none: leave softness out, or change gate",
    ),
    (
        {"architecture": {"values": ["unet", "plain"]}},
        Changes(network="plain"),
        "network is 'plain', but the space says itself which architecture it has",
    ),
    (
        {"depth": {"min": 1, "max": 2}},
        Changes(fixed=["depth"]),
        "set is 'depth', but must be NAME=VALUE",
    ),
    ({"depth": {"min": 1, "max": 2}}, Changes(fixed=["width=0"]), "width is 0, but must be from 1 to 256"),
    ({"depth": {"min": 1, "max": 2}}, Changes(fixed=["width=wide"]), "width is 'wide', but must be a whole number"),
    ({"depth": {"min": 1, "max": 2}}, Changes(ranges=["depth=3"]), "range is 'depth=3', but must be depth=LOW..HIGH"),
    ({"depth": {"min": 1, "max": 2}}, Changes(ranges=["depth=a..3"]), "min of depth is 'a', but must be a number"),
    ({"depth": {"min": 1, "max": 2}}, Changes(ranges=["depth=4..3"]), "its max must not be below its min"),
    (
        {"depth": {"min": 1, "max": 2}},
        Changes(ranges=["depht=2..3"]),
        "(did you mean depth?)",
    ),
]


@pytest.mark.parametrize(("parameters", "changes", "message"), ERRORS, ids=range(len(ERRORS)))
def test_mistake_is_one_line_with_what_is_legal(parameters, changes, message):
    with pytest.raises(UserError) as caught:
        make_space(sweep(**parameters), changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("choice", [{}, {"depth": 3}, {"depth": IntDistribution(1, 2), "width": [8, 16]}])
def test_what_is_no_space_is_refused(choice):
    with pytest.raises(UserError, match=r"but must be a name \(core, wide\), a sweep file, a sweep with `parameters`"):
        make_space(choice)


def test_distribution_of_fractions_for_a_whole_number_is_refused():
    with pytest.raises(UserError, match="depth is a whole number: give optuna's IntDistribution"):
        make_space({"depth": FloatDistribution(1.0, 3.0)})


def test_choices_of_fractions_that_are_whole_stand_for_whole_numbers():
    space = make_space({"depth": CategoricalDistribution([2.0, 3.0])})
    assert [type(choice) for choice in space["depth"].choices] == [int, int]  # pyright: ignore
