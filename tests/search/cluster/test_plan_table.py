"""The plan that is printed before a search."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from search.cluster.plan_table import print_plan
from search.promotion.options import Promotion
from tests.support.delivered import SIZE, Planned, plan_search


@pytest.fixture(scope="module")
def planned(tmp_path_factory) -> Planned:
    return plan_search(tmp_path_factory.mktemp("planned"))


def test_plan_says_what_will_be_done(planned):
    screen = io.StringIO()
    print_plan(planned.config, planned.cohort, planned.lanes, Console(file=screen, width=200))
    for words in (
        "Search tiny",
        f"slices of {SIZE} x {SIZE} pixels",
        "1 by prior_gp, of at most 9 epochs, asha from epoch 3",
        "the default configuration, trained to its end",
        "1 worker(s) of 2 CPU",
    ):
        assert words in screen.getvalue()
    for side in ("train", "val", "test"):
        assert f"{len(getattr(planned.cohort.split, side))} patients" in screen.getvalue()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"budget": "30m", "epoch_seconds": 5.04, "time_budget_seconds": 1040},
            "30m, at 5 s for an epoch: trials until 17 min 20 s after the start at the latest, then scoring and export",
        ),
        (
            {
                "budget": "30m",
                "epoch_seconds": 0.123,
                "time_budget_seconds": 40,
                "promotion": Promotion(final_seeds=5),
            },
            "0.12 s for an epoch: trials until 40 s after the start at the latest, then 5 final seed(s), scoring",
        ),
        ({"budget": "9 epochs"}, "9 epochs, with scoring and export"),
        ({"budget": "9 epochs", "promotion": Promotion(final_seeds=5)}, "9 epochs, with 5 final seed(s), scoring and"),
        (
            {"budget": "9 epochs"},
            "alone, 9 epochs: with so few trainings, or validation patients, a search would show no gain",
        ),
        ({"budget": "9 epochs", "given": ("trials",)}, "1 by prior_gp, of at most 9 epochs, asha from epoch 3"),
    ],
)
def test_plan_says_how_a_budget_is_divided(planned, changes, said):
    screen = io.StringIO()
    print_plan(replace(planned.config, **changes), planned.cohort, planned.lanes, Console(file=screen, width=200))
    assert said in screen.getvalue()
    assert "seconds in all" not in screen.getvalue()


def test_plan_says_with_whom_trials_share(planned):
    screen = io.StringIO()
    quarters = replace(planned.lanes, cpus_per_worker=1, gpus_per_worker=0.25)
    print_plan(
        planned.config, planned.cohort, quarters, Console(file=screen, width=200), others="other jobs hold 3 GPU"
    )
    assert "1 worker(s) of 1 CPU and 0.25 GPU; 4 trials share a GPU" in screen.getvalue()
    assert "other jobs hold 3 GPU: trials take what is free, and what gets free, up to --max-concurrent" in (
        screen.getvalue()
    )


@pytest.mark.parametrize(("spare", "warned"), [(0, False), (-1, True)])
def test_plan_warns_of_more_slices_than_memory(planned, spare, warned):
    num_bytes = sum(pack.images.size + pack.masks.size for pack in (planned.cohort.train_pack, planned.cohort.val_pack))
    lanes = replace(planned.lanes, object_store_bytes=num_bytes + spare)
    screen = io.StringIO()
    print_plan(planned.config, planned.cohort, lanes, Console(file=screen, width=300))
    assert "GB of slices, once a machine" in screen.getvalue()
    assert ("WARNING" in screen.getvalue()) == warned
