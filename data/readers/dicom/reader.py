"""Reader of trees of DICOM, as archives and hospitals export them: files in any folders, told apart by their headers.

A case is a study. `series/` says which files are a series, what it is and whose, and `segmentations/` where its tumour
is. A scan reads all headers, but no pixels and no outlines.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from data.errors import BadFiles, DataError, Problem
from data.patient import Scan
from data.printable import some
from data.readers.dicom.channels import Chosen, choose_channels
from data.readers.dicom.patient import DicomPatient
from data.readers.dicom.segmentations.choice import Segmented, choose_segmentations, may_be_segmentation
from data.readers.dicom.series.dataset import is_dicom, may_be_dicom, promises_dicom
from data.readers.dicom.series.header import Header, read_header
from data.readers.dicom.series.studies import find_studies
from data.readers.reader import LayoutOptions, Reader
from data.readers.tree import Tree
from data.readers.volumes.formats.table import VOLUMES
from data.readers.volumes.reader import check_options
from data.regions import parse_regions

LAYOUT = "expected DICOM files in any folders: series of images, and a DICOM SEG, RTSTRUCT or NAME_seg.nii.gz a study"
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def scan(tree: Tree, options: LayoutOptions) -> Scan[DicomPatient]:
    """Return the studies of a tree that have a segmentation, sorted by id. Headers are read, and nothing is decoded.

    Raises:
        DataError: There is no series of images, an option is illegal, or pydicom is not installed.
    """
    check_options(options)
    problems: list[Problem] = []
    warnings: list[str] = []
    headers = read_headers(tree, problems, warnings)
    if not any(header.kind == "image" for header in headers) and not problems:
        raise DataError(f"data source {tree.root} holds no series of DICOM images; {LAYOUT}.")
    paths = (tree.root / folder / name for folder, name in tree.files(lambda name: True))
    volumes = [path for path in paths if may_be_segmentation(path, options.segmentation)]
    studies = find_studies(tree.root, headers, volumes, problems)
    segmented = choose_segmentations(
        studies, options.segmentation, problems, warnings, trust_voxels=options.trust_voxels
    )
    names, chosen = choose_channels(segmented, options, problems, warnings)
    regions = parse_regions(options.regions, options.labels)
    warnings += _about_labels(segmented, sorted({label for region in regions for label in region.labels}))
    patients = tuple(_patient(tree.root, case, options) for case in chosen)
    return Scan(patients=patients, problems=tuple(problems), warnings=tuple(warnings), channel_names=names)


def recognise(tree: Tree) -> str:
    """Return a rule if most files may be DICOM by their names, and the first one of some folder is."""
    num_other = sum(1 for _ in tree.files(lambda name: name.lower().endswith(PICTURES)))
    found = {folder: [name for name in names if may_be_dicom(name)] for folder, names in tree.folders.items()}
    num_files = sum(map(len, found.values()))
    if num_files <= num_other:
        return ""
    for folder, names in found.items():
        first = next(filter(promises_dicom, names), next(iter(names), None))
        if first is not None and is_dicom(tree.root / folder / first):
            return f"{num_files} files may be DICOM by their names, and {folder / first} is"
    return ""


def read_headers(tree: Tree, problems: list[Problem], warnings: list[str]) -> list[Header]:
    """Return the headers of all DICOM files, each instance once; say what else lies there."""
    found: dict[str, Header] = {}
    others: dict[str, list[PurePosixPath]] = defaultdict(list)
    for folder, name in tree.files(may_be_dicom):
        try:
            header = read_header(tree.root / folder / name)
        except BadFiles as error:
            problems += (replace(problem, cause=problem.cause or problem.reason) for problem in error.problems)
            continue
        if header is None:
            others["are no DICOM by their first bytes"].append(folder / name)
        elif header.kind == "other":
            others["are DICOM without an image, such as reports"].append(folder / name)
        elif header.instance_uid in found:
            others["are copies of the same image or segmentation"].append(folder / name)
        else:
            found[header.instance_uid or str(header.path)] = header
    for what, paths in others.items():
        warnings.append(f"{len(paths)} file(s) {what}, and are left out: {some(map(str, paths), most=3)}")
    return list(found.values())


def _patient(root: Path, chosen: Chosen, options: LayoutOptions) -> DicomPatient:
    case, series = chosen
    above = case.study.home.relative_to(root).parts
    above = above[: above.index(case.study.person)] if case.study.person in above else ()
    return DicomPatient(
        id=case.study.id,
        person=case.study.person,
        group=case.study.institution or "/".join(above),
        images=tuple(one.path for one in series),
        series=tuple(replace(one, instance_uids=frozenset()) for one in series),
        segmentation=case.segmentation.path,
        kind=case.segmentation.header.kind if case.segmentation.header else "volume",
        numbers=case.numbers,
        regions=parse_regions(options.regions, options.labels),
        trust_voxels=options.trust_voxels,
    )


def _about_labels(cases: Sequence[Segmented], labels: Sequence[int]) -> list[str]:
    """Return which names the values of masks have, which are left out, and whether a value has several."""
    taken: dict[int, Counter[str]] = defaultdict(Counter)
    left: Counter[str] = Counter()
    for case in cases:
        for number, name in case.segmentation.labels.items():
            if number in case.numbers:
                taken[number][name] += 1
            else:
                left[name] += 1
    said = []
    if taken:
        texts = [f"{number} = {' or '.join(names)}" for number, names in sorted(taken.items())]
        rest = f"; left out as no tumour: {some(left)}" if left else ""
        said.append(f"the segmentations are {some(texts, most=8)}{rest}")
    if mixed := [number for number in labels if len(taken[number]) > 1]:
        names = " and ".join(f"{name} ({count} case(s))" for name, count in taken[mixed[0]].items())
        said.append(f"label {mixed[0]} is not the same in all cases: it is {names}; choose by --segmentation NAME")
    return said


READER = Reader(
    scan=scan,
    recognise=recognise,
    files=VOLUMES,
    options=("modalities", "modality", "labels", "regions", "segmentation", "trust_voxels"),
    description="series of DICOM images with DICOM SEG, RTSTRUCT or a volume as the segmentation",
)
