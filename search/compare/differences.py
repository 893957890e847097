"""What differs between experiments: their options, their data, and what they ran on."""

from collections.abc import Sequence
from dataclasses import dataclass

from search.compare.experiments import Experiment
from search.experiment import with_groups
from search.formatting import DASH
from search.record.experiment_record import ExperimentRecord

OWN = ("name", "out")
"""Options that differ in any two experiments, and so are not listed."""

FINGERPRINT_LENGTH = 12
"""Number of characters that are shown; config.json has them all."""

NOTHING = object()
"""Stands for a fact that an experiment lacks; None can be the value of an option."""

Facts = dict[str, object]
"""What is known of an experiment, by key."""

Differences = dict[str, tuple[str, ...]]
"""By key, the text for each experiment."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """The patients of one side of a split."""

    ids: frozenset[str]
    num_shared: int
    """How many of them are on this side in every experiment."""

    def __str__(self) -> str:
        return f"{len(self.ids)} patients, {self.num_shared} of them in every experiment"


def config_differences(experiments: Sequence[Experiment]) -> Differences:
    """Return the options and the axes of the search space that differ."""
    return _differing([_requested(one.record) for one in experiments])


def data_differences(experiments: Sequence[Experiment]) -> Differences:
    """Return what differs in the data: its source, its pixels, and which patient is on which side."""
    return _differing([_data(one, experiments) for one in experiments])


def environment_differences(experiments: Sequence[Experiment]) -> Differences:
    """Return what differs in the commit, the versions, the machines and their lanes."""
    return _differing([_environment(one) for one in experiments])


def lanes_of(experiment: Experiment) -> Facts:
    """Return what an experiment ran on, without the memory for slices, which is never the same twice."""
    lanes = vars(experiment.record.lanes) if experiment.record.lanes else {}
    known: Facts = {name: value for name, value in lanes.items() if name != "object_store_bytes"}
    return known | {"platform": experiment.record.provenance.platform}


def _differing(records: Sequence[Facts]) -> Differences:
    keys = dict.fromkeys(key for record in records for key in record)
    found = {key: [record.get(key, NOTHING) for record in records] for key in keys}
    # Values are compared rather than texts: two sides with equally many patients can have different ones.
    differing = {key: values for key, values in found.items() if any(value != values[0] for value in values)}
    return {key: tuple(map(_text, values)) for key, values in differing.items()}


def _requested(record: ExperimentRecord) -> Facts:
    config = {key: value for key, value in with_groups(record.config).items() if key not in OWN}
    if isinstance(config.get("space"), dict):  # the descriptions below say it in fewer words
        del config["space"]
    return {
        **_flat(config),
        **_flat({"space": dict(record.space)}),
        "trials of earlier searches": len(record.known.earlier),
        "configurations to try first": len(record.known.first),
    }


def _data(experiment: Experiment, experiments: Sequence[Experiment]) -> Facts:
    data = experiment.record.data
    record: Facts = {
        "source": data.source,
        "format": data.format,
        "fingerprint": data.fingerprint[:FINGERPRINT_LENGTH],
        "excluded files": len(data.skipped),
    }
    for side in ("train", "val", "test"):
        shared = frozenset.intersection(*(one.patients(side) for one in experiments))
        record[side] = Side(ids=experiment.patients(side), num_shared=len(shared))
    return record | _flat({"slices": dict(data.num_slices), "slices with tumour": dict(data.num_tumour_slices)})


def _environment(experiment: Experiment) -> Facts:
    provenance = experiment.record.provenance
    return {
        "commit": provenance.commit,
        "python": provenance.python,
        **_flat({"versions": dict(provenance.versions), "lanes": lanes_of(experiment)}),
    }


def _flat(values: Facts, prefix: str = "") -> Facts:
    """Return nested facts by their dotted path."""
    flat: Facts = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _text(value: object) -> str:
    if value is NOTHING:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    return "none" if value is None else str(value)
