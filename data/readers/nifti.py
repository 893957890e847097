"""Reader of NIfTI volumes in the BraTS layout: one folder per case, `CASE_t1.nii.gz` beside `CASE_seg.nii.gz`.

`data.readers.nifti_file` turns the axes of a file into axial slices and checks the file.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from data.errors import DataError, Problem
from data.patient import Patient, Scan, Volume
from data.readers.nifti_file import (
    SUFFIX,
    count_values,
    import_nibabel,
    join_channels,
    read_channels,
    read_grids,
    write_mask,
)
from data.readers.reader import FileKind, LayoutOptions, Reader, Spacing
from data.readers.walk import require_folder, walk

LAYOUT = "expected <source>/<CASE>/<CASE>_<MODALITY>.nii.gz (or .nii), each case with its <CASE>_seg.nii.gz"

_SEGMENTATION = re.compile(r"(?P<case>.+)[_-]seg\.nii(\.gz)?", re.IGNORECASE)


def scan(source: Path, *, modalities: tuple[str, ...] = (), labels: tuple[int, ...] = ()) -> "Scan[NiftiPatient]":
    """Return the cases below source, sorted by id; a case is a folder of NIfTI files whose names begin with its name.

    source is a folder above the cases, or one case. Hidden files and folders are left out. Nothing is decoded. Problems
    are a missing segmentation or modality, and files whose case or modality is unclear.

    Args:
        modalities: The channels, in this order, in upper or lower case. If empty, all modalities that every case has,
            sorted; a warning then names them.
        labels: Values that count as tumour; if empty, every value above 0.

    Raises:
        DataError: source does not exist or holds no case, modalities or labels are illegal, or nibabel is not
            installed.
    """
    modalities = tuple(name.lower() for name in modalities)
    if "seg" in modalities or len(set(modalities)) < len(modalities):
        raise DataError(f'modalities are {", ".join(modalities)}, but must differ, and must not be "seg".')
    if any(label < 1 for label in labels):
        raise DataError(f"labels are {', '.join(map(str, labels))}, but must be above 0; 0 is no tumour.")
    require_folder(source, LAYOUT)
    import_nibabel()
    problems: list[Problem] = []
    root = Path(os.path.abspath(source))
    cases = _cases(root, problems)
    if not cases and not problems:
        raise DataError(f"data source {source} holds no case: no .nii or .nii.gz file is in it or below it; {LAYOUT}.")
    warnings = ()
    if cases and not modalities:
        modalities, warning = _shared_modalities([files for _, files in cases.values()])
        warnings = (warning,) if modalities else ()
        problems += [] if modalities else [Problem(path=root, reason=warning)]
    patients = _patients(root, cases, modalities, labels, problems)
    return Scan(patients=patients, problems=tuple(problems), warnings=warnings, channel_names=modalities)


def _patients(
    root: Path,
    cases: dict[str, tuple[Path, dict[str, Path]]],
    modalities: tuple[str, ...],
    labels: tuple[int, ...],
    problems: list[Problem],
) -> "tuple[NiftiPatient, ...]":
    """Return the cases that have all modalities and a segmentation; a case that lacks one is added to problems."""
    patients = []
    for case_id, (folder, files) in sorted(cases.items()):
        if missing := [name for name in (*modalities, "seg") if name not in files]:
            reason = f"has no {' and no '.join(missing)} ({case_id}_{missing[0]}.nii.gz); it has "
            problems.append(Problem(path=folder, reason=reason + ", ".join(sorted(files))))
        elif modalities:
            group = "" if root in (folder, folder.parent) else folder.parent.relative_to(root).as_posix()
            images = tuple(files[name] for name in modalities)
            case = NiftiPatient(id=case_id, group=group, images=images, segmentation=files["seg"], labels=labels)
            patients.append(case)
    return tuple(patients)


def looks_like(source: Path) -> bool:
    """Return whether a segmentation (`_seg.nii`, `-seg.nii.gz`) lies in source or at most 3 folders below it."""
    paths = (path for depth in range(4) for path in source.glob("*/" * depth + "*"))
    return any(_SEGMENTATION.fullmatch(path.name) and "/." not in f"/{path.relative_to(source)}" for path in paths)


@dataclass(frozen=True, kw_only=True)
class NiftiPatient(Patient):
    """A case: a file for each modality, in the order of the channels, and one for the segmentation."""

    id: str
    group: str = ""
    """The folders between the source and the folder of the case, such as HGG."""

    images: tuple[Path, ...]
    segmentation: Path
    labels: tuple[int, ...] = ()
    """Values that count as tumour; if empty, every value above 0."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the channels, in lower case, as the names of the files give them."""
        return tuple(SUFFIX.sub("", path.name)[len(self.id) + 1 :].lower() for path in self.images)

    @property
    def files(self) -> tuple[Path, ...]:
        return (*self.images, self.segmentation)

    def without(self, paths: Collection[Path]) -> "NiftiPatient | None":
        return None if any(path in paths for path in self.files) else self

    def read(self) -> Volume:
        """Return axial slices from inferior (number 1) to superior; row 0 is anterior, column 0 the patient's right.

        The images are of one integer type if all files hold unscaled integers; else they are float32, with scl_slope
        and scl_inter applied. Negative values stay. The spacing is that of the first image.

        Raises:
            BadFiles: Files are damaged, hold no finite volume, or differ in their grids; the error lists all of them.
            DataError: nibabel is not installed.
        """
        grids = read_grids(self.files, segmentation=self.segmentation, whose=f" of patient {self.id}")
        labels = grids[self.segmentation].values
        masks = np.isin(labels, self.labels) if self.labels else labels > 0
        return Volume(
            images=join_channels([grids[path].values for path in self.images]),
            masks=np.ascontiguousarray(masks),
            numbers=tuple(range(1, len(masks) + 1)),
            spacing_mm=grids[self.images[0]].spacing_mm,
        )


