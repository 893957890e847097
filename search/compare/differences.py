"""What was not the same in experiments: in what was asked, in the data, and in what they ran on; by key."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from search.compare.experiments import Experiment
from search.compare.table import ABSENT
from search.record.experiment_record import ExperimentRecord

OWN = ("name", "out")
"""Options that any two experiments have different."""

FINGERPRINT_LENGTH = 12
"""Characters that are shown; config.json has the whole."""

NOTHING = object()

Differences = dict[str, tuple[str, ...]]
"""By key, a value for each experiment."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """The patients of one side of a split."""

    ids: frozenset[str]
    num_shared: int
    """How many of them are on this side in all experiments."""

    def __str__(self) -> str:
        return f"{len(self.ids)} patients, {self.num_shared} of them in all of these"


def config_differences(experiments: Sequence[Experiment]) -> Differences:
    """Return the options and axes of the space that differ."""
    return _differing([_asked(one.record) for one in experiments])


def data_differences(experiments: Sequence[Experiment]) -> Differences:
    """Return what differs in the data: its source, its pixels, and who is on which side."""
    return _differing([_data(one, experiments) for one in experiments])


def environment_differences(experiments: Sequence[Experiment]) -> Differences:
    """Return the versions, the commit and the machine's lanes that differ."""
    return _differing([_environment(one) for one in experiments])


def lanes_of(experiment: Experiment) -> dict[str, Any]:
    """Return what an experiment ran on. The room for slices is left out: it is never the same twice."""
    lanes = vars(experiment.record.lanes) if experiment.record.lanes else {}
    known = {name: value for name, value in lanes.items() if name != "object_store_bytes"}
    return known | {"platform": experiment.record.provenance.platform}


def _differing(records: Sequence[dict[str, Any]]) -> Differences:
    keys = dict.fromkeys(key for record in records for key in record)
    found = {key: [record.get(key, NOTHING) for record in records] for key in keys}
    # Values are compared, not their texts: a side has as many patients when they are others.
    differing = {key: values for key, values in found.items() if any(value != values[0] for value in values)}
    return {key: tuple(map(_text, values)) for key, values in differing.items()}


def _asked(record: ExperimentRecord) -> dict[str, Any]:
    config = {key: value for key, value in record.config.items() if key not in OWN}
    return {
        **_flat(config),
        **_flat({"space": dict(record.space)}),
        "trials known before": len(record.known.earlier),
        "samples tried first": len(record.known.first),
    }


def _data(experiment: Experiment, experiments: Sequence[Experiment]) -> dict[str, Any]:
    data = experiment.record.data
    record = {
        "source": data.source,
        "format": data.format,
        "fingerprint": data.fingerprint[:FINGERPRINT_LENGTH],
        "files left out": len(data.skipped),
    }
    for side in ("train", "val", "test"):
        shared = frozenset.intersection(*(one.patients(side) for one in experiments))
        record[side] = Side(ids=experiment.patients(side), num_shared=len(shared))
    return record | _flat({"slices": dict(data.num_slices), "slices with tumour": dict(data.num_tumour_slices)})


def _environment(experiment: Experiment) -> dict[str, Any]:
    provenance = experiment.record.provenance
    return {
        "commit": provenance.commit,
        "python": provenance.python,
        **_flat({"versions": dict(provenance.versions), "lanes": lanes_of(experiment)}),
    }


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by their path."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _text(value: Any) -> str:
    if value is NOTHING:
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    return "none" if value is None else str(value)
