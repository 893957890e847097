"""Which series of each study become the channels: one of each modality, on the voxels of the segmentation."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from data.errors import Problem
from data.printable import some
from data.readers.dicom.segmentations.choice import Segmented, grid_of
from data.readers.dicom.series.series import Series
from data.readers.reader import LayoutOptions
from data.readers.volumes.cases.case import Case
from data.readers.volumes.cases.channels import parse_renames, shared_modalities
from data.readers.volumes.cases.names import family_of
from data.readers.volumes.formats.grid import difference

Chosen = tuple[Segmented, tuple[Series, ...]]


def choose_channels(
    cases: Sequence[Segmented], options: LayoutOptions, problems: list[Problem], warnings: list[str]
) -> tuple[tuple[str, ...], list[Chosen]]:
    """Return the names of the channels, and the cases that have all of them, each with its series in that order.

    Without `--modalities`, the channels are what every case has on the voxels of its segmentation. The cases that lack
    a channel are added to problems, those with the same cause in one.
    """
    names = tuple(name.lower() for name in options.modalities)
    if cases and not names:
        names, sentence = shared_modalities([(_as_case(case), PurePosixPath()) for case in cases])
        warnings.append(f"{sentence}. Only series on the voxels of the segmentation count")
        if not names:
            problems.append(Problem(path=cases[0].study.home, reason=f"{sentence}. {_shown(cases[0])}"))
            return (), []
    renames = parse_renames(options.modality)
    chosen, failed = [], defaultdict(list)
    for case in cases:
        found = {name: find_series_of(renames.get(name, name), case.study.series) for name in names}
        usable = {name: [one for one in series if one in case.series] for name, series in found.items()}
        wrong = next((name for name in names if len(usable[name]) != 1), None)
        if wrong is None:
            chosen.append((case, tuple(usable[name][0] for name in names)))
        else:
            failed[wrong, _cause(found[wrong], usable[wrong])].append((case, usable[wrong] or found[wrong]))
    problems += [_problem(name, cause, which) for (name, cause), which in failed.items()]
    return names, chosen


def find_series_of(wanted: str, series: Iterable[Series]) -> list[Series]:
    """Return the series that a slug names, or else those whose role means what is wanted, such as t1ce for t1c."""
    series = list(series)
    named = [one for one in series if one.slug == wanted]
    return named or [one for one in series if family_of(one.role) == family_of(wanted)]


def _as_case(case: Segmented) -> Case:
    """Return the roles that a case has on the voxels of its segmentation, as names of volumes are compared."""
    roles = {one.role: PurePosixPath(one.uid) for one in case.series}
    return Case(id=case.study.id, name=case.study.person, home=PurePosixPath(), images=roles)


def _cause(found: Sequence[Series], usable: Sequence[Series]) -> str:
    return "several" if len(usable) > 1 else "elsewhere" if found else "none"


def _problem(name: str, cause: str, cases: Sequence[tuple[Segmented, Sequence[Series]]]) -> Problem:
    """Return the problem of cases that lack one channel for one cause."""
    first, series = cases[0]
    count, ids = f"{len(cases)} case(s)", some((case.study.id for case, _ in cases), most=3)
    if cause == "several":
        reason = (
            f"{count} have several series of {name}: {ids}; {first.study.id} has {some(map(str, series))}. Say "
            f"which by --modality, such as --modality {name}={series[0].slug}"
        )
    elif cause == "elsewhere":
        reason = (
            f"{count} have {name} only on other voxels than those of the segmentation: {ids}; of {first.study.id}, "
            f"{_why_elsewhere(series[0], first)}. {_shown(first)}. Take those by --modalities, or resample the others"
        )
    else:
        all_slugs = some((one.slug for one in first.study.series), most=12)
        reason = (
            f"{count} have no {name}: {ids}; {first.study.id} has {all_slugs}. Add the series, take others by "
            f"--modalities, or say what it is called, such as --modality {name}={first.study.series[0].slug}"
        )
    return Problem(path=first.study.home, reason=reason)


def _why_elsewhere(series: Series, case: Segmented) -> str:
    if series.problem:
        return f"{series} {series.problem}"
    first = case.series[0]
    return f"{series} {difference(grid_of(series), grid_of(first), first.slug)}"


def _shown(case: Segmented) -> str:
    return f"On the voxels of the segmentation of {case.study.id} are {some(map(str, case.series), most=6)}"
