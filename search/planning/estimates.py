"""Estimate what trainings and the promotion take on the machines of a search, from an epoch that was measured."""

from collections.abc import Sequence
from statistics import fmean, median

from search.cohort import Cohort
from search.config import SearchConfig
from search.planning.costs import Costs
from search.planning.measuring import MeasuredEpoch
from search.record.trials import TrialRow

EXPORT_SECONDS = 25.0
"""Whatever the data, this follows the trials: Ray stops and starts again, the model is exported twice, and the report
is written."""

RESCORING_COST = 2.0
"""Cost of scoring a slice for the promotion relative to validating it in training: the slice is read from its file, in
float32, and its mask is resized to the patient's own size."""

CHOICE_PASSES = 8
"""The promotion predicts the validation slices this often to choose how the winner predicts: plainly, and up to three
times with mirror images, which count double; once more for the comparison with the exported model."""

TEST_PASSES = 5
"""The same for the test slices: the test patients and as many training patients, with mirror images; and pictures."""


def find_costs(
    measured: MeasuredEpoch, config: SearchConfig, cohort: Cohort, num_lanes: int, spent_seconds: float
) -> Costs:
    """Return what things take on these machines."""
    slice_seconds = RESCORING_COST * measured.val_seconds / cohort.num_slices["val"]
    passes = config.promotion.candidates + 1 + (CHOICE_PASSES if config.promotion.choose else 1)
    val_slices, test_slices = passes * cohort.num_slices["val"], TEST_PASSES * cohort.num_slices["test"]
    return Costs(
        epoch_seconds=measured.seconds / config.workers_per_trial,
        num_lanes=num_lanes,
        num_workers=config.workers_per_trial,
        start_seconds=spent_seconds,
        promotion_seconds=EXPORT_SECONDS + (val_slices + test_slices) * slice_seconds,
        seed_seconds=(cohort.num_slices["val"] + test_slices) * slice_seconds,
        final_epoch_ratio=final_epoch_ratio(measured, cohort),
    )


def final_epoch_ratio(measured: MeasuredEpoch, cohort: Cohort) -> float:
    """Return what an epoch of a final training takes, relative to one of a trial.

    The length of an epoch follows from its slices with tumour (data/loaders.py).
    """
    tumour = cohort.num_tumour_slices
    growth = (tumour["train"] + tumour["val"]) / tumour["train"]
    return growth * (measured.seconds - measured.val_seconds) / measured.seconds


def measured_in_trials(config: SearchConfig, trained: Sequence[TrialRow]) -> MeasuredEpoch:
    """Return what an epoch on one worker takes by the slowest trial among the candidates, any of which may win."""
    seconds = max(fmean(epoch.seconds for epoch in row.epochs) for row in trained[: config.promotion.candidates])
    val_seconds = median(epoch.val_seconds or 0.0 for row in trained for epoch in row.epochs)
    return MeasuredEpoch(seconds=seconds * config.workers_per_trial, val_seconds=val_seconds * config.workers_per_trial)
