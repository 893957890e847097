"""Which segmentation of a study is that of the tumour, and which series share its voxels."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from data.errors import BadFiles, Problem
from data.printable import some
from data.readers.dicom.segmentations.contours import read_contours
from data.readers.dicom.segmentations.placement import place_frames
from data.readers.dicom.segmentations.tumour import tumour_numbers
from data.readers.dicom.series.series import Series
from data.readers.dicom.series.studies import Segmentation, Study
from data.readers.truth import is_tumour, trust
from data.readers.volumes.cases.names import SEGMENTATION_FOLDERS, parse
from data.readers.volumes.formats.grid import Grid, difference, to_grid
from data.readers.volumes.formats.raw import without_values
from data.readers.volumes.formats.table import VOLUMES, format_of

PATTERN_HELP = (
    "Say which by --segmentation PATTERN, which may match the names of segments or ROIs, a file's name or path, or the "
    "description of its series"
)


@dataclass(frozen=True, kw_only=True)
class Segmented:
    """A study with the segmentation of its tumour."""

    study: Study
    segmentation: Segmentation
    numbers: tuple[int, ...]
    """The segments or ROIs that are the tumour; empty for a volume, of which all values may be."""

    series: tuple[Series, ...]
    """The series on whose voxels the segmentation lies."""


def choose_segmentations(
    studies: Sequence[Study],
    pattern: str | None,
    problems: list[Problem],
    warnings: list[str],
    *,
    trust_voxels: bool = False,
) -> list[Segmented]:
    """Return the studies that have one segmentation of a tumour; say why the others have none."""
    chosen = []
    failed: dict[str, list[Study]] = defaultdict(list)
    for study in studies:
        found = candidates(study, pattern)
        if len(found) == 1:
            segmentation, numbers = found[0]
            try:
                series = series_under(segmentation, study.series, trust_voxels=trust_voxels)
            except BadFiles as error:
                problems += error.problems
                continue
            chosen.append(Segmented(study=study, segmentation=segmentation, numbers=numbers, series=series))
        else:
            failed["several" if found else "unclear" if study.segmentations else "none"].append(study)
    problems += [_problem(kind, failed[kind]) for kind in ("several", "unclear") if failed[kind]]
    _say_none(failed["none"], {one.study.person for one in chosen}, problems, warnings)
    if nowhere := [one for one in chosen if not one.series]:
        problems.append(_lies_nowhere(nowhere))
    return [one for one in chosen if one.series]


def candidates(study: Study, pattern: str | None) -> list[tuple[Segmentation, tuple[int, ...]]]:
    """Return the segmentations that may be the one of the tumour, those that are trusted most, with its labels."""
    found = []
    if pattern is not None:
        for one in study.segmentations:
            if numbers := tumour_numbers(one.labels, pattern):
                found.append((one, numbers))
    for one in study.segmentations if not found else ():
        if pattern is not None and not _matches(one, study, pattern):
            continue
        numbers = tumour_numbers(one.labels)
        stem = VOLUMES.known_stem(one.path.name) or ""
        is_volume = one.header is None and (pattern is not None or is_tumour(parse(stem).role))
        if numbers or is_volume:
            found.append((one, numbers))
    ranks = [trust(f"{one.path.parent.name}/{one.path.name} {one.description}") for one, _ in found]
    return [one for one, rank in zip(found, ranks, strict=True) if rank == max(ranks)]


def _matches(segmentation: Segmentation, study: Study, pattern: str) -> bool:
    path, wanted = segmentation.path, pattern.lower()
    below = path.relative_to(study.home) if path.is_relative_to(study.home) else path
    texts = (path.name, str(below), str(path), segmentation.description)
    return any(fnmatchcase(text.lower(), wanted) for text in texts)


def series_under(
    segmentation: Segmentation, series: Sequence[Series], *, trust_voxels: bool = False
) -> tuple[Series, ...]:
    """Return the series on whose voxels a segmentation lies; those that are no volume are left out.

    Raises:
        BadFiles: The segmentation is a file that cannot be read.
    """
    usable, header = [one for one in series if not one.problem], segmentation.header
    if header is None:
        raw = format_of(segmentation.path).read_geometry(segmentation.path)
        grid = to_grid(segmentation.path, raw)
        same = [one for one in usable if not difference(grid, grid_of(one), "")]
        same += [one for one in usable if trust_voxels and one not in same and one.shape == raw.values.shape[:3]]
    elif header.kind == "segments":
        size = (header.columns, header.rows)
        same = [one for one in usable if header.frames and place_frames(header.frames, size, one)]
    else:
        drawn_on = [one for one in usable if one.uid in header.references or one.instance_uids & header.references]
        drawn_on = drawn_on or [one for one in usable if _has_slices_of(segmentation, one)]
        grids = [grid_of(one) for one in drawn_on]
        same = [one for one in usable if any(not difference(grid_of(one), grid, "") for grid in grids)]
    return tuple(same)


def grid_of(series: Series) -> Grid:
    """Return the grid of a series, without its values."""
    return to_grid(series.path, without_values(series.shape, series.matrix))


def _has_slices_of(segmentation: Segmentation, series: Series) -> bool:
    """Return whether all outlines lie in slices of a series; asked where they do not say which one they are of."""
    try:
        read_contours(segmentation.path, series, tuple(segmentation.labels))
    except BadFiles:
        return False
    return True


def _problem(kind: str, studies: Sequence[Study]) -> Problem:
    first = studies[0]
    what = {
        "several": "have several segmentations of a tumour",
        "unclear": "have segmentations whose names do not say that they are of a tumour",
    }
    shown = some(map(str, first.segmentations), most=4)
    reason = f"{len(studies)} case(s) {what[kind]}: {_ids(studies)}; {first.id} has {shown}. {PATTERN_HELP}"
    return Problem(path=first.segmentations[0].path, reason=reason)


def _say_none(studies: Sequence[Study], persons: set[str], problems: list[Problem], warnings: list[str]) -> None:
    """Say which studies have no segmentation: a problem, unless another visit of the person has one."""
    missing = [study for study in studies if study.person not in persons]
    visits = [study for study in studies if study.person in persons]
    if missing:
        reason = (
            f"{len(missing)} case(s) have no segmentation (DICOM SEG, RTSTRUCT, or a volume such as NAME_seg.nii.gz "
            f"beside them): {_ids(missing)}; add it, or move them away"
        )
        problems.append(Problem(path=missing[0].home, reason=reason))
    if visits:
        warnings.append(
            f"{len(visits)} visit(s) have no segmentation, though others of the person have one, and are left out: "
            f"{_ids(visits)}"
        )


def _lies_nowhere(cases: Sequence[Segmented]) -> Problem:
    first = cases[0]
    series = some(
        (f"{one}, which {one.problem}" if one.problem else str(one) for one in first.study.series),
        most=4,
    )
    reason = (
        f"{len(cases)} segmentation(s) lie on the voxels of no series: {_ids([one.study for one in cases])}; "
        f"{first.study.id} has {series}. Add the series that it was drawn on, or resample it to one of these; if it "
        "has the shape of one and only its place is wrong, give --trust-voxels"
    )
    return Problem(path=first.segmentation.path, reason=reason)


def _ids(studies: Sequence[Study]) -> str:
    return some((study.id for study in studies), most=3)


def may_be_segmentation(path: Path, pattern: str | None) -> bool:
    """Return whether a volume in a tree of DICOM is named as a segmentation, or matches the pattern of one."""
    stem = VOLUMES.known_stem(path.name)
    if stem is None:
        return False
    is_named = parse(stem).is_segmentation or SEGMENTATION_FOLDERS.fullmatch(path.parent.name) is not None
    return is_named or (pattern is not None and fnmatchcase(path.name.lower(), pattern.lower()))
