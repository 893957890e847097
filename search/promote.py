"""`python -m search.promote NAME`: choose the best of the trials and export it to `best/`.

A search does this at its end; the command does it again. The validation patients decide everything. Then the test
patients are scored, and the number of times that this has happened is recorded.
"""

import atexit
import gc
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from data.arguments import parse_arguments
from data.command import run_command
from data.errors import BadFiles, DataError
from model.settings import Settings
from search.cluster.signals import finish_despite_sigterm, sigterm_as_interrupt
from search.cluster.task_runner import TaskRunner, open_task_runner
from search.cohort import Cohort, read_cohort
from search.config import SearchConfig
from search.console import say
from search.experiment import check_fingerprint, config_record, exclusive_writer, recorded_config
from search.planning.deadline import Deadline
from search.promotion.best_folder import BEST_FOLDER, default_settings, write_best_folder
from search.promotion.candidates import Candidate, NothingToPromote, rescore
from search.promotion.final_scores import SplitPatients
from search.promotion.final_training import FinalNetworks, train_with_seeds
from search.promotion.folds import check_folds, race
from search.promotion.options import Promotion
from search.promotion.ranking import rank_by, with_ensemble
from search.promotion.retraining import Retrainer
from search.promotion.summary import print_summary
from search.record.experiment_record import ExperimentRecord, read_experiment
from search.record.files import TABLE_FILE
from search.record.model_metrics import ModelMetrics
from search.record.trials import TrialRow, read_rows
from search.report.page import write_report
from search.space.configs import own_networks
from search.storage.download import sync_down
from search.storage.working_folder import Out, format_command
from search.tracking.model_artifact import track_model
from search.tracking.outage import forget_outage
from search.tracking.runs import tracking_of


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Promote the best trial of an experiment, again or for the first time, even if its search was interrupted."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """The experiment."""

    out: Out = Path("runs")
    """Folder of all experiments, or a bucket: s3://bucket/prefix."""

    data: str | None = None
    """Where the patients are now, if they have been moved."""

    promotion: Annotated[Promotion, tyro.conf.arg(name="")] = field(default_factory=Promotion)


def main(argv: Sequence[str] | None = None) -> int:
    """Promote and return the exit status (see data/command.py); it is 1 if there is nothing to promote."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    return run_command(_main, argv, interrupted="best/ holds what it held before")


def _main(argv: list[str]) -> int:
    config = _parse(argv)
    with sigterm_as_interrupt():
        cohort = read_cohort(config, recorded=read_experiment(config.folder).data.split)
        check_folds(config, cohort)
        with exclusive_writer(config.folder):
            experiment = read_experiment(config.folder)
            check_fingerprint(experiment, config, cohort)
            experiment = replace(experiment, config=config_record(config))
            forget_outage(config.folder)
            return promote(config, experiment, cohort, read_rows(config.folder / TABLE_FILE), Console())


def promote(
    config: SearchConfig,
    experiment: ExperimentRecord,
    cohort: Cohort,
    rows: list[TrialRow],
    console: Console,
    *,
    last_start: Deadline | None = None,
    on_promoted: Callable[[ModelMetrics], None] = lambda _: None,
) -> int:
    """Promote the best of the rows into `best/`, write the report, and return the exit status.

    Args:
        last_start: No final training but the first begins after this moment.
        on_promoted: Called when the model is in `best/`, before the report is written.

    The status is 0, or 1 if there is nothing to promote. SIGTERM ends a promotion at once only if it trains something,
    which can take hours; otherwise the promotion is finished first.
    """
    atexit.register(gc.freeze)  # the last garbage collection would spend two seconds on objects of torch's exporter
    with nullcontext() if config.promotion.trains else finish_despite_sigterm():
        return _promote(config, experiment, cohort, rows, console, last_start, on_promoted)


def _promote(
    config: SearchConfig,
    experiment: ExperimentRecord,
    cohort: Cohort,
    rows: list[TrialRow],
    console: Console,
    last_start: Deadline | None,
    on_promoted: Callable[[ModelMetrics], None],
) -> int:
    settings = default_settings(config, cohort)
    try:
        sides = SplitPatients(train=cohort.train_patients, val=cohort.val_patients, test=cohort.test_patients)
        patients, training = (*sides.train, *sides.val, *sides.test), config.promotion.trains
        with _explained_bad_files(config), open_task_runner(config, patients, training=training) as tasks:
            say("Promoting: scoring the best checkpoints again on the validation patients.")
            candidates = _candidates(config, cohort, rows, settings, tasks)
            final, folds, retrainer = None, None, Retrainer(config, cohort, settings, tasks)
            if config.promotion.folds:
                say(f"Training the candidates again in {config.promotion.folds} folds, until the best is known.")
                candidates, folds = race(candidates, retrainer)
            if config.promotion.final_seeds:
                final = _train_final(candidates[0], retrainer, last_start)
            say(f"Exporting {candidates[0].name} and scoring it on the test patients.")
            task = partial(write_best_folder, config=config, settings=settings, final=final, cross_validation=folds)
            metrics = tasks.run(task, candidates, rows, experiment, config.folder.resolve(), sides)
    except NothingToPromote as error:
        report = write_report(config.folder, note=f"No model was promoted: {error}")
        print(f"nothing to promote: {error}; see {report}", file=sys.stderr)
        return 1
    except Exception as error:
        write_report(config.folder, note=f"No model was promoted: {error}")
        raise
    if problem := _track(config, candidates[0].row):
        print(f"note: {problem}", file=sys.stderr)
    on_promoted(metrics)
    write_report(config.folder)
    print_summary(config.folder, rows, metrics, console)
    return 0


@contextmanager
def _explained_bad_files(config: SearchConfig) -> Iterator[None]:
    """Say how to go on after files have vanished or changed since the search read them all.

    Raises:
        DataError: A file of a patient cannot be used.
    """
    try:
        yield
    except BadFiles as error:
        raise DataError(
            f"{config.name} was not promoted, because a file of the patients cannot be used any more "
            f"({error.problems[0]}); its trials are kept. When the files are back, or with --data NEWPATH, go on: "
            f"{format_command('search.promote', config.folder)}"
        ) from error


def _track(config: SearchConfig, winner: TrialRow) -> str | None:
    """Make the model an artifact of the winner's W&B run; return why that failed, or None if it did not."""
    space, best = config.search_space, config.folder / BEST_FOLDER
    return track_model(best, winner, tracking_of(config), space=space, searcher=config.searcher)


