"""Which files that hold all slices of a scan are visits of one person."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from data.readers.slices import names
from data.readers.slices.grouping import Grouping, name_of
from data.readers.slices.pairs import Place
from data.splitting.persons import person_of


def assign_stacks(
    grouping: Grouping, places: Sequence[Place], patient: PurePosixPath | None, person: PurePosixPath | None
) -> None:
    """Assign files that each hold all slices of a patient, or of a visit if several lie in one patient's folder."""
    if person is None and len(places) > 1:
        person = patient
    for place in places:
        if patient is not None and len(places) == 1:
            path = patient
        else:
            path = (patient or place.home) / names.stem_of(place.image.name)
        name = str(path).replace("/", "_")
        if name in grouping.members:
            name = f"{place.top}_{name}".replace("/", "_")
        if person is not None:
            grouping.persons[name] = name_of(person)
        grouping.members[name].append(place)


def repeat_names(clusters: Sequence[Sequence[Place]]) -> bool:
    """Return whether several folders hold files of one name, as persons' folders do that hold the same visits."""
    counts = Counter(names.stem_of(place.image.name) for places in clusters for place in places)
    return max(counts.values(), default=0) > 1


def assign_visits(grouping: Grouping, places: Sequence[Place], person: PurePosixPath | None) -> None:
    """Assign the files of a person's folder, or of a folder in one, each of which holds all slices of a visit."""
    home = places[0].home
    folder = home.name or grouping.pairs.tree.root.name
    if person is not None:
        folder = f"{person.name}_{folder}"
    elif folder in grouping.persons.values():
        folder = str(home).replace("/", "_")
    for place in places:
        name = f"{folder}_{names.stem_of(place.image.name)}" if len(places) > 1 else folder
        grouping.members[name].append(place)
        grouping.persons[name] = folder if person is None else person_of(person.name)
