"""Compare the models that this program and others train in the same time, on patients that none of them has seen.

    python tests/benchmarks/quality.py DATA --test DATA2 --minutes 24 [--entrants ours default ...] [--out FILE.jsonl]

Each entrant trains on the patients of DATA for the same number of minutes on all cores, one after another, each in a
process of its own:

- `ours`: `python -m search.tune --budget`, all other options as they are; its exported model predicts.
- `default`: the default configuration, trained once on all patients with a schedule that ends in time.
- `default_ensemble`: the same with several seeds, probabilities averaged. There are as many trainings of about 30
  epochs as fit, at least two and at most ten, and they share the time evenly.
- `reference`: the recipe of brain-segmentation-pytorch (Buda et al. 2019) at 256 pixels.
- `monai`: MONAI's U-Net with the transforms of its tutorials, at the size of ours.
- `nnunet`: nnU-Net v2, configuration `2d`, fold `all`, as many epochs as fit.

The clock of an entrant starts before its process does, and ends when it is ready to predict. So it covers imports,
reading and decoding DATA from its files (no entrant uses a cache), all preprocessing, measuring how long an epoch
takes, training, and for ours also the search, the choice of the winner and its export. It does not cover the prediction
of DATA2 or its scoring. An entrant stops training when its time is up; a search plans for it. `seconds` in the last
line says how long each took.

Scores are the Dice of each patient of DATA2, volumetric and in the masks' own size. The last line of output is a JSON
object. Finished entrants are kept in `--out`, where the next run finds them.

The peers are not installed with this program: `pip install monai nnunetv2`. An entrant without its package is left out,
and the output says so.
"""

import json
import os
import sys
import tempfile
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for tests.benchmarks
from data.errors import UserError
from search.record.codec import JsonObject, without_nan
from search.record.jsonl import append_line
from search.record.provenance import commit
from tests.benchmarks.entrants.comparison import compare
from tests.benchmarks.entrants.contest import ENTRANTS, Score, Task, compete, read_source
from tests.benchmarks.unfinished import read_finished


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Compare models that were trained in the same time."""

    data: tyro.conf.Positional[str]
    """Patients to train on, as for `search.tune`."""

    test: str
    """Patients to score on; none of them may be among those to train on."""

    minutes: float
    """Minutes that each entrant has."""

    entrants: tuple[str, ...] = tuple(ENTRANTS)
    """The entrants, in the order in which they train."""

    size: int = 128
    """Side of a slice in pixels for ours, the default and MONAI."""

    reference_size: int = 256
    """Side of a slice in pixels for brain-segmentation-pytorch's recipe, which names 256."""

    search_options: tuple[str, ...] = ()
    """More options for `search.tune`, in one word each, such as `--search-options=--width=8`."""

    out: Path = Path("quality.jsonl")
    """File of finished entrants; one with other data, minutes or sizes is refused."""

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.entrants) - set(ENTRANTS)):
            raise UserError(f"entrants are {', '.join(unknown)}, but must be among {', '.join(ENTRANTS)}")
        if not self.minutes > 0:
            raise UserError(f"minutes is {self.minutes}, but must be above 0")


def main(arguments: Arguments) -> int:
    """Run the entrants that are not finished yet, and return 1 if one of them failed."""
    _check_patients(arguments)
    header = _header(arguments)
    done = [Score(**line) for line in read_finished(arguments.out, header)]
    failed = []
    for name in dict.fromkeys(arguments.entrants):
        if name in {score.entrant for score in done}:
            continue
        if missing := ENTRANTS[name].missing:
            print(f"{name} is left out: {', '.join(missing)} is not installed", flush=True)
            continue
        print(f"{name} has {arguments.minutes:g} minutes", flush=True)
        try:
            score = run_entrant(arguments, name)
        except Exception:  # the others go on; the next run tries this one again
            traceback.print_exc()
            print(f"{name} failed", flush=True)
            failed.append(name)
            continue
        done.append(score)
        append_line(arguments.out, asdict(score))
        mean = compare([score])[f"dice_{name}"]
        print(f"{name}: Dice {mean} after {score.seconds} s, {json.dumps(score.facts)}", flush=True)
    print(json.dumps(without_nan({**compare(done), **header, "failed": failed})))
    return 1 if failed else 0


def run_entrant(arguments: Arguments, name: str) -> Score:
    """Return the score of an entrant, which runs in a process of its own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process,
    ):
        task = Task(
            entrant=name,
            data=arguments.data,
            test=arguments.test,
            minutes=arguments.minutes,
            started=time.time(),
            folder=Path(folder),
            size=arguments.size,
            reference_size=arguments.reference_size,
            search_options=arguments.search_options,
        )
        return process.submit(compete, task).result()


def _header(arguments: Arguments) -> JsonObject:
    """Return what all entrants in a file have in common."""
    names = ("minutes", "size", "reference_size")
    return {
        "data": Path(arguments.data).name,
        "test": Path(arguments.test).name,
        **{name: getattr(arguments, name) for name in names},
        "search_options": list(arguments.search_options),
        "cores": os.cpu_count(),
        "commit": commit(),
    }


def _check_patients(arguments: Arguments) -> None:
    """Check that no patient is both trained on and scored.

    Raises:
        UserError: There is such a patient.
    """
    train, test = ({patient.id for patient in read_source(name).patients} for name in (arguments.data, arguments.test))
    if both := sorted(train & test):
        raise UserError(f"patients to score on must not be trained on, but {', '.join(both[:5])} are in both")


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments)))
