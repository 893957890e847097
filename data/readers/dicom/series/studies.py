"""Group the files of a tree into studies, which are visits of persons, and give each its segmentations."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data.errors import Problem
from data.readers.dicom.series.header import Header
from data.readers.dicom.series.series import Series, find_series


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """A file that may be the segmentation of a study."""

    path: Path
    description: str
    header: Header | None = None
    """The header of DICOM SEG or RTSTRUCT; None for a volume, such as NIfTI."""

    @property
    def labels(self) -> Mapping[int, str]:
        """The names of the segments or ROIs by the values that they get; empty for a volume."""
        return self.header.labels if self.header else {}

    def __str__(self) -> str:
        said = f' "{self.description}"' if self.description else ""
        named = f" with {', '.join(self.labels.values())}" if self.labels else ""
        return f"{self.path.name}{said}{named}"


@dataclass(frozen=True, kw_only=True)
class Study:
    """A visit of a person: all series of one study."""

    id: str
    """The person, with the date where a person has several studies."""

    person: str
    date: str
    institution: str
    home: Path
    """The deepest folder that holds all images of the study."""

    series: tuple[Series, ...]
    segmentations: tuple[Segmentation, ...] = ()


def find_studies(
    root: Path, headers: Sequence[Header], volumes: Iterable[Path], problems: list[Problem]
) -> tuple[Study, ...]:
    """Return the studies that have images, sorted by id, which is unique.

    Args:
        headers: The headers of all DICOM files below the root.
        volumes: Files of other formats that may be segmentations.
        problems: Segmentations that belong to no study are added.
    """
    groups: dict[tuple[str, str], list[Header]] = defaultdict(list)
    for header in headers:
        if header.kind == "image":
            groups[_person(root, header), header.study_uid or header.study_date].append(header)
    studies = [_study(person, group) for (person, _), group in groups.items()]
    studies = sorted(_with_ids(studies), key=lambda study: study.id)
    found: list[list[Segmentation]] = [[] for _ in studies]
    places = _places(studies, groups)
    for header in headers:
        if header.kind not in ("segments", "contours"):
            continue
        place = _of_header(header, _person(root, header), studies, places)
        segmentation = Segmentation(path=header.path, description=header.description, header=header)
        _add(segmentation, place, found, problems)
    for path in volumes:
        _add(Segmentation(path=path, description=""), _of_volume(path, studies), found, problems)
    return tuple(replace(study, segmentations=tuple(own)) for study, own in zip(studies, found, strict=True))


def _add(
    segmentation: Segmentation, place: int | None, found: list[list[Segmentation]], problems: list[Problem]
) -> None:
    if place is not None:
        found[place].append(segmentation)
    else:
        reason = (
            "is a segmentation of no study that is here: it names no series of the tree, and no study has its patient, "
            "folder or name; add the images or, if it is no DICOM file, move it into their folder"
        )
        problems.append(Problem(path=segmentation.path, reason=reason))


def _person(root: Path, header: Header) -> str:
    """Return the patient's id as it may be part of a file's name; the first folder below the root if there is none."""
    text = header.patient_id or header.path.relative_to(root).parts[0]
    return _clean(text) or "nameless"


def _clean(text: str) -> str:
    """Return a text from a header as a part of a file's name."""
    return re.sub(r"[^\w.-]+", "_", text).strip("_.")


def _study(person: str, headers: Sequence[Header]) -> Study:
    first = headers[0]
    return Study(
        id=person,
        person=person,
        date=first.study_date,
        institution=next((header.institution for header in headers if header.institution), ""),
        home=Path(os.path.commonpath([header.path.parent for header in headers])),
        series=tuple(find_series(headers)),
    )


def _with_ids(studies: Iterable[Study]) -> list[Study]:
    """Return the studies with ids that no two share: dates, and then numbers, where a person has several."""
    found = sorted(studies, key=lambda study: (study.person, study.date, str(study.home), study.series[0].uid))
    counts = Counter(study.id for study in found)
    found = [
        replace(one, id=f"{one.id}_{_clean(one.date)}") if counts[one.id] > 1 and one.date else one for one in found
    ]
    counts, seen = Counter(study.id for study in found), Counter()
    unique = []
    for study in found:
        seen[study.id] += 1
        unique.append(replace(study, id=f"{study.id}_{seen[study.id]}") if counts[study.id] > 1 else study)
    return unique


def _places(studies: Sequence[Study], groups: Mapping[tuple[str, str], Sequence[Header]]) -> dict[str, int]:
    """Return the place of a study by the UIDs of its series, its instances, and itself."""
    by_series = {series.uid: place for place, study in enumerate(studies) for series in study.series}
    found = dict(by_series)
    for headers in groups.values():
        for header in headers:
            found[header.instance_uid] = found[header.study_uid] = by_series[header.series_uid]
    found.pop("", None)
    return found


def _of_header(header: Header, person: str, studies: Sequence[Study], places: Mapping[str, int]) -> int | None:
    """Return the place of the study that a segmentation was drawn on, or else was filed under."""
    drawn_on = {places[uid] for uid in header.references if uid in places}
    if len(drawn_on) == 1:
        return drawn_on.pop()
    if header.study_uid in places:
        return places[header.study_uid]
    of_person = [place for place, study in enumerate(studies) if study.person == person]
    return of_person[0] if len(of_person) == 1 else None


def _of_volume(path: Path, studies: Sequence[Study]) -> int | None:
    """Return the place of the study that a volume's name begins with, or that its folder is of."""

    def begins(name: str) -> bool:
        return re.match(rf"{re.escape(name)}(?![A-Za-z0-9])", path.name) is not None

    everywhere = range(len(studies))
    depths = {place: len(studies[place].home.parts) for place in everywhere}
    around = [place for place in everywhere if path.is_relative_to(studies[place].home)]
    attempts = (
        [place for place in everywhere if begins(studies[place].id)],
        [place for place in everywhere if begins(studies[place].person)],
        [place for place in around if depths[place] == max(depths[one] for one in around)],
        [place for place in everywhere if studies[place].home.is_relative_to(path.parent)],
    )
    return next((found[0] for found in attempts if len(found) == 1), None)
