"""Studies to predict: series for the channels of a model, without a segmentation, and how their masks are written."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

from data.errors import DataError, Problem
from data.printable import some
from data.readers.dicom.channels import find_series_of
from data.readers.dicom.reader import read_headers, recognise
from data.readers.dicom.segmentations.choice import grid_of
from data.readers.dicom.segmentations.write import import_highdicom, write_segments
from data.readers.dicom.series.pixels import read_series
from data.readers.dicom.series.series import Series
from data.readers.dicom.series.studies import Study, find_studies
from data.readers.reader import FileKind, ImageOptions, Spacing
from data.readers.tree import Tree
from data.readers.volumes.formats.grid import difference, join_channels, read_grids
from data.readers.volumes.formats.table import VOLUMES


@dataclass(frozen=True, kw_only=True)
class StudyToPredict:
    """A study that has all channels of a model."""

    id: str
    home: Path
    files: tuple[Path, ...]
    """The files of all channels."""

    kind: FileKind
    """Reads the channels, and writes a mask as DICOM SEG."""


def is_dicom_tree(tree: Tree) -> bool:
    """Return whether a tree to predict holds DICOM, rather than volumes beside which DICOM may lie."""
    num_volumes = sum(1 for _ in tree.files(lambda name: VOLUMES.known_stem(name) is not None))
    num_files = sum(map(len, tree.folders.values()))
    return num_volumes * 2 < num_files and recognise(tree) != ""


def find_studies_to_predict(
    tree: Tree,
    channel_names: Sequence[str],
    problems: list[Problem],
    renames: Mapping[str, str],
    *,
    trust_voxels: bool,
) -> Iterator[StudyToPredict]:
    """Yield the studies of a tree that have a series for each channel; say what the others lack.

    Args:
        renames: What series call a channel, by its name; both in lower case.
        trust_voxels: Whether series of one shape have one grid, whatever their headers say.

    Raises:
        DataError: pydicom or highdicom is not installed.
    """
    import_highdicom()  # now, rather than after the first study has gone through the network
    headers = [header for header in read_headers(tree, problems, []) if header.kind == "image"]
    for study in find_studies(tree.root, headers, (), problems):
        try:
            series = _choose(study, channel_names, renames, trust_voxels=trust_voxels)
        except DataError as error:
            problems.append(Problem(path=study.home, reason=str(error)))
            continue
        files = tuple(dict.fromkeys(path for one in series for path in one.files))
        yield StudyToPredict(id=study.id, home=study.home, files=files, kind=_kind(series))


def _choose(
    study: Study, channel_names: Sequence[str], renames: Mapping[str, str], *, trust_voxels: bool
) -> tuple[Series, ...]:
    """Return the only series for the channels of a model that share their voxels.

    Raises:
        DataError: There is none, or there are several.
    """
    options = {name: find_series_of(renames.get(name.lower(), name), study.series) for name in channel_names}
    shown = some(map(str, study.series), most=8)
    if missing := [name for name, series in options.items() if not series]:
        remedy = f"add the series, or name it by --modality {missing[0]}=NAME"
        raise DataError(f"case {study.id} has no {' and no '.join(missing)}, but {shown}; {remedy}")
    usable = [[one for one in series if not one.problem] for series in options.values()]
    if not all(usable):
        bad = next(one for series in options.values() if all(one.problem for one in series) for one in series)
        raise DataError(f"of case {study.id}, {bad} {bad.problem}")
    together = [combined for combined in product(*usable) if _share_voxels(combined, trust_voxels=trust_voxels)]
    if not together:
        grids = f"{', '.join(channel_names)} on the same voxels"
        raise DataError(
            f"case {study.id} has no {grids}: it has {shown}; resample them to one grid, or, if they have one shape "
            "and only their places are wrong, give --trust-voxels"
        )
    for name, series in zip(channel_names, zip(*together, strict=True), strict=True):
        if len(set(series)) > 1:
            several = some(sorted({str(one) for one in series}))
            raise DataError(
                f"case {study.id} has several series of {name}: {several}; choose by --modality {name}=NAME"
            )
    return together[0]


def _share_voxels(series: Sequence[Series], *, trust_voxels: bool) -> bool:
    first, *others = (grid_of(one) for one in series)
    if trust_voxels:
        return all(one.raw_shape == first.raw_shape for one in others)
    return not any(difference(one, first, "") for one in others)


def _kind(series: tuple[Series, ...]) -> FileKind:
    """Return the kind of file that the series of one study are."""
    return FileKind(
        name="dicom",
        noun="DICOM",
        suffixes={},
        holds="channel",
        layout="expected a folder of DICOM series",
        read=partial(_read, series),
        write_mask=partial(_write_mask, series[0]),
        count_values=lambda path: 0,
    )


def _read(
    series: tuple[Series, ...], files: Sequence[Path], options: ImageOptions
) -> tuple[np.ndarray, Spacing | None]:
    by_path = {one.path: one for one in series}
    grids = read_grids(
        tuple(by_path),
        lambda path: read_series(by_path[path]),
        name_of=lambda path: str(by_path[path]),
        trust_voxels=options.trust_voxels,
    )
    return join_channels([grids[one.path].values for one in series]), grids[series[0].path].spacing_mm


def _write_mask(series: Series, stem: Path, mask: np.ndarray, image: Path) -> Path:
    path = stem.with_name(stem.name + ".dcm")
    write_segments(path, mask, series)
    return path
