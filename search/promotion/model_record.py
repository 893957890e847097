"""What metrics.json says of scores, from what the model room measured."""

from collections.abc import Sequence
from dataclasses import replace

from model.scoring.assess import Assessment
from model.scoring.evaluate import PatientScore
from model.scoring.notebook_metrics import NotebookMetric
from model.scoring.summary import summarise
from search.record.codec import from_json
from search.record.model_metrics import AssessmentRecord, FrontRecord, NotebookRecord
from search.record.objectives import pareto_front
from search.record.scores import PatientRecord, SummaryRecord
from search.record.trials import TrialRow


def summarise_patients(scores: Sequence[PatientScore]) -> SummaryRecord:
    """Return what metrics.json says of several patients together."""
    return from_json(SummaryRecord, summarise(scores).to_record(), "summary")


def patient_records(scores: Sequence[PatientScore]) -> tuple[PatientRecord, ...]:
    """Return what metrics.json says of each patient."""
    return tuple(PatientRecord(**vars(score)) for score in scores)


def assessment_record(assessment: Assessment, accuracy_in_training: NotebookMetric) -> AssessmentRecord:
    """Return what metrics.json says of an assessment, beside the scores."""
    record = from_json(AssessmentRecord, assessment.to_record(), "assessment")
    figure = NotebookRecord(**vars(accuracy_in_training))
    return replace(record, as_notebooks=(*record.as_notebooks, figure))


def front_records(rows: Sequence[TrialRow], objectives: Sequence[str]) -> tuple[FrontRecord, ...]:
    """Return the trials that no other dominates, with their objectives; none where there is but one objective."""
    if len(objectives) == 1:
        return ()
    return tuple(
        FrontRecord(
            trial=row.id,
            objectives={name: row.best_value(name) for name in objectives},
            checkpoint=row.checkpoint,
        )
        for row in pareto_front(rows, objectives)
    )
