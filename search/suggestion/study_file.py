"""The study that a search has written, opened to be looked at with Optuna."""

import json
from pathlib import Path
from typing import Any, NoReturn

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from data.errors import UserError
from data.machine.disk_errors import naming
from search.storage.working_folder import format_command


def read_study(file: Path) -> optuna.Study:
    """Return the study in a journal file. It follows the file while a search writes it, and never changes it.

    Raises:
        UserError: The file is missing, or is damaged.
    """
    if not file.is_file():
        raise UserError(
            f"there is no study {file}: a search writes it when its trials begin, and a dry run has none; if this "
            "folder is a copy, copy that file too"
        )
    try:
        storage = JournalStorage(_ReadOnlyFile(str(file)))
        [study] = storage.get_all_studies()  # by its place, because a person may have renamed the folder
    except (ValueError, KeyError) as error:
        command = format_command("search.tune", file.parent)
        raise UserError(f"{file} is damaged ({type(error).__name__}: {error}): {command} writes it anew") from error
    return optuna.load_study(study_name=study.study_name, storage=storage)


class StudyFile(JournalFileBackend):
    """The journal of a search that runs. Only its driver writes, so it needs no lock.

    Nor does it wait for the disk: if the machine crashes, the search writes the study again from its log.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add operations, one on each line."""
        lines = [json.dumps(log, separators=(",", ":")) + "\n" for log in logs]
        with naming(self._path), self._path.open("a") as file:
            file.write("".join(lines))


class _ReadOnlyFile(JournalFileBackend):
    def append_logs(self, logs: list[dict[str, Any]]) -> NoReturn:
        raise UserError(
            "the study of an experiment can only be read: to go on with it, add its trials to one of your own by "
            "optuna.create_study(directions=study.directions).add_trials(study.trials)"
        )
