"""All uses of private names of Ray Tune; see ray_internals.py."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.exceptions import RayTaskError
from ray.train._internal.checkpoint_manager import _CheckpointManager
from ray.train._internal.session import _TrainingResult
from ray.tune import Checkpoint, Trainable


def next_checkpoint_name(trainable: Trainable) -> str:
    """Return the name of a trainable's next checkpoint folder, and advance Tune's count of checkpoints.

    With `to_saved_checkpoint` this replaces `Trainable.save`, which writes to a scratch folder, copies it, and removes
    it. For the 90 MB of a deep U-Net that takes up to half a second an epoch, and writing once takes a tenth of that
    (tests/benchmarks/LOG.md). Tune has no hook that avoids the copy.
    """
    storage = trainable._storage
    assert storage is not None, "Tune gives every trainable its storage"
    storage._update_checkpoint_index({})
    return storage.checkpoint_dir_name


def to_saved_checkpoint(trainable: Trainable, checkpoint: Checkpoint | None) -> _TrainingResult:
    """Return the object that `Trainable.save` returns for a checkpoint, or for None if no checkpoint was written."""
    return _TrainingResult(checkpoint=checkpoint, metrics=dict(trainable._last_result or {}))


@dataclass(frozen=True, kw_only=True)
class TrialError:
    """The error that ended one of Tune's trials."""

    text: str
    """The message; "" if the trial ended without one."""

    cause: BaseException | None
    """The exception that the trainable raised; None if it could not be sent to the driver."""


def read_trial_error(trial: Any) -> TrialError:
    """Return the error that ended one of Tune's trials.

    The public `Trial.get_error` reads a copy, which Tune makes only after it has called schedulers and callbacks.
    """
    text, cause = "", None
    if trial.error_file and Path(trial.error_file).exists():
        text = Path(trial.error_file).read_text()
    if trial.pickled_error_file and Path(trial.pickled_error_file).exists():
        error = pickle.loads(Path(trial.pickled_error_file).read_bytes())
        cause = error.cause if isinstance(error, RayTaskError) else error
    return TrialError(text=text, cause=cause)


def forget_results(trial: Any) -> None:
    """Free what Tune keeps of one of its trials that has ended: results, checkpoints, statistics of each metric, JSON.

    Tune keeps it until the search ends and has no setting against that. Nothing reads it: the coordinator has the
    epochs, and a search is resumed from its own log (tests/benchmarks/LOG.md has what this saves).
    """
    metadata = trial.run_metadata
    metadata.last_result, metadata.metric_analysis, metadata.metric_n_steps = {}, {}, {}
    metadata.checkpoint_manager = _CheckpointManager(metadata.checkpoint_manager.checkpoint_config)
    trial._state_json = metadata._cached_json = "{}"  # else Tune makes them again, and keeps them, too
