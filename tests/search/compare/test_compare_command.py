"""`search.compare` as a command: its tables on the terminal, its page, its errors."""

import io

import pytest
from rich.console import Console

from search.compare.__main__ import default_name, main
from search.compare.table import Table
from search.compare.terminal import print_tables


def shown(tables, width) -> list[str]:
    console = Console(width=width, record=True, file=io.StringIO())
    print_tables(tables, console)
    return console.export_text().splitlines()


def test_print_tables_breaks_wide_tables_and_loses_nothing():
    header = tuple(f"experiment-{i}" for i in range(7))
    rows = (("depth", *"1234567"), ("searcher", *(f"searcher-{i}" for i in range(7))))
    table = Table(id="x", title="Title", header=header, rows=rows, notes=("[red]note[/red]",))
    lines = shown([table], 60)
    assert max(map(len, lines)) <= 60
    text = "\n".join(lines)
    assert all(f" {name}" in text for name in header)
    assert all(f"searcher-{i}" in text for i in range(7))
    assert sum(line.startswith("depth") for line in lines) == 3
    assert "[red]note[/red]" in text
    assert sum(line.startswith("depth") for line in shown([table], 200)) == 1


def test_print_tables_wraps_long_cells():
    name = "n" * 100
    lines = shown([Table(id="x", title="T", header=(name, name), rows=(("key", "v", "w"),))], 40)
    assert max(map(len, lines)) <= 40
    assert "".join(lines).replace(" ", "").count("n") == 200


def test_command_prints_and_writes_a_page(two, capsys):
    assert main(["a", "b", "--out", str(two)]) == 0
    out = capsys.readouterr().out
    assert "searcher" in out
    assert out.splitlines()[-1] == f"Page        {two / 'compare-a-b.html'}"
    assert (two / "compare-a-b.html").read_text().startswith("<!doctype html>")
    assert main(["b", "a", "--out", str(two), "--html", str(two / "deep/page.html")]) == 0
    assert (two / "deep/page.html").exists()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "c"], "there is no experiment 'c' in {out}; there are: a, b"),
        (["a", "../a"], "there is no experiment '../a' in {out}; there are: a, b"),
        (["a"], "a comparison needs at least two experiments, not 1; there are: a, b"),
        (["a", "b", "a"], "'a' is named twice: name different experiments"),
    ],
)
def test_command_refuses_names(two, capsys, names, message):
    assert main([*names, "--out", str(two)]) == 2
    captured = capsys.readouterr()
    assert captured.err == f"error: {message.format(out=two)}\n"
    assert captured.out == ""
    assert list(two.glob("*.html")) == []


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", "{"),
        ("config.json", '{"config": {"trials": 6}}'),
        ("trials.jsonl", "[1]\n"),
        ("best/metrics.json", "{"),
        ("best/metrics.json", '{"test": {}}'),
    ],
)
def test_command_names_what_is_damaged(two, capsys, file, content):
    (two / "a" / file).write_text(content)
    assert main(["a", "b", "--out", str(two)]) == 2
    captured = capsys.readouterr()
    assert str(two / "a") in captured.err
    assert captured.out == ""


def test_command_refuses_a_page_that_cannot_be_written(two, capsys):
    (two / "file").write_text("")
    assert main(["a", "b", "--out", str(two), "--html", str(two / "file" / "page.html")]) == 2
    assert "choose another file by --html" in capsys.readouterr().err


def test_default_name_fits_a_file_system():
    assert default_name(["a", "b"]) == "compare-a-b.html"
    names = [letter * 100 for letter in "abc"]
    assert default_name(names) == f"compare-{'a' * 100}-and-2-more.html"
