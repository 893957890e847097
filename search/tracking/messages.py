"""What the driver tells W&B's client, and what the client answers: one JSON object on each line."""

import json
import re
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What all runs have in common. This is the first message; the answer is a Ready."""

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
class Ready:
    """The answer to Setup."""

    place: str
    """Where the runs go."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep on a server."""

    place: str
    """The server, entity and project that were asked for: another project has another sweep."""

    entity: str
    project: str
    id: str
    url: str
    group_url: str
    """The page that shows the experiment's runs as one group beside the project's other experiments."""


@dataclass(frozen=True, kw_only=True)
class SweepRequest:
    """A sweep that all runs are attached to from now on. The answer is the Sweep."""

    name: str
    """The experiment's."""

    config: dict[str, object]
    """What W&B is told of a new sweep."""

    known: Sweep | None
    """The sweep that the experiment has at this place; None: a new one is made."""


@dataclass(frozen=True, kw_only=True)
class RunUpdate:
    """A run to bring up to date. The answer is a RunAnswer."""

    id: str
    name: str
    config: dict[str, object]
    epochs: list[dict[str, float]]
    """All metrics so far; the run may have some of them."""

    slices: dict[str, str]
    """Files with predicted slices, by epoch."""

    summary: dict[str, object]
    exit_code: int | None
    """None: the run stays open."""

    model: str | None
    """The folder of the promoted model, in the run of the winner."""

    model_seconds: float
    """How long the upload of the model may take."""


@dataclass(frozen=True, kw_only=True)
class RunAnswer:
    """What became of a run."""

    id: str
    problem: str | None
    """Why W&B does not have it, or not all of it."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """The answer to a Setup or a SweepRequest that failed."""

    problem: str


Message: TypeAlias = Setup | SweepRequest | RunUpdate
Answer: TypeAlias = Ready | Sweep | RunAnswer | Refusal

KIND = "kind of message"
"""The key of the class's name in JSON. No hyperparameter has this name."""

KINDS = {kind.__name__: kind for kind in (Setup, SweepRequest, RunUpdate, Ready, Sweep, RunAnswer, Refusal)}


def to_line(message: Message | Answer) -> str:
    """Return a message as a line of JSON."""
    return json.dumps(message, default=lambda value: {KIND: type(value).__name__} | vars(value)) + "\n"


def read_message(line: bytes) -> Message:
    """Return the message in a line."""
    message = _read(line)
    assert isinstance(message, Message)
    return message


def read_answer(line: bytes) -> Answer:
    """Return the answer in a line."""
    answer = _read(line)
    assert isinstance(answer, Answer)
    return answer


def _read(line: bytes) -> object:
    def restore(values: dict[str, Any]) -> object:
        kind = values.pop(KIND, None)
        return values if kind is None else KINDS[kind](**values)

    return json.loads(line, object_hook=restore)


def in_a_line(problem: BaseException) -> str:
    """Return what an error of W&B says in one line, without the requests that W&B's client repeats in it."""
    said = " ".join(str(problem).split()) or f"W&B's client ended: {problem!r}"
    said = re.sub(r"POST \S+ giving up after \d+ attempt\(s\):? (?:while retrying: )?", "", said)
    return re.sub(r'Post "\S+": ', "", said).partition(" while retrying: ")[0]
