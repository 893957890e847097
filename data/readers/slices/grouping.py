"""How slices become patients: what is known before, and what is found."""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from data.readers.slices.pairs import Pairs, Place
from data.splitting.persons import person_of


@dataclass(kw_only=True)
class Grouping:
    """How slices become patients, and what there is to say about it."""

    pairs: Pairs
    pattern: re.Pattern[str] | None = None
    are_volumes: bool = False
    """Whether each file holds all slices of a patient, as pages."""

    are_beside: bool = False
    """Whether masks lie beside their images, so that a folder is a patient wherever it lies."""

    folder_is_patient: bool = False
    """Whether a folder that is the only one is a patient even if names do not say so, unless numbers occur twice."""

    members: dict[str, list[Place]] = field(default_factory=lambda: defaultdict(list))
    by_name: set[str] = field(default_factory=set)
    """Patients that a pattern or the beginning of names says, rather than a folder."""

    persons: dict[str, str] = field(default_factory=dict)
    """The person of each volume that lies with others in a person's folder, by the volume's id."""

    num_alone: int = 0
    """Number of images each of which counts as a patient."""

    warnings: list[str] = field(default_factory=list)


def name_of(person: PurePosixPath) -> str:
    """Return the name of the person whose folder this is."""
    return person_of(str(person).replace("/", "_"))
