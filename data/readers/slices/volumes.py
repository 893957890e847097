"""Which slices are one patient: those of a folder, those that a pattern says, or those whose names begin alike.

Slices of one patient on both sides of a split inflate the scores, and slices of two patients in one volume spoil the
normalisation. Where neither folders nor names say who a patient is, each image is one, with a warning.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from data.readers.slices import names
from data.readers.slices.copies import is_somebody, without_copies
from data.readers.slices.grouping import Grouping, name_of
from data.readers.slices.order import numbered, says_order
from data.readers.slices.pairs import Place
from data.readers.slices.persons import persons_above
from data.readers.slices.remarks import about_images_alone, about_several_places
from data.readers.slices.stacks import assign_stacks, assign_visits, repeat_names
from data.splitting.persons import find_person, person_of


@dataclass(frozen=True)
class Stack:
    """The slices of a patient, in the order of their numbers."""

    id: str
    group: str
    person: str
    """Empty: as the id says."""

    slices: tuple[tuple[int, Place], ...]


def group(grouping: Grouping) -> Iterator[Stack]:
    """Yield the patients, sorted by id; problems and warnings are added to the grouping."""
    assign(grouping)
    if grouping.num_alone:
        grouping.warnings.insert(0, about_images_alone(grouping.num_alone))
    if not grouping.are_beside:
        grouping.warnings += about_several_places(grouping.members)
    found = (volume for one in visits(grouping) for volume in _volume(grouping, *one))
    yield from sorted(found, key=lambda volume: volume.id)


def assign(grouping: Grouping) -> None:
    """Assign each slice to its patient, in `grouping.members`."""
    pairs = grouping.pairs
    clusters, warning = without_copies(pairs.tree.root, pairs.places, by_folder=grouping.are_beside)
    grouping.warnings += filter(None, [warning])
    if grouping.pattern is not None:
        for places in clusters:
            _assign_by_pattern(grouping, grouping.pattern, places)
    elif grouping.are_beside:
        persons = persons_above(places[0].home for places in clusters)
        hold_visits = grouping.are_volumes and repeat_names(clusters)
        for places in clusters:
            if hold_visits:
                assign_visits(grouping, places, persons.get(places[0].home))
                continue
            is_only = len(clusters) == 1 and not (grouping.folder_is_patient and not _clash(places))
            _assign_beside(grouping, places, persons.get(places[0].home), is_only=is_only)
    else:
        _assign_below(grouping, clusters)


def _assign_by_pattern(grouping: Grouping, pattern: re.Pattern[str], places: Iterable[Place]) -> None:
    for place in places:
        if person := find_person(pattern, place.image.as_posix()).replace("/", "_"):
            grouping.members[person].append(place)
            grouping.by_name.add(person)
        else:
            text = f'patient_pattern "{pattern.pattern}" finds no patient in'
            grouping.pairs.bad(
                place.image, f"{text} {place.image}; change the pattern", cause=f"{text} them; change the pattern"
            )


def _assign_below(grouping: Grouping, clusters: Sequence[Sequence[Place]]) -> None:
    """Assign the slices of folders below folders of images."""
    tops = {places[0].top for places in clusters if not places[0].home.parts}
    top_is_patient = len(tops) > 1 and all(is_somebody(top) for top in tops)
    homes = [places[0].top if top_is_patient and not places[0].home.parts else places[0].home for places in clusters]
    persons, of_nobody = persons_above(homes), []
    for places, home in zip(clusters, homes, strict=True):
        is_patient = any(not names.is_nobody(part) for part in home.parts)
        if grouping.are_volumes:
            assign_stacks(grouping, places, home if is_patient else None, persons.get(home))
        elif is_patient and not (_clash(places) and _prefixes(places)):
            name = str(home).replace("/", "_")
            grouping.members[name] += places
            if home in persons:
                grouping.persons[name] = name_of(persons[home])
        else:
            of_nobody.append(places)
    together = [place for places in of_nobody for place in places]
    for places in [together] if _prefixes(together) else of_nobody:
        _assign_by_names(grouping, places)


def _assign_by_names(grouping: Grouping, places: Sequence[Place]) -> None:
    """Assign slices of folders that are no patients."""
    prefixes = _prefixes(places)
    for place, prefix in zip(places, prefixes, strict=False):
        grouping.members[prefix].append(place)
        grouping.by_name.add(prefix)
    for place in places if not prefixes else ():
        grouping.num_alone += 1
        path = place.top / place.home / names.stem_of(place.image.name)
        grouping.members[str(path).replace("/", "_")].append(place)


def _assign_beside(grouping: Grouping, places: Sequence[Place], person: PurePosixPath | None, *, is_only: bool) -> None:
    """Assign the slices of a folder that holds their masks, too.

    Args:
        person: The folder of the person that it is a part of; None if there is none.
    """
    home = places[0].home
    folder = home.name or grouping.pairs.tree.root.name
    if person is not None:
        folder = f"{person.name}_{folder}"
    stems = [names.stem_of(place.image.name) for place in places]
    begins = {parts[0] for stem in stems if (parts := names.split_number(stem))}
    own = _prefixes(places)
    if grouping.are_volumes and len(places) > 1:
        own = stems
    elif person or folder in begins or not (own or names.is_nobody(folder) or (is_only and len(begins) != 1)):
        own = [folder] * len(places)
    elif not own:
        grouping.num_alone += len(places)
        own = stems if is_only else [f"{folder}_{stem}" for stem in stems]
    if (others := grouping.members.get(folder)) and folder in own:
        where = grouping.pairs.tree.root / others[0].image.parent
        reason = (
            f"patient id {folder} is already that of {where}; name one of the two as the source, remove the copy, or "
            "say by --patient-pattern which part of a path is the patient"
        )
        grouping.pairs.bad(home, reason)
        return
    for name, place in zip(own, places, strict=True):
        grouping.members[name].append(place)
        if name != folder:
            grouping.by_name.add(name)
        if person is not None:
            grouping.persons[name] = person_of(person.name)


def _prefixes(places: Sequence[Place]) -> list[str]:
    """Return the patient that each name says; empty unless all say one, they differ, and some have several slices."""
    found = [names.patient_of(names.stem_of(place.image.name)) for place in places]
    counts = Counter(found)
    return found if "" not in counts and len(counts) > 1 and max(counts.values()) > 1 else []


def _clash(places: Sequence[Place]) -> bool:
    if not says_order([place.image for place in places]):
        return False
    numbers = [names.number_of(names.stem_of(place.image.name)) for place in places]
    return len({*numbers} - {None}) < len(numbers) - numbers.count(None)


def visits(grouping: Grouping) -> Iterator[tuple[str, list[Place], str]]:
    """Yield the id, the slices and the person of each volume; the person is empty if the id says it.

    Slices of a person that a pattern or names say are one volume, unless two in different folders have one number.
    """
    for name, places in grouping.members.items():
        homes = sorted({place.image.parent for place in places})
        if name in grouping.by_name and len(homes) > 1 and _clash(places):
            for home in homes:
                own = [place for place in places if place.image.parent == home]
                path = home if name in home.name else home / name
                yield str(path).replace("/", "_"), own, name
        else:
            yield name, places, grouping.persons.get(name, "")


def _volume(grouping: Grouping, name: str, places: Sequence[Place], person: str) -> Iterator[Stack]:
    bad, root = grouping.pairs.bad, grouping.pairs.tree.root
    by_image: dict[PurePosixPath, Place] = {}
    for place in places:
        if by_image.setdefault(place.image, place) is not place:
            bad(place.image, f"has two masks, {by_image[place.image].mask} and {place.mask}; remove one")
    found = numbered(
        list(by_image),
        lambda path: bad(path, "has no slice number in its name, but others of its patient have; rename it"),
        lambda path, first, number: bad(
            path, f"slice number {number} is already that of {root / first}; rename one, see --patient-pattern"
        ),
    )
    if found:
        tops = sorted(str(place.top).removeprefix(".") for place in places)
        slices = tuple((number, by_image[path]) for number, path in found.items())
        yield Stack(name, _institution(name) if grouping.are_beside else tops[0], person, slices)


def _institution(name: str) -> str:
    """Return the institution in a TCGA barcode, such as `TCGA_DU`; empty for other ids."""
    match = re.match(r"TCGA_[A-Z0-9]{2}(?=_)", name)
    return match[0] if match else ""
