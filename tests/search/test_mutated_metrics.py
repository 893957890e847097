"""A damaged metrics.json of a promoted model is refused by its name, or shown; no command ends with another error."""

import json
import os
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from data.errors import UserError
from data.readers.images import write_image
from search.compare.__main__ import all_tables
from search.compare.experiments import read_experiments
from search.compare.page import write_page
from search.compare.significance import compare_pairs
from search.list import read_line
from search.report.page import write_report
from search.result import read_result
from tests.support.experiments import DICES, write_experiment
from tests.support.fakes import metrics_json
from tests.support.html_page import HtmlPage
from tests.support.mutation import fuzz_seed, mutate, mutate_json

MAX_SECONDS = 20.0


def write_two(out: Path) -> Path:
    """Write two experiments, and return the metrics.json of the first, which has every part that there can be."""
    full = {name: value for name, value in metrics_json().items() if name in ("assessment", "choices", "candidates")}
    summary = {"num_patients": 1, "dice": {"mean": 0.5}, "by_region": {"WT": {"dice": {"mean": 0.5}}}}
    full |= {
        "pictures": {"best: T0": "best/overlays/best.png"},
        "gain": {"gain": 0.1, "standard_error": 0.01, "trial": "t000", "default_dice": 0.5},
        "pareto_front": [{"trial": "t000", "val_dice": 0.5, "checkpoint": None}],
        "final": {"num_patients": 3, "epochs": 2, "networks": ["t001"]},
        "cross_validation": {"num_folds": 2, "summary": summary, "folds": [summary, summary]},
        "region_thresholds": {"WT": 0.5},
    }
    folder = write_experiment(out, "a", dices=DICES, metrics=full)
    (folder / "best" / "overlays").mkdir()
    write_image(folder / "best" / "overlays" / "best.png", np.zeros((4, 4, 3), np.uint8))
    write_experiment(out, "b", dices=DICES)
    return folder / "best" / "metrics.json"


def show(out: Path) -> None:
    """Do everything that the program does with the metrics of a model."""
    result = read_result(out / "a")
    assert result.best is not None
    read_line(out / "a")
    write_report(out / "a")
    experiments = read_experiments(out, ["a", "b"])
    pairs = compare_pairs(experiments)
    write_page(out / "compare.html", experiments, pairs, all_tables(experiments, pairs), command="compare")


def outcome_of(out: Path) -> str:
    """Return "shown", the message of a UserError, or where another error was raised, without any file's name."""
    try:
        show(out)
    except UserError as error:
        return str(error)
    except TypeCheckError:  # only tests check types as strictly: an int where a float is annotated is legal JSON
        return "best/metrics.json has another type"
    except Exception as error:
        return "".join(traceback.format_exception(error)).replace("metrics.json", "")
    return "shown"


def fuzz(out: Path, num: int, seed: int) -> Counter[str]:
    """Return how often damaged metrics were shown and refused; anything else fails."""
    file = write_two(out)
    show(out)
    old = file.read_bytes()
    found: Counter[str] = Counter()
    for number in range(num):
        rng = np.random.default_rng([seed, number])
        file.write_bytes(mutate(old, rng) if rng.integers(4) == 0 else mutate_json(old.decode(), rng).encode())
        began = time.monotonic()
        outcome = outcome_of(out)
        assert outcome == "shown" or "best/metrics.json" in outcome, f"FUZZ_SEED={seed}, {number}: {outcome}"
        assert time.monotonic() - began < MAX_SECONDS, f"FUZZ_SEED={seed}, {number}"
        found["shown" if outcome == "shown" else "refused"] += 1
    return found


def test_mutated_metrics_are_shown_or_refused_by_their_name(tmp_path):
    found = fuzz(tmp_path, 12, 0)
    assert min(found["shown"], found["refused"]) > 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_thousands_of_mutated_metrics_are_shown_or_refused_by_their_name(tmp_path):
    seed = fuzz_seed()
    print(f"FUZZ_SEED={seed}", fuzz(tmp_path, 1500, seed))


def test_metrics_that_cannot_be_opened_are_named(tmp_path):
    file = write_two(tmp_path)
    file.unlink()
    file.mkdir()
    with pytest.raises(UserError, match=r"metrics\.json cannot be read \(Is a directory\)"):
        read_result(tmp_path / "a")


def test_report_shows_pictures_of_the_experiment_alone(tmp_path):
    file = write_two(tmp_path)
    write_image(tmp_path / "b" / "key.png", np.zeros((4, 4, 3), np.uint8))
    os.symlink(tmp_path / "b" / "key.png", tmp_path / "a" / "best" / "link.png")
    names = ("../b/key.png", "best/link.png", "/etc/hostname", "config.json", "best", "x" * 10_000, "\0", "\ud800")
    pictures = {"best: T0": "best/overlays/best.png"} | {str(index): name for index, name in enumerate(names)}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pictures": pictures}))
    loaded = HtmlPage(write_report(tmp_path / "a").read_text()).loaded
    assert len([one for one in loaded if one.startswith("data:image")]) == 1
