"""The command: what it prints for people and for programs, its exit status, and that nothing stops it."""

import io
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from search.doctor import __main__ as command
from search.doctor.checks.finding import Level, fail, ok, warn
from search.doctor.display import print_finding, print_summary, to_json
from search.doctor.sections import SECTIONS, Request, Section, run
from tests.support.few_packages import environment_without

ROOT = Path(__file__).resolve().parents[3]
REQUEST = Request(is_quick=True, is_online=False, out="runs", environment={})
FEW = ["torch", "ray", "optuna", "wandb", "pandas", "pyarrow", "onnx", "albumentations", "pydantic"]


def doctor(environment, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "search.doctor", "--quick", *options],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
    )


def shown(print_it, what, *, width: int = 80) -> str:
    text = io.StringIO()
    print_it(what, Console(file=text, width=width, no_color=True))
    return text.getvalue()


def test_remedy_is_below_its_line_and_indented_like_the_value():
    text = shown(print_finding, fail("memory", "1.0 GB free", "needs more: end other programs"))
    assert [line.rstrip() for line in text.splitlines()] == [
        "fail  memory                    1.0 GB free",
        "                                -> needs more: end other programs",
    ]


def test_long_values_are_wrapped_below_each_other():
    lines = shown(print_finding, ok("name", "word " * 40), width=60).splitlines()
    assert len(lines) > 2
    assert all(line.startswith(" " * 32) for line in lines[1:])


def test_control_characters_are_not_printed():
    assert "\x1b" not in shown(print_finding, ok("name", "a\x1b[2Jb"))


@pytest.mark.parametrize(
    ("findings", "words"),
    [
        ([ok("a", "1")], "All is well: a search works here."),
        ([ok("a", "1"), warn("b", "2", "c")], "A search works here. 1 yellow line could be better: b."),
        ([warn("b", "2", "c"), fail("a", "1", "d"), fail("e", "1", "d")], "because of 2 red lines: a, e."),
    ],
)
def test_summary_says_what_it_means(findings, words):
    assert words in shown(partial(print_summary, is_proven=True), findings)


def test_summary_of_a_quick_look_promises_less():
    text = shown(partial(print_summary, is_proven=False), [ok("a", "1")], width=100)
    assert text.strip() == "All is well: nothing that was looked at keeps a search from working."


def test_json_has_each_finding_and_the_worst_level():
    found = json.loads(to_json({"Memory": [ok("a", "1"), fail("b", "2", "c")], "Ray": [warn("d", "3", "e")]}))
    assert found["level"] == "fail"
    assert found["findings"][1] == {"section": "Memory", "name": "b", "level": "fail", "value": "2", "remedy": "c"}
    assert json.loads(to_json({}))["level"] == "ok"


def test_check_that_breaks_is_a_finding_after_those_before_it():
    def check(request):
        yield ok("a", "1")
        raise ZeroDivisionError("division by zero")

    first, second = run(check, REQUEST)
    assert first == ok("a", "1")
    assert second.level is Level.WARN
    assert second.value == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize(("findings", "status"), [([ok("a", "1"), warn("b", "2", "c")], 0), ([fail("a", "1", "d")], 1)])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_exit_status_is_one_if_anything_is_red(monkeypatch, capsys, findings, status, options):
    monkeypatch.setattr(command, "SECTIONS", {"Section": Section(doing="", checks=(lambda request: findings,))})
    assert command.main(options) == status
    assert "a" in capsys.readouterr().out


def test_python_without_the_packages_of_a_search_gets_an_answer(tmp_path):
    done = doctor(environment_without(FEW, tmp_path), "--json")
    found = {one["name"]: one for one in json.loads(done.stdout)["findings"]}
    assert (done.returncode, done.stderr) == (1, "")
    assert {one["section"] for one in found.values()} == {*SECTIONS}
    assert found["loading"]["level"] == found["torch"]["level"] == "fail"
    assert "-m pip install -e '.[search]'" in found["loading"]["remedy"]
    assert "not checked" not in found


def test_python_without_the_packages_of_the_command_line_gets_an_answer(tmp_path):
    done = doctor(environment_without(["tyro", "rich", "numpy"], tmp_path))
    assert done.returncode == 1
    assert done.stdout.startswith("fail  tyro, rich cannot be imported by ")
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_whole_command_finds_this_machine_well_enough(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "PYTHONPATH")}
    done = doctor(environment | {"WANDB_API_KEY": "hunter2"}, "--json", "--out", str(tmp_path / "runs"))
    found = json.loads(done.stdout)
    assert done.stderr == ""
    assert {one["section"] for one in found["findings"]} == {*SECTIONS}
    assert [one for one in found["findings"] if one["name"] == "not checked"] == []
    assert {one["level"] for one in found["findings"]} <= {"ok", "warn", "fail"}
    assert done.returncode == int(found["level"] == "fail")
    assert {one["name"]: one["level"] for one in found["findings"]}["loading"] == "ok"
    assert "hunter2" not in done.stdout
    assert [*tmp_path.iterdir()] == []