def _cases(root: Path, problems: list[Problem]) -> dict[str, tuple[Path, dict[str, Path]]]:
    """Return the folder and the files of each case by its id."""
    cases: dict[str, tuple[Path, dict[str, Path]]] = {}
    for path, _, names in walk(root, problems):
        volumes = [name for name in names if SUFFIX.search(name)]
        if volumes and path.name in cases:
            reason = f"case id {path.name} is already that of {cases[path.name][0]}; remove or rename one of the two"
            problems.append(Problem(path=path, reason=reason))
        elif files := _files(path, volumes, problems):
            cases[path.name] = path, files
    return cases


def _files(folder: Path, names: list[str], problems: list[Problem]) -> dict[str, Path]:
    """Return the files of a case by modality, the segmentation as "seg"; empty if it is unclear which file is which."""
    segmented = {match["case"] for name in names if (match := _SEGMENTATION.fullmatch(name))}
    if others := sorted(segmented - {folder.name}):
        reason = f"holds the segmentation of {', '.join(others[:4])}; give each case its own folder, with the same name"
        problems.append(Problem(path=folder, reason=reason))
        return {}
    files: dict[str, Path] = {}
    is_certain = True
    for name in names:
        match = re.fullmatch(rf"{re.escape(folder.name)}[_-](.+)", SUFFIX.sub("", name))
        first = files.setdefault(match[1].lower(), folder / name) if match else None
        if first is None:
            reason = f"the name is not {folder.name}_<MODALITY>.nii.gz; rename it, or move it out of the source"
            problems.append(Problem(path=folder / name, reason=reason))
        elif first.name != name:
            reason = f"is the same modality as {first.name}; remove one of the two"
            problems.append(Problem(path=folder / name, reason=reason))
            is_certain = False
    return files if is_certain else {}


def _shared_modalities(cases: list[dict[str, Path]]) -> tuple[tuple[str, ...], str]:
    """Return the modalities that every case with an image has, and a sentence about them."""
    counts = Counter(name for files in cases for name in files if name != "seg")
    most = sum(files.keys() != {"seg"} for files in cases)
    shared = tuple(name for name in sorted(counts) if counts[name] == most)
    rest = ", ".join(f"{name} ({counts[name]} of {most} cases)" for name in sorted(counts) if counts[name] < most)
    sentence = f"--modalities is not given; the channels are those that every case has: {', '.join(shared) or 'none'}"
    return shared, f"{sentence}; left out: {rest}" if rest else sentence


def _scan(source: Path, options: LayoutOptions) -> "Scan[NiftiPatient]":
    return scan(source, modalities=options.modalities, labels=options.labels)


def _read(paths: Sequence[Path], channels: tuple[int, ...], grayscale: bool) -> tuple[np.ndarray, Spacing | None]:
    return read_channels(tuple(paths))  # a file is one channel already, and has no colours


def _write_mask(stem: Path, mask: Bool[np.ndarray, "slices height width"], image: Path) -> Path:
    path = stem.with_name(stem.name + ".nii.gz")
    write_mask(path, mask, like=image)
    return path


NIFTI = FileKind(
    name="nifti",
    noun="NIfTI",
    suffixes={".nii.gz": "application/gzip", ".nii": "application/x-nifti"},
    holds="channel",
    layout="expected a case's folder with <CASE>_<MODALITY>.nii.gz, or a folder of such folders",
    read=_read,
    write_mask=_write_mask,
    count_values=count_values,
)

READER = Reader(
    scan=_scan,
    recognise=looks_like,
    files=NIFTI,
    options=("modalities", "labels"),
    description="axial slices of NIfTI volumes in the BraTS layout",
)