def _parse(argv: Sequence[str] | None) -> SearchConfig:
    """Return the config of the experiment, as changed by the command line.

    Raises:
        UserError: There is no such experiment, or an option is not legal.
    """
    prog = "python -m search.promote"
    arguments = parse_arguments(Arguments, argv, prog=prog)
    recorded = recorded_config(sync_down(arguments.out / arguments.name, light=True))
    # The command line is parsed again with the options of the search as defaults.
    default = replace(arguments, promotion=recorded.promotion)
    arguments = parse_arguments(Arguments, argv, prog=prog, default=default)
    return replace(recorded, data=arguments.data or recorded.data, promotion=arguments.promotion)


def _candidates(
    config: SearchConfig, cohort: Cohort, rows: list[TrialRow], settings: Settings, tasks: TaskRunner
) -> list[Candidate]:
    """Return the candidates, the winner first.

    Raises:
        NothingToPromote: No trial has a checkpoint that can be read.
    """
    scored = partial(
        rescore,
        settings=settings,
        num_candidates=config.promotion.candidates,
        objectives=config.objective,
        dice_tolerance=config.dice_tolerance,
        default_trial=config.default_trial,
        own=own_networks(config.search_space),
    )
    found, skipped = tasks.run(scored, rows, config.folder.resolve(), cohort.val_patients)
    for problem in skipped:
        print(f"note: {problem}", file=sys.stderr)
    num_others = sum(bool(row.epochs) and row.number != config.default_trial for row in rows)
    candidates = rank_by(config, found, num_compared=num_others)
    if config.promotion.ensemble > 1 and not config.promotion.final_seeds:
        candidates = tasks.run(with_ensemble, candidates, config.promotion.ensemble, cohort.val_patients, settings)
    return candidates


def _train_final(winner: Candidate, retrainer: Retrainer, last_start: Deadline | None) -> FinalNetworks:
    """Train the winner's configuration again, and print a note for each network that is left out."""
    count = retrainer.config.promotion.final_seeds
    say(f"Training {winner.row.id} again on all training and validation patients, with {count} seed(s).")
    final = train_with_seeds(winner, retrainer, last_start)
    for problem in final.record.left_out:
        print(f"note: {problem}", file=sys.stderr)
    return final


if __name__ == "__main__":
    sys.exit(main())
