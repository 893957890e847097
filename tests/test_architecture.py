"""The shape of the program, read from its source: which room may import which, and how long code may get."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(path.relative_to(ROOT) for room in ("data", "model", "search") for path in (ROOT / room).rglob("*.py"))

FORBIDDEN = {
    "data": {"model", "search", "torch", "ray", "wandb", "optuna"},
    "model": {"search", "ray", "wandb", "optuna"},
    "search": set(),
}
ROOMS = (
    "data.printable",
    "data.errors",
    "data.machine",
    "data.legal",
    "data.command",
    "data.docstrings",
    "data.arguments",
    "data.atomic",
    "data.ahead",
    "data.splitting",
    "data.regions",
    "data.head",
    "data.preprocess",
    "data.patient",
    "data.packing",
    "data.augmentation",
    "data.loaders",
    "data.readers.walk",
    "data.readers.tree",
    "data.readers.reader",
    "data.readers.first_bytes",
    "data.readers.truth",
    "data.readers.image_header",
    "data.readers.image_files",
    "data.readers.slices",
    "data.readers.volumes.formats",
    "data.readers.volumes.cases",
    "data.readers.volumes",
    "data.readers.dicom.series",
    "data.readers.dicom.segmentations",
    "data.readers.dicom",
    "data.readers",
    "data.source",
    "data.download",
    "data.inspect",
    "model",
    "model.settings",
    "model.segmentation_network",
    "model.input_view",
    "model.unet_blocks",
    "model.unet",
    "model.networks",
    "model.overlay",
    "model.manifest",
    "model.device",
    "model.memory",
    "model.inference",
    "model.scoring",
    "model.training",
    "model.export",
    "model.weights",
    "model.predict",
    "model.serve",
    "search.record",
    "search.console",
    "search.formatting",
    "search.promotion.options",
    "search.planning",
    "search.scheduling",
    "search.space",
    "search.storage",
    "search.suggestion",
    "search.best",
    "search.result",
    "search.config",
    "search.presets",
    "search.cluster.ray_internals",
    "search.cluster.tune_internals",
    "search.cluster.start",
    "search.cluster.capacity",
    "search.cohort",
    "search.experiment",
    "search.warm_start",
    "search.coordination",
    "search.tracking",
    "search.screen",
    "search.cluster.group",
    "search.cluster",
    "search.planning.half_size",
    "search.planning.measuring",
    "search.planning.estimates",
    "search.planning.budgeted_search",
    "search.promotion",
    "search.planning.preflight",
    "search.report",
    "search.compare",
    "search.promote",
    "search.sync",
    "search.fetch",
    "search.list",
    "search.tune",
    "search.doctor.facts",
    "search.doctor.checks",
    "search.doctor",
    "search.cli",
)
"""Each room imports only from the rooms before it. A module directly in data, model or search is a room of its own."""

MAX_FILE_LINES = 260
MAX_FOLDER_MODULES = 16
MAX_FUNCTION_LINES = 40


@cache
def parse(module: Path) -> ast.Module:
    return ast.parse((ROOT / module).read_text())


@cache
def imported(module: Path) -> set[str]:
    """Return the top-level packages that a module imports anywhere, also inside functions."""
    names = set()
    for node in ast.walk(parse(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: a relative import hides where it points"
            assert node.module is not None
            names.add(node.module.split(".")[0])
    return names


def test_there_are_modules_to_read():
    assert {module.parts[0] for module in MODULES} == {"data", "model", "search"}
    assert imported(Path("search/cluster/engine.py")) >= {"ray", "data", "search", "typing"}


def test_imports_point_from_search_to_model_to_data():
    found = {str(module): imported(module) & FORBIDDEN[module.parts[0]] for module in MODULES}
    assert {module: packages for module, packages in found.items() if packages} == {}


def room_of(module: str) -> str:
    """Return the room of a dotted module: the module itself if ROOMS has it or it is directly in data, model or search,
    and otherwise its folder."""
    if module in ROOMS:
        return module
    folder = module if (ROOT / module.replace(".", "/")).is_dir() else module.rpartition(".")[0]
    return folder if "." in folder else module


def imported_modules(module: Path) -> set[str]:
    """Return the modules of the program that a module imports."""
    found = set()
    for node in ast.walk(parse(module)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in FORBIDDEN:
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            modules = {name for name in names if (ROOT / f"{name.replace('.', '/')}.py").exists()}
            found |= modules or {node.module}
    return found


def test_imports_point_one_way_from_room_to_room():
    places = {room: place for place, room in enumerate((*ROOMS, "search"))}  # search/__init__.py: the Python API
    wrong = []
    for module in MODULES:
        room = room_of(".".join(module.with_suffix("").parts).removesuffix(".__init__"))
        for other in map(room_of, imported_modules(module)):
            if other != room and not places.get(other, 99) < places.get(room, -1):
                wrong.append(f"{module} ({room}) imports {other}")
    assert wrong == []


def test_rooms_are_all_in_the_order():
    found = {room_of(".".join(module.with_suffix("").parts).removesuffix(".__init__")) for module in MODULES}
    assert found - {"data", "search"} == set(ROOMS)


@pytest.mark.parametrize(
    ("package", "room"),
    [
        ("ray", "search/cluster"),
        ("wandb", "search/tracking"),
        ("monai", "model/networks"),
        ("segmentation_models_pytorch", "model/networks"),
    ],
)
def test_only_one_room_knows_a_package(package, room):
    assert {"/".join(module.parts[:2]) for module in MODULES if package in imported(module)} == {room}


def test_modules_have_a_docstring():
    assert [str(module) for module in MODULES if not ast.get_docstring(parse(module))] == []


def test_modules_are_named_for_what_they_are():
    vague = ("utils", "util", "common", "helpers", "misc")
    assert [str(module) for module in MODULES if module.stem in vague] == []


def test_modules_stay_small():
    lengths = {str(module): len((ROOT / module).read_text().splitlines()) for module in MODULES}
    assert {module: length for module, length in lengths.items() if length > MAX_FILE_LINES} == {}


def test_folders_stay_small():
    folders = {str(module.parent): 0 for module in MODULES}
    for module in MODULES:
        folders[str(module.parent)] += module.name != "__init__.py"
    assert {folder: number for folder, number in folders.items() if number > MAX_FOLDER_MODULES} == {}


def test_functions_stay_short():
    lengths = {
        f"{module}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for module in MODULES
        for node in ast.walk(parse(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None
    }
    assert len(lengths) > 1000
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}
