"""What the driver tells W&B's client, and what the client answers: one JSON object on each line."""

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What all runs have in common. This is the first message; the answer is the place that runs go to."""

    mode: str
    """'online' or 'offline'."""

    folder: str
    """The experiment's."""

    project: str
    group: str
    scratch: str | None
    """A folder for W&B's own files, instead of the experiment's."""

    gives_up: bool
    """Whether a server that fails is tried only twice, instead of for as long as a run is open."""

    init_seconds: float
    finish_seconds: float
    arrival_seconds: float
    """See Patience in connection.py."""


@dataclass(frozen=True, kw_only=True)
class SweepRequest:
    """A sweep to find or make. The answer is the sweep (sweep.py)."""

    name: str
    """The experiment's."""

    config: dict[str, Any]
    known: list[dict[str, str]]
    """Its sweeps so far, one for each place."""


@dataclass(frozen=True, kw_only=True)
class RunUpdate:
    """A run to bring up to date. The answer says why that failed, if it did."""

    id: str
    name: str
    config: dict[str, Any]
    epochs: list[dict[str, float]]
    """All metrics so far; the run may have some of them."""

    slices: dict[str, str]
    """Files with predicted slices, by epoch."""

    summary: dict[str, Any]
    exit_code: int | None
    """None: the run stays open."""

    model: str | None
    """The folder of the promoted model, in the run of the winner."""

    model_seconds: float
    """How long the upload of the model may take."""


def in_a_line(problem: BaseException) -> str:
    """Return what an error of W&B says in one line, without the requests that W&B's client repeats in it."""
    said = " ".join(str(problem).split()) or f"W&B's client ended: {problem!r}"
    said = re.sub(r"POST \S+ giving up after \d+ attempt\(s\):? (?:while retrying: )?", "", said)
    return re.sub(r'Post "\S+": ', "", said).partition(" while retrying: ")[0]
