"""`python -m search.tune`: from a folder of MRI slices to an exported model. The program's story, on one screen."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import replace

import tyro

from search import warm_start
from search.cluster.capacity.autoscaler import plan_on_cluster
from search.cluster.capacity.node_usage import cluster_nodes, describe_other_jobs
from search.cluster.engine import ray_cluster, run_trials
from search.cluster.plan import print_plan
from search.cluster.stop import sigterm_as_interrupt
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
)
from search.presets import PRESETS
from search.promote import promote
from search.promotion.retraining import check_folds
from search.record.files import read_experiment
from search.record.trials import INTERRUPTED, TrialRow
from search.storage.download import sync_down

HELP = """Search U-Net configurations for tumour segmentation, and export the best as a model.

Begin with a preset to change the defaults below: `smoke` (these: minutes on a laptop), `workstation` (one GPU, or a
night on a CPU) or `cluster`, as in `python -m search.tune workstation --data kaggle_3m`. With RAY_ADDRESS set, the
search runs on that Ray cluster. `--resume NAME` goes on with a search that was interrupted or killed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a search; return 0 with a promoted model, 1 with nothing to promote, 2 on a mistake in what was asked."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    try:
        with sigterm_as_interrupt():
            return _run(parse(sys.argv[1:] if argv is None else argv))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; a search that had begun goes on with --resume NAME", file=sys.stderr)
        return 130


def parse(argv: Sequence[str]) -> SearchConfig:
    """Return the config of a command line: a preset, or the experiment to resume, changed by options.

    Raises:
        ValueError: An option has a value that is not legal. (tyro itself ends on unknown options, with status 2.)
    """
    name, *options = argv if argv and argv[0] in PRESETS else ("smoke", *argv)
    config = _read_options(options, PRESETS[name]())
    if not config.resume:
        return config.named()
    recorded = recorded_config(sync_down(config.out / config.resume, light=True))
    config = _read_options(options, recorded)
    check_changes(config, recorded)
    return config


def _read_options(options: Sequence[str], default: SearchConfig) -> SearchConfig:
    return tyro.cli(SearchConfig, args=options, default=default, description=HELP, prog="python -m search.tune")


def _run(config: SearchConfig) -> int:
    check_folder(config)
    known = {} if config.resume else warm_start.gather(config)
    cohort = read_cohort(config)
    check_folds(config, cohort)
    if config.resume:  # a mistake is said before a Ray is started
        check_fingerprint(read_experiment(config.folder), config, cohort)
    with ray_cluster() as logs:
        lanes = plan_on_cluster(config)
        print_plan(config, cohort, lanes, console, others=describe_other_jobs(cluster_nodes()), logs=logs)
        if config.dry_run:
            return 0
        with open_experiment(config, cohort, lanes, known) as experiment:
            rows = run_trials(config, lanes, cohort.train_pack, cohort.val_pack, logs=logs)
    with exclusive_writer(config.folder):
        return promote(_without_training(config, rows), experiment, cohort, rows, console)


def _without_training(config: SearchConfig, rows: list[TrialRow]) -> SearchConfig:
    """Return the config of a promotion that trains nothing, if somebody has ended the search."""
    wanted = config.promotion
    if not (wanted.final_seeds or wanted.folds) or all(row.error != INTERRUPTED for row in rows):
        return config
    print(f"note: nothing is trained any more; python -m search.promote {config.name} does it", file=sys.stderr)
    return replace(config, promotion=replace(wanted, final_seeds=0, folds=0))


if __name__ == "__main__":
    sys.exit(main())
