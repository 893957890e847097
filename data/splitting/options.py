"""The options of a split, which the search and the inspection of data share."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from data.errors import DataError
from data.legal import Range, check_legal
from data.splitting.split import Member, Split, check_fractions, split_patients
from data.splitting.split_file import match_persons, read_split_file


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """How patients are split into training, validation and test patients."""

    val_fraction: float = 0.2
    """Share of the persons on which trials are compared."""

    test_fraction: float = 0.2
    """Share of the persons that the search never sees. The promoted model is scored on them once."""

    split: str | None = None
    """File that says on which side patients are: JSON or CSV with an id and `train`, `val`, `test` or the number of a
    fold, an experiment's config.json, or nnU-Net's splits_final.json. Patients that it does not name fill up the sides.
    None: persons are drawn by a hash, and balanced by lesion volume and institution."""

    split_fold: Annotated[int, Range(at_least=0)] = 0
    """Fold to test on, if the file has folds. The next fold validates, the others train."""

    def check(self) -> None:
        """Refuse illegal fractions, and a file that cannot be read, before any work is done.

        Raises:
            UserError: A fraction or the fold is illegal, or the file is not understood.
        """
        check_legal(self)
        check_fractions(self.val_fraction, self.test_fraction)
        if self.split is None and self.split_fold:
            raise DataError(
                f"split_fold is {self.split_fold}, but there is no --split; name a file with folds, or leave "
                "--split-fold out"
            )
        if self.split is not None:
            read_split_file(Path(self.split), fold=self.split_fold)

    def apply(self, members: Sequence[Member], *, seed: int) -> tuple[Split, tuple[str, ...]]:
        """Return the split, and remarks about the file that a person should read.

        Raises:
            DataError: A fraction is illegal, the file cannot be used, or a side would be empty.
        """
        sides, notes = {}, ()
        if self.split is not None:
            sides, notes = match_persons(read_split_file(Path(self.split), fold=self.split_fold), members)
        split = split_patients(
            members, seed=seed, val_fraction=self.val_fraction, test_fraction=self.test_fraction, sides=sides
        )
        return split, notes
