"""Which file of a case is the segmentation of its tumour, and what to say where there is none, or several."""

from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from data.errors import Problem
from data.printable import some
from data.readers.tree import Tree
from data.readers.truth import is_tumour, trust
from data.readers.volumes.cases.case import Case


def choose_segmentations(
    tree: Tree, cases: Sequence[Case], pattern: str | None, problems: list[Problem], warnings: list[str]
) -> list[tuple[Case, PurePosixPath]]:
    """Return the cases that have one segmentation of a tumour, with its path; say why the others have none."""
    chosen, without, unclear = [], [], []
    for case in cases:
        found = candidates(case, pattern)
        if len(found) == 1:
            chosen.append((case, found[0]))
        else:
            (unclear if found else without).append((case, found))
    if unclear:
        case, found = unclear[0]
        reason = (
            f"{len(unclear)} case(s) have several segmentations, such as {case.id} with {some(map(str, found))}: "
            "say which by --segmentation, such as --segmentation '*_tumor_segmentation.nii.gz'"
        )
        problems.append(Problem(path=tree.root / case.home, reason=reason))
    place = _places(cases)
    segmented = {place[case.id] for case, _ in chosen}
    missing = [case for case, _ in without if place[case.id] in segmented]
    rest = [case for case, _ in without if place[case.id] not in segmented]
    if missing:
        reason = (
            f"{len(missing)} case(s) have no segmentation, though others of the same folder have one: "
            f"{some((case.id for case in missing), most=3)}; add it, or say what it is called by --segmentation"
        )
        problems.append(Problem(path=tree.root / missing[0].home, reason=reason))
    if rest:
        names = some((case.id for case in rest), most=3)
        warnings.append(f"{len(rest)} case(s) in folders without any segmentation are left out: {names}")
    return chosen


def candidates(case: Case, pattern: str | None) -> list[PurePosixPath]:
    """Return the segmentations that may be the one of the tumour: those that a pattern matches, or the most trusted."""
    if pattern is not None:
        paths = [*case.segmentations.values(), *case.images.values()]  # a name may look like one of an image
        return [path for path in paths if fnmatchcase(path.name, pattern) or fnmatchcase(str(path), pattern)]
    paths = [path for role, path in case.segmentations.items() if is_tumour(role) and is_tumour(_rest(case, path))]
    best = max((trust(f"{path.parent.name}/{path.name}") for path in paths), default=0)
    return [path for path in paths if trust(f"{path.parent.name}/{path.name}") == best]


def _rest(case: Case, path: PurePosixPath) -> str:
    """Return what the name of a file says after that of its case; empty if it does not begin with it."""
    return path.name[len(case.name) :] if path.name.startswith(case.name) else ""


def _places(cases: Sequence[Case]) -> dict[str, PurePosixPath]:
    """Return the folder that each case lies in with others, by its id: above a folder of its own, or the one of all."""
    counts = Counter(case.home for case in cases)
    return {case.id: case.home if counts[case.home] > 1 else case.home.parent for case in cases}
