"""`python -m search.tune`: from a folder of MRI slices to an exported model. `run` has all steps in order."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from data.arguments import parse_arguments
from data.command import run_command
from search import warm_start
from search.cluster.capacity.node_usage import cluster_nodes, describe_other_jobs
from search.cluster.daemons import watch_daemons
from search.cluster.engine import run_trials
from search.cluster.plan_table import print_plan
from search.cluster.session import ray_session
from search.cluster.signals import sigterm_as_interrupt
from search.cohort import read_cohort
from search.config import SearchConfig
from search.console import console
from search.experiment import (
    check_changes,
    check_fingerprint,
    check_folder,
    exclusive_writer,
    open_experiment,
    recorded_config,
    resumable_errors,
)
from search.planning.budgeted_search import PLANNED, BudgetKeeper
from search.planning.preflight import check_networks
from search.presets import PRESETS, fit_to, named
from search.promote import promote
from search.promotion.folds import check_folds
from search.record.experiment_record import WarmStart, read_experiment
from search.record.trials import INTERRUPTED
from search.result import Result, read_result
from search.space.configs import check_effect
from search.space.named import SPACES
from search.space.sweep_file import read_sweep
from search.storage.download import sync_down
from search.storage.working_folder import format_command, parse_folder, storage_path_of

HELP = """Search U-Net configurations for tumour segmentation, and export the best as a model.

Begin with a preset to change the defaults below: `smoke` (a first look, in two minutes), `workstation` (one GPU, or a
night on a CPU) or `cluster`, as in `python -m search.tune workstation --data kaggle_3m`. `--budget 8h` takes the place
of their numbers of trials and epochs. With RAY_ADDRESS set, the search runs on that Ray cluster. `--resume NAME`
continues a search that was interrupted or killed."""


def run(config: SearchConfig) -> Result:
    """Run a search, promote its best trial, and return the result.

    The search runs on the Ray cluster that the environment variable RAY_ADDRESS names, else on this machine. Ctrl-C
    ends the trials, and the best so far is promoted; `resume` continues them.

    Raises:
        UserError: The data, a folder, a bucket, the cluster or an option is not as it must be.
    """
    keeper, config = BudgetKeeper(), named(config)
    check_folder(config)
    if not config.resume:
        config.splitting.check()
    known = WarmStart() if config.resume else warm_start.gather(config)
    recorded = read_experiment(config.folder).data.split if config.resume else None
    cohort = read_cohort(config, recorded=recorded)
    check_folds(config, cohort)
    if config.resume:  # so that a mistake is reported before Ray starts
        check_fingerprint(read_experiment(config.folder), config, cohort)
        keeper.resume(config)
    remedy = f"--resume {config.name} continues it" if config.resume else "start it again"
    with ray_session(remedy, out=storage_path_of(config.out)) as logs:
        with watch_daemons(remedy):
            others = describe_other_jobs(cluster_nodes())  # before the plan, which measures something on the cluster
            asked, (config, lanes), fit = config, keeper.plan(config, cohort), None
            if not config.resume:
                config, fit = check_networks(config, cohort, lanes)
                if config != asked:  # the schedule follows from the budget, or the space from the memory
                    known = warm_start.gather(config)
        print_plan(config, cohort, lanes, console, others=others, logs=logs, memory=str(fit or ""))
        if config.dry_run:
            return Result(folder=config.folder)
        with resumable_errors(config.folder), open_experiment(config, cohort, lanes, known) as experiment:
            rows = run_trials(keeper.with_time_left(config), lanes, cohort.train_pack, cohort.val_pack, logs=logs)
    with resumable_errors(config.folder), exclusive_writer(config.folder):
        is_interrupted = any(row.error == INTERRUPTED for row in rows)
        config = _without_training(config) if is_interrupted else keeper.with_final_seeds(config, cohort, rows)
        record, last_start = partial(keeper.record, config, experiment), keeper.last_start(config, cohort, rows)
        status = promote(config, experiment, cohort, rows, console, last_start=last_start, on_promoted=record)
    return read_result(config.folder) if status == 0 else Result(folder=config.folder, rows=tuple(rows))


def resume(folder: Path | str, **changes: Any) -> Result:
    """Continue the search in an experiment's folder, however it ended, and return the result.

    Args:
        folder: As in `search.load`.
        changes: Fields of SearchConfig that are different from now on, such as `time_budget_seconds`.

    Raises:
        UserError: There is no such experiment, or a field was changed that must stay the same, so that trials can be
            compared.
    """
    recorded = recorded_config(sync_down(parse_folder(folder), light=True))
    config = replace(recorded, resume=recorded.name, **changes)
    check_changes(config, recorded)
    return run(config)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a search; return 0 with a promoted model, 1 with nothing to promote, 2 after a mistake of the user."""
    return run_command(_main, argv, interrupted="--resume NAME continues a search that had begun")


def _main(argv: Sequence[str]) -> int:
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    with sigterm_as_interrupt():
        config = parse(argv)
        result = run(config)
    return 0 if result.best or config.dry_run else 1


def parse(argv: Sequence[str]) -> SearchConfig:
    """Return the config of a command line: a preset, or the experiment to resume, changed by options.

    Raises:
        UserError: An option has a value that is not legal. (tyro itself ends on unknown options, with status 2.)
    """
    name, *options = argv if argv and argv[0] in PRESETS else ("smoke", *argv)
    options = [*_options_of_sweep(options), *options]
    given = {option[2:].partition("=")[0].replace("-", "_") for option in options if option.startswith("--")}
    config = _read_options(options, fit_to(PRESETS[name](), given))
    check_effect(config.search_space, given)
    given &= {*PLANNED}
    if not config.resume:
        return replace(named(config), given=tuple(sorted(given)))
    recorded = recorded_config(sync_down(config.out / config.resume, light=True))
    config = replace(_read_options(options, recorded), given=tuple(sorted({*recorded.given} | given)))
    check_changes(config, recorded)
    return config


def _options_of_sweep(options: Sequence[str]) -> list[str]:
    """Return the options that the sweep of `--space` asks for, and print a note for what is not done as it says."""
    spaces = [value for option, value in pairwise([*options, ""]) if option == "--space"]
    spaces += [option.removeprefix("--space=") for option in options if option.startswith("--space=")]
    if not spaces or spaces[-1] in SPACES:
        return []
    sweep = read_sweep(spaces[-1])
    for note in sweep.notes:
        print(f"note: {note}", file=sys.stderr)
    return [f"--{name.replace('_', '-')}={value}" for name, value in sweep.options.items()]


def _read_options(options: Sequence[str], default: SearchConfig) -> SearchConfig:
    return parse_arguments(SearchConfig, options, prog="python -m search.tune", default=default, description=HELP)


def _without_training(config: SearchConfig) -> SearchConfig:
    """Return the config of a promotion that trains nothing, because a person has ended the search."""
    wanted = config.promotion
    if not wanted.trains:
        return config
    print(
        f"note: the final seeds and folds are left out; {format_command('search.promote', config.folder)} trains them",
        file=sys.stderr,
    )
    return replace(config, promotion=replace(wanted, final_seeds=0, folds=0))


if __name__ == "__main__":
    sys.exit(main())
