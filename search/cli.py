"""`tumour-search COMMAND ...`: all commands under one name. Each is also a module, as in `python -m search.tune`.

A command's module is imported only when the command is run. So `--help` answers at once, and `tumour-search predict`
works where only the packages for inference are installed.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version

from data.command import USER_ERROR

PROGRAM = "tumour-search"


@dataclass(frozen=True, kw_only=True)
class Command:
    """A row of the table of commands."""

    module: str
    """The module whose `main(arguments)` runs it."""

    extra: str
    """The optional dependencies that it needs, as in pip install -e '.[EXTRA]'; "" if it needs none."""

    help: str


COMMANDS = {
    "download": Command(module="data.download", extra="download", help="fetch the LGG dataset from Kaggle"),
    "inspect": Command(module="data.inspect.__main__", extra="", help="check a folder of patients before a search"),
    "tune": Command(module="search.tune", extra="search", help="search configurations and export the best as a model"),
    "space": Command(
        module="search.space.__main__",
        extra="search",
        help="list what can be an axis of a search, or check a space file",
    ),
    "list": Command(module="search.list", extra="search", help="list the experiments of a folder or a bucket"),
    "promote": Command(module="search.promote", extra="search", help="choose the winner of a search again"),
    "report": Command(module="search.report.__main__", extra="search", help="write the report of a search again"),
    "compare": Command(module="search.compare.__main__", extra="search", help="compare the results of experiments"),
    "sync": Command(module="search.sync", extra="search", help="send offline runs to Weights & Biases"),
    "fetch": Command(module="search.fetch", extra="search", help="copy an experiment from a bucket to a folder"),
    "doctor": Command(
        module="search.doctor.__main__",
        extra="",
        help="check this machine, and say what to do about what is wrong",
    ),
    "manifest": Command(module="model.manifest", extra="", help="check the files of an exported model"),
    "predict": Command(module="model.predict.__main__", extra="infer", help="segment patients with an exported model"),
    "serve": Command(module="model.serve.__main__", extra="serve", help="serve an exported model over HTTP"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, 1 for nothing to do or a fault, 2 for a mistake of the user."""
    name, *arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(_describe_commands())
        return 0
    if name == "--version":
        print(version(PROGRAM))
        return 0
    if name not in COMMANDS:
        print(f"error: {name!r} is not a command; choose one of {', '.join(COMMANDS)}", file=sys.stderr)
        return USER_ERROR
    try:
        command = import_module(COMMANDS[name].module)
    except ModuleNotFoundError as error:
        return _report_missing(error, name)
    return command.main(arguments) or 0


def _report_missing(error: ModuleNotFoundError, name: str) -> int:
    """Name the command that installs what a command needs; re-raise if a module of the program itself is missing."""
    package, extra = (error.name or "").partition(".")[0], COMMANDS[name].extra
    if package in ("data", "model", "search") or not extra:
        raise error
    install = f"run pip install -e '.[{extra}]' in the clone of the repository"
    print(f"error: {PROGRAM} {name} needs {package}, which is not installed: {install}", file=sys.stderr)
    return USER_ERROR


def _describe_commands() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.help}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            f"usage: {PROGRAM} COMMAND [OPTIONS]",
            "",
            "Search U-Net configurations for tumour segmentation, and use the resulting model.",
            "",
            *lines,
            "",
            f"{PROGRAM} COMMAND --help lists the options of a command.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
