"""Run a command of the program: choose its exit status, and print what the user should read when it fails."""

import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from data.errors import UserError
from data.machine.disk_errors import explain_disk_error, is_disk_error
from data.printable import never_fail_to_print, printable

FAULT, USER_ERROR, INTERRUPTED = 1, 2, 130
"""Exit statuses. 0 is success, and a command also returns 1 if it found nothing to do."""

DEBUG = "--debug"
"""Option of every command that prints the traceback of an error on the screen too."""

PACKAGES = ("tumour-search", "numpy", "torch", "ray", "optuna", "wandb", "onnxruntime")
"""Packages whose versions are in the report of a fault, if they are installed."""


def run_command(
    command: Callable[[list[str]], int], argv: Sequence[str] | None = None, *, interrupted: str = "interrupted"
) -> int:
    """Run a command, print why it failed if it did, and return its exit status.

    The status is the command's own; 2 after a UserError or a full or read-only disk, which prints one line; 130 after
    Ctrl-C; 1 after a fault of the program, which writes the traceback to a file and prints one line that names it.

    Args:
        command: Takes the arguments without `--debug`, and returns its own exit status.
        argv: The arguments; None takes those of this process.
        interrupted: The line that is printed after Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = DEBUG in arguments
    never_fail_to_print()
    try:
        return command([argument for argument in arguments if argument != DEBUG])
    except UserError as error:
        return _fail(error, USER_ERROR, debug=debug)
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        if is_disk_error(error):
            explained = f"{explain_disk_error(error)}, and run the command again"
            return _fail(error, USER_ERROR, debug=debug, message=explained)
        return _report_fault(error, arguments, debug=debug)
    except Exception as error:
        return _report_fault(error, arguments, debug=debug)


def _fail(error: Exception, status: int, *, debug: bool, message: str = "") -> int:
    if debug:
        traceback.print_exception(error)
    print(f"error: {printable(message or str(error))}", file=sys.stderr)
    return status


def _report_fault(error: Exception, arguments: Sequence[str], *, debug: bool) -> int:
    report = _describe(error, arguments)
    if debug:
        print(report, file=sys.stderr)
    name = f"tumour-search-fault-{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.txt"
    path = Path(tempfile.gettempdir()) / name
    try:
        path.write_text(report)
    except OSError as unwritable:  # only the screen is left
        print(report, file=sys.stderr)
        print(f"error: this is a fault of the program; please report the text above ({unwritable})", file=sys.stderr)
        return FAULT
    last = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    print(f"error: this is a fault of the program; please report it with {path} ({last})", file=sys.stderr)
    return FAULT


def _describe(error: Exception, arguments: Sequence[str]) -> str:
    versions = ", ".join(f"{name} {found}" for name in PACKAGES if (found := _version(name)))
    return "\n".join(
        (
            f"command: {' '.join([Path(sys.argv[0]).name, *arguments])}",
            f"python {platform.python_version()} on {platform.platform()}; {versions}",
            "",
            "".join(traceback.format_exception(error)),
        )
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
