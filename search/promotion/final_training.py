"""The winning configuration, trained again on all patients but the test patients, with several seeds."""

from dataclasses import dataclass
from pathlib import Path

from model.segmentation_network import SegmentationNetwork
from search.config import SearchConfig
from search.planning.deadline import Deadline
from search.promotion.candidates import Candidate
from search.promotion.ranking import is_worse
from search.promotion.retraining import Retrainer, Retraining
from search.record.final_training import FinalTraining


@dataclass(frozen=True, kw_only=True)
class FinalNetworks:
    """The networks of the winning configuration that were trained on all training and validation patients."""

    networks: tuple[SegmentationNetwork, ...]
    """They become the model together. None if all were left out: then the winner's own network is the model."""

    files: tuple[Path, ...]
    """Their checkpoints."""

    record: FinalTraining


def train_with_seeds(winner: Candidate, retrainer: Retrainer, last_start: Deadline | None = None) -> FinalNetworks:
    """Train the winner's configuration on all training and validation patients, and return the networks.

    A network is left out if its training failed, or if it is worse on the validation patients, on which it was trained,
    than the winner, which has never seen them. The winner's own network is not among them: on LGG, their average was
    not better with a network that was trained on fewer patients (tests/benchmarks/LOG.md).

    Args:
        last_start: No training but the first begins after this moment, so that a budget is kept on
            machines that have become slower; None: all are trained.
    """
    wanted = _final_trainings(winner, retrainer.config, last_start)
    scored, failures = retrainer.train_and_score(wanted, retrainer.val_patients)
    late = {name: failure.reason for name, failure in failures.items() if not failure.has_begun}
    failed = {name: failure.reason for name, failure in failures.items() if failure.has_begun}
    left_out = [f"{name} is left out: its training failed: {reason}" for name, reason in failed.items()]
    left_out += [f"{name} is left out: {reason}" for name, reason in late.items()]
    left_out += [_say_worse(one, winner) for one in scored if is_worse(one, winner)]
    members = [one for one in scored if not is_worse(one, winner)]
    return FinalNetworks(
        networks=tuple(network for one in members for network in one.networks),
        files=tuple(file for one in members for file in one.files),
        record=FinalTraining(
            num_patients=len(retrainer.patients),
            epochs=wanted[0].epochs,
            networks=tuple(one.name for one in members),
            left_out=tuple(left_out),
            not_begun=tuple(late),
        ),
    )


def _final_trainings(winner: Candidate, config: SearchConfig, last_start: Deadline | None) -> list[Retraining]:
    epochs = config.promotion.final_epochs or config.max_epochs
    length = "" if epochs == config.max_epochs else f"-{epochs}epochs"
    return [
        Retraining(
            name=f"{winner.row.id}-trainval-seed{seed}{length}",
            row=winner.row,
            seed=seed,
            epochs=epochs,
            last_start=last_start if seed > config.seed + 1 else None,
        )
        for seed in range(config.seed + 1, config.seed + 1 + config.promotion.final_seeds)
    ]


def _say_worse(network: Candidate, winner: Candidate) -> str:
    return (
        f"{network.name} is left out: its mean Dice is {network.dice:.4f} on the validation patients, on which it was "
        f"trained, but that of {winner.name} is {winner.dice:.4f} without having seen them"
    )
