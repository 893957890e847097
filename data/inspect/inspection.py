"""An inspection of a data source: its numbers, and what is odd about it."""

from collections.abc import Sequence
from dataclasses import dataclass

from data.errors import BadFiles
from data.inspect.duplicates import exact_duplicates, near_duplicates
from data.inspect.facts import facts
from data.inspect.findings import Finding, find
from data.inspect.summarise import read_summaries
from data.inspect.summary import PatientSummary
from data.patient import Patient, count_notes
from data.source import Source
from data.splitting.options import SplitOptions
from data.splitting.split import MIN_PERSONS, SIDES, Member


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


def inspect_source(name: str, source: Source, options: SplitOptions, *, seed: int) -> Inspection:
    """Return the inspection of a source that was found with `skip_bad_files`. Every patient is read once.

    Args:
        options: How the search would split the patients.
        seed: Seed of the split, and of the slices that the page shows.

    Raises:
        BadFiles: No file can be used.
    """
    channels = tuple(f"channel {one}" if one.isdigit() else one for one in source.channel_names)
    patients, summaries, bad = read_summaries(source.patients, channels)
    bad = (*source.skipped, *bad)
    if not summaries:
        raise BadFiles(f"{name} holds no file that can be used:", bad, num_listed=len(bad))
    exact, near = exact_duplicates(summaries), near_duplicates(summaries)
    split, notes = _describe_split(patients, summaries, options, seed)
    return Inspection(
        name=name,
        warnings=(*source.warnings, *count_notes(one.notes for one in summaries), *notes),
        rows=facts(
            source.format,
            summaries,
            split=split,
            seed=seed,
            rule=source.rule,
            num_persons=len({patient.person for patient in patients}),
            exact=exact,
            near=near,
            num_bad=len(bad),
        ),
        findings=find(summaries, exact, near, bad),
        summaries=summaries,
        patients=patients,
        seed=seed,
    )


def _describe_split(
    patients: Sequence[Patient], summaries: Sequence[PatientSummary], options: SplitOptions, seed: int
) -> tuple[str, tuple[str, ...]]:
    """Return the size of each side as the search would split the patients, a line a side; and remarks about it."""
    members = [
        Member(id=patient.id, person=patient.person, group=patient.group, tumour_share=summary.tumour_share)
        for patient, summary in zip(patients, summaries, strict=True)
    ]
    if len({member.person for member in members}) < MIN_PERSONS:
        return f"needs at least {MIN_PERSONS} persons", ()
    found, notes = options.apply(members, seed=seed)
    lines = []
    for side in SIDES:
        ids = set(getattr(found, side))
        on_side = [summary for summary in summaries if summary.id in ids]
        persons = {member.person for member in members if member.id in ids}
        of = "" if len(persons) == len(on_side) else f" ({len(persons)} person(s))"
        slices, tumour = sum(len(one.numbers) for one in on_side), sum(one.num_tumour_slices for one in on_side)
        lines.append(f"{side}: {len(on_side)} patient(s){of}, {slices} slices, {tumour} with tumour")
    return "\n".join(lines), notes
