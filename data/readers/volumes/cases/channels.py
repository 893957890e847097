"""Which files of a case are its channels: by the names that a person or a model gives, in any common spelling."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from data.errors import DataError
from data.printable import some
from data.readers.tree import Tree
from data.readers.volumes.cases.case import Case, Channel
from data.readers.volumes.cases.dataset_json import channel_names
from data.readers.volumes.cases.names import family_of, is_known_modality, may_be_truth


def name_channels(tree: Tree, cases: Iterable[Case]) -> list[Case]:
    """Return the cases, where channels that are only numbered have the names that a dataset.json gives them."""
    names_by_folder = channel_names(tree)
    named = []
    for case in cases:
        above = [folder for folder in (case.home, *case.home.parents) if folder in names_by_folder]
        names = names_by_folder[above[0]] if above else ()
        named.append(case.with_names(names))
    return named


def find_channels(case: Case, names: Sequence[str], renames: Mapping[str, str]) -> dict[str, Channel]:
    """Return the file of each channel that a case has, by the channel's name: of that role, or of one that means it.

    Args:
        renames: What files call a channel, by its name; all in lower case.
    """
    found = {}
    for name in names:
        wanted = renames.get(name, name)
        same = [role for role in case.channels if role == wanted] or [
            role for role in case.channels if family_of(role) == family_of(wanted)
        ]
        if len(same) == 1:
            found[name] = case.channels[same[0]]
    return found


def parse_renames(texts: Sequence[str]) -> dict[str, str]:
    """Return what files call a channel, by its name, as `--modality t1c=t1gd` says; all in lower case.

    Raises:
        DataError: A text is not like that.
    """
    if illegal := [text for text in texts if text.count("=") != 1 or not all(text.split("="))]:
        raise DataError(f"modality is {some(illegal)}, but must be like t1c=t1gd: a channel, and what files call it.")
    return dict(text.lower().split("=") for text in texts)


def shared_modalities(cases: Sequence[tuple[Case, PurePosixPath]]) -> tuple[tuple[str, ...], str]:
    """Return the modalities that every case has, as most cases spell them, and a sentence about them.

    Of modalities that are known and words of somebody's own, only the known ones are taken; and never a word that may
    stand for a segmentation.
    """
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    having: Counter[str] = Counter()
    for case, segmentation in cases:
        roles = [role for role, channel in case.channels.items() if channel.path != segmentation]
        having.update({family_of(role) for role in roles})
        for role in roles:
            spellings[family_of(role)][role] += 1
    counts = {family: having[family] for family in spellings}
    usual = {family: names.most_common(1)[0][0] for family, names in spellings.items()}
    known = [family for family in counts if is_known_modality(family)]
    known = known or [family for family in counts if not may_be_truth(family)]
    shared = sorted(usual[family] for family in known if counts[family] == len(cases))
    rest = [
        f"{usual[one] or 'one file without names of its channels'} ({counts[one]} of {len(cases)} cases)"
        for one in sorted(counts)
        if usual[one] not in shared
    ]
    sentence = f"--modalities is not given; the channels are those that every case has: {', '.join(shared) or 'none'}"
    return tuple(shared), f"{sentence}; left out: {some(rest, most=8)}" if rest else sentence
