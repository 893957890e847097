"""The scores of the test patients, which are measured once for each promotion."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from data.patient import Patient
from model.inference.volume import Network
from model.scoring.assess import assess
from model.scoring.evaluate import evaluate
from model.scoring.notebook_metrics import training_accuracy
from model.scoring.scores import AssessmentSummary, PatientScore, ScoreSummary
from model.scoring.summary import summarise
from model.settings import Settings
from search.promotion.overlays import draw_test_patients
from search.record.codec import without_nan
from search.record.files import BEST_FOLDER, SCORINGS_FILE
from search.record.jsonl import append_line, read_lines


@dataclass(frozen=True, kw_only=True)
class SplitPatients:
    """The patients of each side of the split."""

    train: Sequence[Patient]
    val: Sequence[Patient]
    test: Sequence[Patient]


@dataclass(frozen=True, kw_only=True)
class FinalScores:
    """What metrics.json says of the test patients."""

    test: ScoreSummary
    test_patients: tuple[PatientScore, ...]
    assessment: AssessmentSummary
    num_test_scorings: int
    """How often they have been scored in this experiment, this time included."""

    pictures: dict[str, str]
    """Files of the experiment by caption."""


def score_test_patients(
    network: Network, patients: SplitPatients, settings: Settings, *, winner: str, experiment: Path, folder: Path
) -> FinalScores:
    """Return the scores of the test patients, after recording that they were scored, and drawing some of them.

    Args:
        network: The promoted one.
        patients: Of each side of the split; the accuracy on some training patients is measured too.
        settings: How the network predicts.
        winner: The name of the promoted candidate.
        experiment: The experiment's folder.
        folder: Where the model is written.
    """
    assessment = assess(network, patients.test, settings=settings)
    # As many as there are test patients, which is enough for a number that nobody should rely on.
    trained_on = evaluate(network, patients.train[: len(patients.test)], settings=settings)
    test, further = summarise(assessment.scores), assessment.summary()
    return FinalScores(
        test=test,
        test_patients=tuple(assessment.scores),
        assessment=replace(further, as_notebooks=(*further.as_notebooks, training_accuracy(trained_on))),
        num_test_scorings=_record_scoring(experiment, winner, test),
        pictures=_draw(network, patients.test, assessment.scores, folder, settings),
    )


def _record_scoring(experiment: Path, winner: str, test: ScoreSummary) -> int:
    """Record that the test patients were scored, and return how often they have been."""
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    scoring = {"time": now, "winner": winner, "dice": test.dice.mean}
    append_line(experiment / SCORINGS_FILE, without_nan(scoring), durable=True)
    return len(read_lines(experiment / SCORINGS_FILE))


def _draw(
    network: Network, patients: Sequence[Patient], scores: Sequence[PatientScore], folder: Path, settings: Settings
) -> dict[str, str]:
    """Draw some of the test patients; return the pictures' paths within the experiment by caption."""
    pictures = draw_test_patients(network, patients, scores, folder / "overlays", settings=settings)
    return {caption: str(Path(BEST_FOLDER) / path.relative_to(folder)) for caption, path in pictures.items()}
