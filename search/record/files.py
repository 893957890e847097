"""What lies in an experiment's folder, by name: for those who read it without the machinery that wrote it."""

import json
from pathlib import Path
from typing import Any

from data.errors import UserError

CONFIG_FILE = "config.json"
TABLE_FILE = "trials.jsonl"
LOG_FILE = "events.jsonl"
STUDY_FILE = "optuna_journal.log"
LOCK_FILE = "lock"
REPORT_FILE = "report.html"
RAY_FOLDER = "ray"
BEST_FOLDER = "best"
METRICS_FILE = "metrics.json"
"""In `best/`."""

SCORINGS_FILE = "test_scorings.jsonl"
"""A line for every time that the test patients were scored."""


def read_experiment(folder: Path) -> dict[str, Any]:
    """Return what config.json says.

    Raises:
        ValueError: There is none.
    """
    try:
        experiment = json.loads((folder / CONFIG_FILE).read_text())
        return experiment | {"config": dict(experiment["config"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} is not an experiment of this program: {error!r}") from error
