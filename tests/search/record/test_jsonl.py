"""Lines of JSON: nothing lost but a line that was being written, and that without a trace."""

import json
import resource
import signal

import pytest

from data.errors import UserError
from search.record.jsonl import append_line, read_lines

VALUES = [{"number": 0, "dice": 1 / 3}, {"text": "one line\nand \u00e4nother", "none": None}, {"list": [1, {"two": 2}]}]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lines.jsonl"


def write(path, values):
    for value in values:
        append_line(path, value)
    return path.read_bytes()


@pytest.mark.parametrize("durable", [False, True])
def test_read_lines_gives_what_was_appended(path, durable):
    for value in VALUES:
        append_line(path, value, durable=durable)
    assert read_lines(path) == VALUES
    assert [json.loads(line) for line in path.read_text().splitlines()] == VALUES


def test_read_lines_of_no_file_are_none(path):
    assert read_lines(path) == []


def test_read_lines_of_an_empty_file_are_none(path):
    path.touch()
    assert read_lines(path) == []


def test_append_line_to_an_empty_file_is_its_first(path):
    path.touch()
    append_line(path, VALUES[0])
    assert read_lines(path) == VALUES[:1]


def test_read_lines_leave_out_a_last_line_that_was_cut_off_anywhere(path):
    whole = len(write(path, VALUES[:2]))
    content = write(path, VALUES[2:])
    for length in range(whole, len(content)):
        path.write_bytes(content[:length])
        assert read_lines(path) == VALUES[:2]
        assert path.read_bytes() == content[:length]  # reading changes nothing


def test_append_line_makes_room_where_one_was_cut_off_anywhere(path):
    whole = len(write(path, VALUES[:2]))
    content = write(path, VALUES[2:])
    for length in range(whole, len(content)):
        path.write_bytes(content[:length])
        append_line(path, {"after": length})
        assert read_lines(path) == [*VALUES[:2], {"after": length}]


def test_append_line_makes_room_where_the_only_one_was_cut_off(path):
    content = write(path, VALUES[:1])
    path.write_bytes(content[:5])
    append_line(path, VALUES[1])
    assert read_lines(path) == [VALUES[1]]


def test_append_line_does_not_take_back_a_line_that_was_read(path):
    content = write(path, VALUES[:2])
    path.write_bytes(content[:-1])  # all but its end of line
    read = read_lines(path)
    assert read == VALUES[:1]  # which was not written to its end
    append_line(path, VALUES[2])
    assert read_lines(path) == [*read, VALUES[2]]


@pytest.mark.parametrize("place", [0, 1])
def test_read_lines_name_a_line_that_is_not_json(path, place):
    lines = write(path, VALUES).splitlines(keepends=True)
    lines[place] = lines[place][:8] + b"\n"
    path.write_bytes(b"".join(lines))
    with pytest.raises(UserError, match=rf"^{path}, line {place + 1}, is not JSON: "):
        read_lines(path)


def test_read_lines_name_a_last_line_that_is_whole_and_not_json(path):
    write(path, VALUES[:1])
    with path.open("a") as file:
        file.write("garbage\n")
    with pytest.raises(UserError, match=rf"^{path}, line 2, is not JSON: "):
        read_lines(path)


@pytest.mark.parametrize("line", ["[1]", "1", '"text"', "null"])
def test_read_lines_name_a_line_that_is_json_and_no_object(path, line):
    write(path, VALUES[:1])
    with path.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(UserError, match=rf"^{path}, line 2, is not a JSON object$"):
        read_lines(path)


def test_append_line_names_the_file_that_a_full_disk_does_not_take(path):
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device: '.*lines.jsonl'"):
        append_line(path, VALUES[0])


def test_half_a_line_of_a_full_disk_is_gone_after_the_next_line(path):
    lines = write(path, VALUES[:1])
    append_within(path, VALUES[1], num_bytes=len(lines) + 20)
    assert path.stat().st_size == len(lines) + 20
    assert read_lines(path) == VALUES[:1]
    append_line(path, VALUES[2])
    assert read_lines(path) == [VALUES[0], VALUES[2]]


def append_within(path, value, *, num_bytes):
    """Append a line in a process whose files may have no more than so many bytes; the rest of the line is refused."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            append_line(path, value)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
