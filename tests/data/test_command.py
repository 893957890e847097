"""How a command ends: a mistake of the user is one line, a fault of the program keeps its traceback."""

import errno
import io
import re
import subprocess
import sys
import tempfile

import pytest

from data.command import run_command
from data.errors import UserError


@pytest.fixture(autouse=True)
def _reports(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def raising(error: BaseException):
    def command(argv: list[str]) -> int:
        raise error

    return command


def test_run_command_returns_the_status_of_the_command_and_hands_it_its_arguments():
    assert run_command(len, ["a", "--debug", "b"]) == 2


def test_run_command_prints_a_user_error_as_one_line(capsys, tmp_path):
    assert run_command(raising(UserError("trials is 0, but must be at least 1")), []) == 2
    assert capsys.readouterr().err == "error: trials is 0, but must be at least 1\n"
    assert list(tmp_path.iterdir()) == []


def test_run_command_reports_a_full_disk_with_the_file_and_the_space_that_is_left(capsys, tmp_path):
    file = tmp_path / "missing" / "table.jsonl"
    assert run_command(raising(OSError(errno.ENOSPC, "No space left on device", str(file))), []) == 2
    said = capsys.readouterr().err
    space = r"the disk has no room for it \([0-9.]+ MB of [0-9]+ MB are free\)"
    assert re.fullmatch(
        rf"error: {file} could not be written: {space}; make room there, and run the command again\n", said
    )


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_run_command_reports_a_read_only_disk_as_a_mistake(number, capsys):
    assert run_command(raising(OSError(number, "no", "/there")), []) == 2
    remedy = "check that you may read and write there, and run the command again"
    assert capsys.readouterr().err == f"error: /there could not be opened or written (no); {remedy}\n"


def test_run_command_reports_a_folder_that_was_removed_as_a_mistake(capsys, tmp_path):
    gone = tmp_path / "gone" / "events.jsonl"
    assert run_command(lambda _: len(gone.read_text()), []) == 2
    assert f"{gone} could not be opened or written (No such file or directory); check that" in capsys.readouterr().err


def test_run_command_reports_a_missing_file_of_its_own_as_a_fault(tmp_path):
    assert run_command(lambda _: len((tmp_path / "mine").read_text()), []) == 1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_run_command_prints_names_that_the_terminal_cannot_show(encoding, monkeypatch):
    screen = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", screen)
    assert run_command(lambda _: print("p\u0142aty", "caf\udce9") or 0, []) == 0
    screen.flush()
    name = "p\u0142aty" if encoding == "utf-8" else "p\\u0142aty"
    assert screen.buffer.getvalue().decode(encoding) == name + " caf\\udce9\n"


@pytest.mark.parametrize("fault", [ValueError("too few values"), OSError(errno.EBADF, "bad"), KeyError("x")])
def test_run_command_keeps_the_traceback_of_a_fault_in_a_file(fault, capsys, tmp_path):
    assert run_command(raising(fault), ["--name", "a"]) == 1
    (report,) = tmp_path.iterdir()
    said = capsys.readouterr().err
    assert said.startswith(f"error: this is a fault of the program; please report it with {report} (")
    assert said.count("\n") == 1
    assert "--name a" in report.read_text()
    assert "in command\n    raise error\n" in report.read_text()


def test_run_command_prints_the_traceback_where_debug_asks_for_it(capsys):
    assert run_command(raising(ValueError("too few values")), ["--debug"]) == 1
    assert "in command\n    raise error\nValueError: too few values\n" in capsys.readouterr().err


def test_run_command_prints_the_traceback_where_no_file_can_be_written(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert run_command(raising(ValueError("too few values")), []) == 1
    assert "ValueError: too few values\n" in capsys.readouterr().err


def test_run_command_ends_on_ctrl_c_with_the_status_of_an_interrupt(capsys):
    assert run_command(raising(KeyboardInterrupt()), [], interrupted="go on with --resume NAME") == 130
    assert capsys.readouterr().err == "interrupted; go on with --resume NAME\n"


PRINTS = {
    "little": "print('a line')",
    "much": "[print('a line') for _ in range(100_000)]",
    "by rich": "[rich.print('a line') for _ in range(10_000)]",
}
PROGRAM = """
import rich, sys
from data.command import run_command
sys.exit(run_command(lambda _: {prints} and None or 0, [], interrupted="go on with --resume NAME"))
"""


@pytest.mark.parametrize("prints", PRINTS.values(), ids=PRINTS)
def test_command_whose_output_nobody_reads_ends_without_a_fault(prints):
    command = [sys.executable, "-c", PROGRAM.format(prints=prints)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        said = process.stderr.read()
    assert said == "interrupted, as nobody reads the output any more; go on with --resume NAME\n"
    assert process.returncode == 141


def test_a_pipe_that_is_not_the_output_is_a_fault(capsys):
    assert run_command(raising(BrokenPipeError("a socket")), []) == 1
    assert "fault of the program" in capsys.readouterr().err


def test_command_without_standard_streams_has_some():
    prints = "sys.exit(sum(stream.fileno() != n for n, stream in enumerate([sys.stdin, sys.stdout, sys.stderr])))"
    shell = 'exec "$0" -c "$1" <&- >&- 2>&-'
    subprocess.run(["sh", "-c", shell, sys.executable, PROGRAM.format(prints=prints)], check=True)
