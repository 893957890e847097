"""The notes at the top of the report: what a reader must know before the numbers."""

from search.coordination.trial_progress import Phase
from search.record.trials import INTERRUPTED
from search.report.snapshot import Snapshot, phase_of
from search.storage.working_folder import format_command


def notes_for_reader(snapshot: Snapshot, note: str | None) -> list[str]:
    """Return the notes, the most important first.

    Args:
        snapshot: What the experiment's folder says.
        note: A note of whoever writes the report, such as why nothing was promoted.
    """
    notes = [note] if note else []
    if note and snapshot.metrics:
        notes.append("The scores below are those of the model that was promoted before.")
    notes += _state_of_the_search(snapshot, has_note=note is not None)
    if snapshot.metrics and (scorings := snapshot.metrics.num_test_scorings) > 1:
        notes.append(
            f"The test patients were scored {scorings} times in this experiment. If any decision was based on those "
            "scores, they are too optimistic."
        )
    if skipped := snapshot.experiment.data.skipped:
        files = "1 file was" if len(skipped) == 1 else f"{len(skipped)} files were"
        notes.append(f"{files} excluded because of errors; see the end of this page.")
    return notes


def _state_of_the_search(snapshot: Snapshot, *, has_note: bool) -> list[str]:
    rows, notes = snapshot.rows, []
    promotion = format_command("search.promote", snapshot.folder)
    if snapshot.is_running:
        notes.append(
            "A search or a promotion is running. This page shows what the folder contained when it was written."
        )
    elif snapshot.metrics is None and not has_note:
        has_score = any(row.best_epoch for row in rows)
        notes.append(
            f"No model was promoted yet. To promote the best trial: {promotion}"
            if has_score
            else "No model was promoted, because no trial has a score."
        )
    if not snapshot.is_running and any(row.error == INTERRUPTED or phase_of(row) == Phase.INTERRUPTED for row in rows):
        resumption = format_command("search.tune", snapshot.folder)
        notes.append(f"The search was interrupted. To resume it: {resumption}")
    if snapshot.was_resumed_after_promotion:
        notes.append(f"The search was resumed after this model was promoted. To promote again: {promotion}")
    return notes
