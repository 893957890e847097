"""The front page and the guides: every command they show is legal, and every file they link to is there."""

import re
import shlex
import tomllib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from search.cli import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "search/README.md", "tests/README.md", ".github/CONTRIBUTING.md")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def shown_commands(page: str) -> list[list[str]]:
    """Return the `python -m ...` commands in the shell blocks of a page, word by word from the module on."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    words = [shlex.split(part, comments=True) for line in lines for part in line.split("&&")]
    return [
        line[line.index("-m") + 1 :] for line in words if "-m" in line and line[line.index("-m") - 1].endswith("python")
    ]


ALL_COMMANDS = [(page, command) for page in PAGES for command in shown_commands(page)]


def read_help(module: str, capsys) -> str:
    spec = find_spec(module)
    assert spec is not None, f"there is no module {module}"
    name = module if spec.submodule_search_locations is None else f"{module}.__main__"
    with pytest.raises(SystemExit) as ended:
        import_module(name).main(["--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_readme_fits_on_a_page_and_its_two_commands_are_numbered():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    assert re.findall(r"^```bash\n# ([12])\.", text, re.MULTILINE) == ["1", "2"]


def test_there_are_commands_to_read():
    modules = {command[0] for _, command in ALL_COMMANDS}
    assert {"search.tune", "search.promote", "search.sync", "data.inspect", "model.predict", "model.serve"} <= modules


@pytest.mark.parametrize("command", [command for _, command in ALL_COMMANDS if command[0] != "pytest"], ids=" ".join)
def test_shown_command_has_only_options_that_exist(command, capsys):
    module, *arguments = command
    options = [argument for argument in arguments if argument.startswith("--")]
    text = read_help(module, capsys)
    assert [option for option in options if option not in text] == []


@pytest.mark.parametrize("page", PAGES)
def test_options_that_a_page_names_exist(page, capsys):
    """Each option in backticks belongs to some command, to pytest or to pip."""
    named = set(re.findall(r"`(--[a-z][a-z-]+)", (ROOT / page).read_text()))
    if not named:
        return
    known = "".join(read_help(row.module.removesuffix(".__main__"), capsys) for row in COMMANDS.values())
    assert sorted(option for option in named if option not in known and option not in ("--debug", "--cov")) == []


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_to_files_and_headings_that_exist(page):
    broken = []
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", (ROOT / page).read_text()):
        name, _, heading = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE) if heading and target.is_file() else []
        slugs = [re.sub(r"[^a-z0-9 -]", "", found.lower()).replace(" ", "-") for found in headings]
        if not target.exists() or (heading and heading not in slugs):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES)
def test_extras_that_a_page_installs_exist(page):
    extras = {
        extra for group in re.findall(r"'\.\[([a-z,]+)\]'", (ROOT / page).read_text()) for extra in group.split(",")
    }
    assert extras <= EXTRAS.keys()


def test_search_readme_names_files_that_exist():
    room = ROOT / "search"
    names = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+(?:\.py|/))`", (room / "README.md").read_text()))
    written = {"best/", "final/", "errors/", "ray/", "wandb/", "tensorboard/"}  # in an experiment's folder
    assert [name for name in sorted(names - written) if not ((room / name).exists() or (ROOT / name).exists())] == []
