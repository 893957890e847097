"""`python -m tests.support.pictures`: the pictures of the README, made from a search of synthetic patients.

It runs a small search, or takes the folder of a finished one (`--experiment`), and writes three files: the top of the
report (report.png), outlines of predicted and true tumours (overlay.png), and the live table (live_table.svg).
Needs chromium and chromedriver.
"""

import contextlib
import tempfile
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import cv2
import numpy as np
import tyro
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from search import tune
from search.coordination.replay import replay
from search.coordination.trial_progress import End, Phase, TrialProgress
from search.record.files import LOG_FILE
from search.record.trials import State, trial_id
from search.report.page import write_report
from search.report.snapshot import Snapshot, read_snapshot
from search.scheduling.schedulers import SCHEDULERS
from search.screen.board import Best, RunningTrial, View
from search.screen.eta import Plan, estimate
from search.screen.live import Picture
from tests.support.browser import Browser, open_browser

IMAGES = Path(__file__).resolve().parents[2] / ".github" / "images"

SEARCH = "--data phantom:40 --trials 20 --max-epochs 9 --size 96 --cpus-per-worker 1 --tracking off --name tumours"
"""The search that is shown; it takes some minutes."""

REPORT_WIDTH, REPORT_HEIGHT = 1080, 1190
"""Pixels of the page that are shown."""

MAX_BYTES = 150_000
"""Maximum size of a picture, so that the README loads fast."""

TERMINAL_WIDTH = 110
"""Characters of the terminal with the live table; more cannot be read in the width of a README."""

MOMENTS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.45, 0.4)
"""Fractions of the search's events after which the live table may be shown: the first with the most running trials."""

NUM_ENDINGS = 4
"""Lines above the live table, for the trials that ended last."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Write the pictures of the README."""

    experiment: Path | None = None
    """The folder of a finished search. None: one is run."""

    out: Path = IMAGES
    """The folder for the pictures."""


def main() -> None:
    """Write the three pictures and print their sizes."""
    arguments = tyro.cli(Arguments)
    with tempfile.TemporaryDirectory() as scratch:
        experiment = (arguments.experiment or run_search(Path(scratch) / "runs")).resolve()
        arguments.out.mkdir(parents=True, exist_ok=True)
        pictures = {
            "report.png": report_top(experiment, Path(scratch) / "profile"),
            "overlay.png": overlay(experiment),
            "live_table.svg": live_table(experiment, Path(scratch)).encode(),
        }
    for name, content in pictures.items():
        assert len(content) <= MAX_BYTES, f"{name} has {len(content):,} bytes"
        (arguments.out / name).write_bytes(content)
        print(f"{arguments.out / name}: {len(content):,} bytes")


def run_search(out: Path) -> Path:
    """Return the folder of a search of synthetic patients."""
    status = tune.main([*SEARCH.split(), "--out", str(out)])
    assert status == 0, f"search.tune returned {status}"
    return out / "tumours"


def report_top(experiment: Path, profile: Path) -> bytes:
    """Return the top of the report in light colours, as PNG; the report is written again, with short paths."""
    with contextlib.chdir(experiment.parents[1]):
        page = write_report(experiment.relative_to(experiment.parents[1])).resolve()
    with open_browser(profile) as browser:
        _show_light(browser)
        browser.open(page.as_uri())
        browser.wait("return document.querySelector('#curves .main-svg') !== null")
        screenshot = cv2.imdecode(np.frombuffer(browser.picture(), np.uint8), cv2.IMREAD_COLOR)
    assert screenshot is not None
    return _to_png(screenshot)


