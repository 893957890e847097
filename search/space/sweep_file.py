"""Read a sweep of Weights & Biases: its parameters, and what its other words ask of a search."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from data.errors import UserError
from data.legal import is_finite
from search.record.epochs import METRIC
from search.record.objectives import OBJECTIVES
from search.space.named import SPACES
from search.space.values import short

MAX_BYTES = 1_000_000
"""A sweep is a page of text; a file that is larger is another one."""

METHODS = {"bayes": "prior_gp", "random": "random", "grid": "grid"}
"""The searchers that stand for W&B's methods."""

ANSWERED = ("program", "command", "entity", "description", "name", "controller", "job", "image_uri", "scheduler")
"""Words without an effect here: this program is started by its own command, and names its own experiments."""

LEGAL = (
    "parameters",
    "method",
    "metric",
    "metrics",
    "early_terminate",
    "run_cap",
    "project",
    "apiVersion",
    "kind",
    *ANSWERED,
)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What a sweep asks of a search."""

    parameters: Mapping[str, object]
    """The words of each hyperparameter, by its name; parameters.py reads them."""

    options: Mapping[str, str | int] = field(default_factory=dict)
    """Options of a search, by the names of their fields in SearchConfig."""

    notes: tuple[str, ...] = ()
    """What is not done as the sweep says, in a sentence each."""


def read_sweep(source: object) -> Sweep:
    """Return what a sweep asks for.

    Args:
        source: The path of a YAML or JSON file, or its content as a dictionary.

    Raises:
        UserError: It cannot be read, or has a word that no sweep has.
    """
    where, content = ("space", source) if isinstance(source, Mapping) else (str(source), _load(Path(str(source))))
    if not isinstance(content, Mapping):
        raise UserError(f"{where} holds {short(content)}, but must hold a sweep: a mapping with `parameters`")
    if unknown := sorted(str(word) for word in content if word not in LEGAL):
        raise UserError(f"{where} has the word {unknown[0]!r}, but a sweep has {', '.join(LEGAL)}")
    parameters = content.get("parameters")
    if not isinstance(parameters, Mapping) or not parameters:
        raise UserError(f"{where} has parameters {short(parameters)}, but must have hyperparameters by name there")
    options: dict[str, str | int] = {}
    notes: list[str] = []
    _read_method(content, where, options)
    _read_metric(content, where, options, notes)
    _read_early_terminate(content, where, options, notes)
    if "run_cap" in content:
        options["trials"] = _whole(content["run_cap"], f"run_cap of {where}")
    if "project" in content:
        options["project"] = str(content["project"])
    if answered := [word for word in (*ANSWERED, "metrics") if word in content]:
        notes.append(f"{', '.join(answered)} of {where} {'is' if len(answered) == 1 else 'are'} not used")
    return Sweep(
        parameters={str(name): words for name, words in parameters.items()}, options=options, notes=tuple(notes)
    )


class _Loader(yaml.SafeLoader):
    """Reads plain YAML, but refuses a key that a mapping has twice, of which YAML's readers silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for before, (key, _) in enumerate(node.value):
            if key.value in keys[:before]:
                raise ConstructorError(None, None, f"{short(key.value)} is there twice", key.start_mark)
        return super().construct_mapping(node, deep=deep)


def _load(path: Path) -> object:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} has {path.stat().st_size:,} bytes, but a sweep has at most {MAX_BYTES:,}")
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)  # a safe one; JSON is YAML, too
    except FileNotFoundError as error:
        raise UserError(
            f"space is {str(path)!r}, but must be one of {', '.join(SPACES)}, or the path of a sweep file, and no such "
            "file is there"
        ) from error
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        line = f", line {place.line + 1}" if place else ""
        raise UserError(
            f"{path}{line} is not legal as YAML or JSON: {getattr(error, 'problem', None) or error}"
        ) from error
    except (OSError, ValueError, RecursionError) as error:  # ValueError: a month 13, a null byte in the path
        raise UserError(f"{str(path)!r} cannot be read as a sweep: {error}") from error


def _read_method(content: Mapping[Any, Any], where: str, options: dict[str, str | int]) -> None:
    if "method" not in content:
        return
    method = content["method"]
    if not isinstance(method, str) or method not in METHODS:
        raise UserError(f"method of {where} is {short(method)}, but must be one of {', '.join(METHODS)}")
    options["searcher"] = METHODS[method]


def _read_metric(content: Mapping[Any, Any], where: str, options: dict[str, str | int], notes: list[str]) -> None:
    """Read `metric`: the validation Dice as it is, a cost as a second objective; any other is answered with a note."""
    metric = content.get("metric")
    if metric is None:
        return
    if not isinstance(metric, Mapping) or not isinstance(metric.get("name"), str):
        raise UserError(f"metric of {where} is {short(metric)}, but must have a name and a goal")
    name, goal = metric["name"], metric.get("goal", "minimize")
    if goal not in ("minimize", "maximize"):
        raise UserError(f"goal of the metric of {where} is {short(goal)}, but must be minimize or maximize")
    if name in OBJECTIVES:
        if goal != OBJECTIVES[name].direction:
            raise UserError(f"metric of {where} is to {goal} {name}, but {name} is to {OBJECTIVES[name].direction}")
        if name != METRIC:
            options["objective"] = name
    else:
        notes.append(f"metric of {where} is {name}, but trials are compared by {METRIC}, which is maximized")
    if left := [word for word in metric if word not in ("name", "goal")]:
        notes.append(f"{', '.join(map(str, left))} of the metric of {where} has no effect")


def _read_early_terminate(
    content: Mapping[Any, Any], where: str, options: dict[str, str | int], notes: list[str]
) -> None:
    """Read `early_terminate`: like ASHA, W&B compares a run with earlier ones at iterations that grow by eta."""
    words = content.get("early_terminate")
    if words is None:
        return
    if not isinstance(words, Mapping) or words.get("type") != "hyperband":
        raise UserError(f"early_terminate of {where} is {short(words)}, but must have the type hyperband")
    if left := [word for word in words if word not in ("type", "min_iter", "max_iter", "s", "eta")]:
        notes.append(f"{', '.join(map(str, left))} of early_terminate of {where} has no effect")
    eta = _whole(words.get("eta", 3), f"eta of early_terminate of {where}")
    if eta < 2:
        raise UserError(f"eta of early_terminate of {where} is {eta}, but must be at least 2")
    options |= {"scheduler": "asha", "reduction_factor": eta}
    if "min_iter" in words:
        options["grace_period"] = _whole(words["min_iter"], f"min_iter of early_terminate of {where}")
    elif "max_iter" in words and "s" in words:
        longest = _whole(words["max_iter"], f"max_iter of early_terminate of {where}")
        options["grace_period"] = max(1, longest // eta ** _whole(words["s"], f"s of early_terminate of {where}"))
    notes.append(
        f"early_terminate of {where} is done by asha: a rung at "
        f"{options.get('grace_period', 'the grace period')} epochs, and each next one at {eta} times the last"
    )


def _whole(value: object, what: str) -> int:
    number = value if isinstance(value, int | float) and not isinstance(value, bool) and is_finite(value) else 0
    if number < 1 or number != int(number):
        raise UserError(f"{what} is {short(value)}, but must be a whole number of at least 1")
    return int(number)
