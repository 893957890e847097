"""Run a command of the program: choose its exit status, and print what the user should read when it fails."""

import os
import platform
import select
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

FAULT, USER_ERROR, INTERRUPTED, NOBODY_READS = 1, 2, 130, 141
"""Exit statuses. 0 is success, and a command also returns 1 if it found nothing to do."""

DEBUG = "--debug"
"""Option of every command that prints the traceback of an error on the screen too."""

PACKAGES = ("tumour-search", "numpy", "torch", "ray", "optuna", "wandb", "onnxruntime")
"""Packages whose versions are in the report of a fault, if they are installed."""


def run_command(
    command: Callable[[list[str]], int], argv: Sequence[str] | None = None, *, interrupted: str = ""
) -> int:
    """Run a command, print why it failed if it did, and return its exit status.

    The status is the command's own; 2 after a UserError or a full or read-only disk, which prints one line; 130 after
    Ctrl-C; 141, as a shell has it, if the output went into a pipe that nobody reads any more; 1 after a fault of the
    program, which writes the traceback to a file and prints one line that names it.

    Args:
        command: Takes the arguments without `--debug`, and returns its own exit status.
        argv: The arguments; None takes those of this process.
        interrupted: What the user can do after Ctrl-C, or if nobody reads the output any more.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = DEBUG in arguments
    _open_standard_streams()
    never_fail_to_print()
    try:
        status = command([argument for argument in arguments if argument != DEBUG])
        print(end="", flush=True)
        return status
    except UserError as error:
        return _fail(error, USER_ERROR, debug=debug)
    except KeyboardInterrupt:
        print("; ".join(filter(None, ("interrupted", interrupted))), file=sys.stderr)
        return INTERRUPTED
    except SystemExit as error:
        if not isinstance(error.__context__, BrokenPipeError):  # from which rich makes a SystemExit
            raise
        return _end_unread(interrupted)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _drop_unread():
            return _end_unread(interrupted)
        if is_disk_error(error):
            explained = f"{explain_disk_error(error)}, and run the command again"
            return _fail(error, USER_ERROR, debug=debug, message=explained)
        return _report_fault(error, arguments, debug=debug)
    except Exception as error:
        return _report_fault(error, arguments, debug=debug)


def _open_standard_streams() -> None:
    """Open what the command was started without (`>&-`), so that no other file gets the number of a stream."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def _drop_unread() -> bool:
    """Return whether nobody reads the pipe that is standard output or standard error; it takes anything from now on."""
    pipes = select.poll()
    for number in (1, 2):
        pipes.register(number, select.POLLERR)
    unread = [number for number, event in pipes.poll(0) if event & select.POLLERR]
    null = os.open(os.devnull, os.O_WRONLY)
    for number in unread:
        os.dup2(null, number)
    os.close(null)
    return bool(unread)


def _end_unread(interrupted: str) -> int:
    if interrupted:
        print(f"interrupted, as nobody reads the output any more; {interrupted}", file=sys.stderr)
    return NOBODY_READS


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
