"""`python -m search.space show|check [SPACE]`: what can be an axis, what a space holds, and whether a file is legal."""

import sys
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from data.arguments import parse_arguments
from data.command import run_command
from data.docstrings import field_docstrings
from data.errors import UserError
from model.networks import DEFAULT_ARCHITECTURE, find_architecture
from model.training.train_config import TrainConfig
from search.console import console
from search.space.configs import architectures
from search.space.hyperparameters import ARCHITECTURE, Hyperparameter, find_hyperparameters
from search.space.make import Changes, make_space
from search.space.named import SPACES
from search.space.space import Space, describe
from search.space.sweep_file import read_sweep

ACTIONS = ("show", "check")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Show what can be an axis of a search, and what a space holds; or check a space file.

    `show` alone lists all hyperparameters with their meaning, legal values and default. `show core`, `show wide` and
    `show FILE` list the axes and constants of a space. `check FILE` says in a line whether a file is legal.
    """

    action: Annotated[str, tyro.conf.Positional]
    """`show` or `check`."""

    space: Annotated[str, tyro.conf.Positional] = ""
    """`core`, `wide`, or the path of a file in the words of a W&B sweep."""

    network: str = ""
    """Network of all trials, as in search.tune; its hyperparameters are shown."""


def main(argv: Sequence[str] | None = None) -> int:
    """Show or check a space; return 0, or 2 if it is not legal."""
    return run_command(_main, argv)


def _main(argv: Sequence[str]) -> int:
    arguments = parse_arguments(Arguments, argv, prog="python -m search.space")
    if arguments.action not in ACTIONS:
        raise UserError(f"action is {arguments.action!r}, but must be one of {', '.join(ACTIONS)}")
    if not arguments.space:
        if arguments.action == "check":
            raise UserError("check needs the path of a space file, as in python -m search.space check sweep.yaml")
        print_hyperparameters((arguments.network or DEFAULT_ARCHITECTURE,), console)
        return 0
    space = make_space(arguments.space, Changes(network=arguments.network))
    sweep = None if arguments.space in SPACES else read_sweep(arguments.space)
    if arguments.action == "show":
        print_space(space, console)
    else:
        console.print(
            f"{arguments.space}: {_count(space.axes, 'axis', 'axes')}, "
            f"{_count(space.constants, 'constant', 'constants')}",
            highlight=False,
            soft_wrap=True,
        )
    for name, value in (sweep.options if sweep else {}).items():
        console.print(f"asks for --{name.replace('_', '-')} {value}", highlight=False)
    for note in sweep.notes if sweep else ():
        print(f"note: {note}", file=sys.stderr)
    return 0


def _count(things: Sized, one: str, more: str) -> str:
    return f"{len(things)} {one if len(things) == 1 else more}"


def print_hyperparameters(networks: Sequence[str], target: Console) -> None:
    """Print every hyperparameter of some networks and of the training."""
    meanings = _meanings(networks)
    for name, one in sorted(find_hyperparameters(networks).items()):
        default = "" if one.rule.default is None else f" = {one.rule.default}"
        _print_entry(target, name, default, f"{meanings.get(name, '')} Legal: {_legal(one)}.")


def print_space(space: Space, target: Console) -> None:
    """Print the axes and the constants of a space."""
    networks = architectures(space)
    meanings, legal = _meanings(networks), find_hyperparameters(networks)
    for name, text in describe(space).items():
        is_legal = f" Legal: {_legal(legal[name])}." if name in legal else ""
        _print_entry(target, name, f": {text}", meanings.get(name, "") + is_legal)


def _print_entry(target: Console, name: str, value: str, text: str) -> None:
    target.print(Text.assemble((name, "bold"), value), highlight=False)
    target.print(Padding(Text(text), (0, 0, 0, 4)), highlight=False)


def _legal(one: Hyperparameter) -> str:
    legal = {rule.legal for rule in one.rules.values()}
    text = legal.pop() if len(legal) == 1 else "; ".join(f"{name}: {rule.legal}" for name, rule in one.rules.items())
    parts = [f"{name} is {' or '.join(map(str, values))}" for name, values in one.condition.items()]
    return f"{text}; where {' and '.join(parts)}" if parts else text


def _meanings(networks: Sequence[str]) -> dict[str, str]:
    """Return the docstring of each hyperparameter's field."""
    found = field_docstrings(TrainConfig)
    for name in reversed(networks):
        found |= find_architecture(name).meanings()
    return found | {ARCHITECTURE: "The network, by its name (search.tune --help: --network)."}


if __name__ == "__main__":
    sys.exit(main())