def _show_light(browser: Browser) -> None:
    browser.emulate(
        "setDeviceMetricsOverride", width=REPORT_WIDTH, height=REPORT_HEIGHT, deviceScaleFactor=1, mobile=False
    )
    browser.emulate("setScrollbarsHidden", hidden=True)
    browser.emulate("setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])


def overlay(experiment: Path) -> bytes:
    """Return slices of the test patient with the median Dice, with the outlines of prediction and true mask, as PNG."""
    [file] = (experiment / "best" / "overlays").glob("median_*.png")
    panel = cv2.imread(str(file), cv2.IMREAD_COLOR)
    assert panel is not None, file
    first_row = panel[: next((row for row in _gaps(panel) if row > 64), len(panel))]
    return _to_png(first_row)


def _gaps(panel: np.ndarray) -> list[int]:
    """Return the rows of pixels that are all black."""
    return np.flatnonzero(~panel.any((1, 2))).tolist()


def live_table(experiment: Path, scratch: Path) -> str:
    """Return the live table as it was in the middle of the search, below the trials that ended last, as SVG."""
    snapshot = read_snapshot(experiment)
    states = [_trials_after(moment, snapshot, scratch / LOG_FILE) for moment in MOMENTS]
    trials = max(
        states, key=lambda state: sum(trial.phase == Phase.INTERRUPTED and trial.last_epoch > 0 for trial in state)
    )
    console = Console(width=TERMINAL_WIDTH, height=40, record=True, file=StringIO(), force_terminal=True)
    for trial in _last_ended(trials):
        console.print(_ending(trial))
    console.print(Picture(_view(snapshot, trials), ""))
    return console.export_svg(title="python -m search.tune", theme=MONOKAI)


def _trials_after(moment: float, snapshot: Snapshot, log: Path) -> list[TrialProgress]:
    """Return the trials as they were after a fraction of the events; those that were running are interrupted."""
    events = (snapshot.folder / LOG_FILE).read_text().splitlines(keepends=True)
    log.write_text("".join(events[: round(moment * len(events))]))
    config = snapshot.config
    scheduler = SCHEDULERS[config.scheduler].make(config.scheduler_request())
    return replay(
        log,
        scheduler,
        num_trials=config.trials,
        objectives=config.objective,
        max_failures=config.max_failures,
    )


def _view(snapshot: Snapshot, trials: list[TrialProgress]) -> View:
    """Return what the live table showed; the trials whose legs the end of the log cut off were running."""
    config = snapshot.config
    plan = Plan(num_trials=config.trials, max_epochs=config.max_epochs, num_lanes=snapshot.experiment.num_lanes)
    epochs = [(epoch.val_dice, trial, epoch) for trial in trials for epoch in trial.all_epochs]
    dice, best, epoch = max(epochs, key=lambda one: one[0])
    outcomes = [trial.outcome.state for trial in trials if isinstance(trial.outcome, End)]
    scheduler = SCHEDULERS[config.scheduler].make(config.scheduler_request())
    return View(
        elapsed_seconds=max(epoch.elapsed_seconds or 0.0 for _, _, epoch in epochs),
        plan=plan,
        counts={state: outcomes.count(state) for state in State},
        num_paused=sum(trial.phase == Phase.PAUSED for trial in trials),
        best=Best(number=best.number, epoch=epoch.epoch, dice=dice, sample=best.sample),
        running=tuple(_running(trial, plan) for trial in trials if trial.phase == Phase.INTERRUPTED),
        left=estimate({trial.number: trial for trial in trials}, scheduler, plan),
    )


def _running(trial: TrialProgress, plan: Plan) -> RunningTrial:
    seconds = [epoch.seconds for epoch in trial.all_epochs]
    return RunningTrial(
        number=trial.number,
        sample=trial.sample,
        dices=tuple(epoch.val_dice for epoch in trial.all_epochs),
        epoch=trial.last_epoch,
        left_seconds=(plan.max_epochs - trial.last_epoch) * sum(seconds) / len(seconds) if seconds else None,
    )


def _last_ended(trials: list[TrialProgress]) -> list[TrialProgress]:
    ended = [trial for trial in trials if isinstance(trial.outcome, End)]
    return sorted(ended, key=lambda trial: trial.all_epochs[-1].elapsed_seconds or 0.0)[-NUM_ENDINGS:]


def _ending(trial: TrialProgress) -> Text:
    assert isinstance(trial.outcome, End)
    epochs = "epoch" if trial.last_epoch == 1 else "epochs"
    return Text(
        f"{trial_id(trial.number)} {trial.outcome.state.value:8s} after {trial.last_epoch:2d} {epochs}, "
        f"Dice {max(trial.dices.values()):.4f}"
    )


def _to_png(image: np.ndarray) -> bytes:
    done, content = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert done
    return content.tobytes()


if __name__ == "__main__":
    main()
