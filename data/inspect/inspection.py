"""An inspection of a data source: its numbers, and what is odd about it."""

from collections.abc import Sequence
from dataclasses import dataclass

from data.errors import BadFiles
from data.inspect.duplicates import exact_duplicates, near_duplicates
from data.inspect.facts import facts
from data.inspect.findings import Finding, find
from data.inspect.summarise import read_summaries
from data.inspect.summary import PatientSummary
from data.patient import Patient
from data.source import Source
from data.split import MIN_PATIENTS, split_patients


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """How the search would split the patients."""

    seed: int = 0
    """Seed of the split, as for the search, and of the slices that the page shows."""

    val_fraction: float = 0.2
    """Share of the patients to validate on, as for the search."""

    test_fraction: float = 0.2
    """Share of the patients to test on, as for the search."""

    def check(self) -> None:
        """Refuse illegal fractions before any work is done.

        Raises:
            DataError: A fraction is illegal.
        """
        self.split(("any", "three", "patients"))

    def split(self, ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return the ids of the patients on each side: train, val and test."""
        found = split_patients(ids, seed=self.seed, val_fraction=self.val_fraction, test_fraction=self.test_fraction)
        return {"train": found.train, "val": found.val, "test": found.test}


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Everything that an inspection shows."""

    name: str
    """The data source, as the person named it."""

    warnings: tuple[str, ...]
    rows: list[tuple[str, str]]
    """Labels and numbers; see `data.inspect.facts`."""

    findings: list[Finding]
    summaries: tuple[PatientSummary, ...]
    patients: tuple[Patient, ...]
    """The patients of the summaries, in the same order, without the files that cannot be used."""

    seed: int


def inspect_source(name: str, source: Source, options: SplitOptions) -> Inspection:
    """Return the inspection of a source that was found with `skip_bad_files`. Every patient is read once.

    Raises:
        BadFiles: No file can be used.
    """
    channels = tuple(f"channel {one}" if one.isdigit() else one for one in source.channel_names)
    patients, summaries, bad = read_summaries(source.patients, channels)
    bad = (*source.skipped, *bad)
    if not summaries:
        raise BadFiles(f"{name} holds no file that can be used:", bad, num_listed=len(bad))
    exact, near = exact_duplicates(summaries), near_duplicates(summaries)
    return Inspection(
        name=name,
        warnings=source.warnings,
        rows=facts(
            source.format,
            summaries,
            split=_describe_split(summaries, options),
            seed=options.seed,
            exact=exact,
            near=near,
            num_bad=len(bad),
        ),
        findings=find(summaries, exact, near, bad),
        summaries=summaries,
        patients=patients,
        seed=options.seed,
    )


def _describe_split(summaries: Sequence[PatientSummary], options: SplitOptions) -> str:
    """Return the size of each side as the search would split the patients, a line a side."""
    if len(summaries) < MIN_PATIENTS:
        return f"needs at least {MIN_PATIENTS} patients"
    by_id = {summary.id: summary for summary in summaries}
    lines = []
    for side, ids in options.split(tuple(by_id)).items():
        members = [by_id[patient_id] for patient_id in ids]
        slices, tumour = sum(len(one.numbers) for one in members), sum(one.num_tumour_slices for one in members)
        lines.append(f"{side}: {len(members)} patient(s), {slices} slices, {tumour} with tumour")
    return "\n".join(lines)
