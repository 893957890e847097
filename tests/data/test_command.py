"""How a command ends: a mistake of the user is one line, a fault of the program keeps its traceback."""

import errno
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


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_run_command_reports_a_read_only_disk_as_a_mistake(number, capsys):
    assert run_command(raising(OSError(number, "no", "/there")), []) == 2
    assert capsys.readouterr().err == f"error: [Errno {number}] no: '/there'\n"


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
    assert run_command(raising(KeyboardInterrupt()), [], interrupted="interrupted; go on with --resume NAME") == 130
    assert capsys.readouterr().err == "interrupted; go on with --resume NAME\n"
