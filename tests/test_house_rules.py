"""The rules of the house, each as a test that lists all offenders.

What ruff can say it says (`pyproject.toml`): no print, nothing of click, names and docstrings.
"""

from __future__ import annotations

import ast
import json
import re
import runpy
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

import i2icli
from i2icli.cli.app import app
from i2icli.methods import METHODS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "i2icli"
FLAGS = ROOT / "tests" / "cli" / "flags.json"
TEXTS = {path: path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {path: ast.parse(text, str(path)) for path, text in TEXTS.items()}

# What a room may import besides itself: rooms of a lower number. Rooms of one number are
# neighbours, and neighbours do not know each other. docs/architecture.md says what each is for.
LAYERS = {
    "cli": 12,
    "bench": 11,
    "reports": 11,
    "training": 10,
    "evaluation": 9,
    "viz": 8,
    "interop": 8,
    "inference": 8,  # names of 0.1.0
    "translation": 7,
    "metrics": 7,
    "methods": 6,
    "pretrained": 5,
    "datasets": 5,
    "losses": 5,
    "networks": 4,
    "data": 4,
    "pictures": 3,
    "runs": 3,
    "system": 2,
    "config": 1,
    "home": 0,
    "errors": 0,
    "version": 0,
}
# Plain arguments only: networks and losses never see a configuration.
BLIND = {"networks", "losses"}
LARGE = {"methods", "networks"}  # may hold more than a tenth of the lines


def name_of(path: Path) -> str:
    """Return a file's path inside the repository."""
    return path.relative_to(ROOT).as_posix()


def room_of(path: Path) -> str:
    """Return the room, or top-level module, that a source file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def nodes(*rooms: str) -> Iterator[tuple[Path, Any]]:
    """Yield every node of the syntax trees of some rooms, of all rooms where none is named."""
    for path, tree in TREES.items():
        if not rooms or room_of(path) in rooms:
            yield from ((path, node) for node in ast.walk(tree))


def imports(path: Path) -> Iterator[str]:
    """Yield the modules of ours that a file imports, also inside functions and for types."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] == "i2icli")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} imports relatively"
            if node.module == "i2icli":
                yield from (f"i2icli.{alias.name}" for alias in node.names)
            elif str(node.module).startswith("i2icli."):
                yield str(node.module)


def at(path: Path, node: ast.AST) -> str:
    """Return where a node is, for a list of offenders."""
    return f"{name_of(path)}:{getattr(node, 'lineno', 0)}"


def test_files_and_functions_are_short() -> None:
    long = [name_of(path) for path, text in TEXTS.items() if text.count("\n") >= 400]
    for path, node in nodes():
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 60:
            long.append(f"{at(path, node)} {node.name}")
    assert long == []


def test_no_room_but_methods_and_networks_holds_over_a_tenth_of_the_lines() -> None:
    lines = Counter[str]()
    for path, text in TEXTS.items():
        lines[room_of(path)] += text.count("\n")
    limit = lines.total() / 10
    assert {r: n for r, n in lines.items() if n > limit and r not in LARGE} == {}


def test_imports_point_one_way() -> None:
    wrong = []
    for path in TREES:
        own = room_of(path)
        for module in imports(path) if own in LAYERS else ():
            other = module.split(".")[1]
            allowed = other == own or LAYERS.get(other, 99) < LAYERS[own]
            if not allowed or (own in BLIND and other in {"config", "data"}):
                wrong.append(f"{name_of(path)} imports {module}")
    assert wrong == []


def module_of(path: Path) -> str:
    """Return the dotted name of a source file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported_modules(tree: ast.Module, modules: Mapping[str, object]) -> Iterator[str]:
    """Yield the modules of ours that a file imports anywhere, those for types alone left out."""
    typed = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n)]
    left_out = {id(inner) for node in typed for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in left_out:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module in modules:
            inner = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in modules else str(node.module) for name in inner)


def test_modules_import_in_no_circle() -> None:
    """Imports inside functions count too: they hide a circle and do not end it."""
    modules = {module_of(path): tree for path, tree in TREES.items()}
    graph = {name: set(imported_modules(tree, modules)) for name, tree in modules.items()}
    while free := {name for name, others in graph.items() if not others & graph.keys()}:
        graph = {name: others for name, others in graph.items() if name not in free}
    assert sorted(graph) == []


def test_every_room_has_a_layer_and_stands_on_the_page_in_that_order() -> None:
    assert {room_of(path) for path in TREES} - {"__init__", "__main__"} == set(LAYERS)
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.+?) \|", page, re.MULTILINE)
    written = {name: int(layer) for layer, names in rows for name in re.findall(r"`(\w+)`", names)}
    assert written == {name: layer for name, layer in LAYERS.items() if name != "inference"}


def test_files_get_their_names_in_one_place() -> None:
    """By `Path.replace`, which alone takes one argument, or by `os`."""
    wrong = []
    for path, node in nodes():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called = ast.unparse(node.func)
            one = called.endswith(".replace") and len(node.args) == 1 and not node.keywords
            if one or called in {"os.replace", "os.rename", "shutil.move"}:
                wrong.append(at(path, node))
    assert [place for place in wrong if "/system/files.py:" not in place] == []


def test_results_become_json_in_one_place() -> None:
    wrong = []
    for path, node in nodes("cli", "bench", "reports"):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {
            "typer.echo",
            "sys.stdout.write",
        }:
            wrong += [at(path, node)] if "json.dumps" in ast.unparse(node) else []
    assert [place for place in wrong if "/cli/show.py:" not in place] == []


def test_losses_never_yield_inside_a_with() -> None:
    wrong = [
        at(path, inner)
        for path, node in nodes("methods")
        if isinstance(node, ast.With)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Yield | ast.YieldFrom)
    ]
    assert wrong == []


def test_methods_networks_and_losses_do_not_train_move_or_open() -> None:
    refused = {"backward", "step", "cuda", "read_text", "write_text", "open"}
    wrong = []
    for path, node in nodes("methods", "networks", "losses"):
        if not isinstance(node, ast.Call):
            continue
        call = node.func
        if isinstance(call, ast.Name) and call.id == "open":
            wrong.append(f"{at(path, node)} open")
        if isinstance(call, ast.Attribute):
            moves = call.attr == "to" and ast.unparse(node.args[0]) == "device"
            wrong += [f"{at(path, node)} .{call.attr}"] * (call.attr in refused or moves)
    assert wrong == []


def test_no_method_is_known_by_name_outside_methods() -> None:
    rooms = LAYERS.keys() - {"methods"}
    named = [
        f"{at(path, node)} {node.value}"
        for path, node in nodes(*rooms)
        if isinstance(node, ast.Constant) and node.value in METHODS
    ]
    assert named == []


def test_each_paper_file_registers_exactly_one_method() -> None:
    registered = Counter(kind.__module__ for kind in METHODS.values())
    papers = {module_of(p) for p in (PACKAGE / "methods").glob("*.py") if p.stem != "__init__"}
    assert registered == dict.fromkeys(papers, 1)


def test_files_have_names_that_say_what_is_inside() -> None:
    assert [name_of(p) for p in TREES if p.stem in {"utils", "util", "helpers", "misc"}] == []
    stems = Counter(p.stem for p in (ROOT / "tests").rglob("*.py") if p.stem != "conftest")
    assert [stem for stem, count in stems.items() if count > 1] == []


def text_files() -> Iterator[Path]:
    """Yield all text files of the project."""
    folders = ("i2icli", "tests", "docs", "presets", "zoo", "scripts", "benchmarks", ".ci")
    suffixes = {".py", ".md", ".toml", ".json", ".txt", ".js", ".css", ".j2", ""}
    inside = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    for path in [*inside, *ROOT.glob("*.md"), *ROOT.glob("*.toml"), ROOT / "Makefile"]:
        if path.suffix in suffixes and path.is_file() and "__pycache__" not in path.parts:
            yield path


def test_texts_are_ascii_and_name_no_machine() -> None:
    # Written in two parts, so that this file does not name them itself.
    machine = ("/wo" + "rk/", "/ro" + "ot/")
    wrong = []
    for path in text_files():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if not line.isascii() or any(folder in line for folder in machine):
                wrong.append(f"{name_of(path)}:{number}: {line}")
    assert wrong == []


def test_departures_from_the_official_code_are_said_in_fixed_words() -> None:
    wrong = []
    for path, text in TEXTS.items():
        lines = [line.strip() for line in text.splitlines()]
        for number, line in enumerate(lines):
            if "departs from the official" not in line.lower():
                continue
            end = next(n for n in range(number, len(lines)) if not lines[n].startswith("#"))
            said = " ".join(part.removeprefix("#").strip() for part in lines[number:end])
            if not re.match(r"Departs from the official code: .+, because .+\.", said):
                wrong.append(f"{name_of(path)}:{number + 1}: {line}")
    assert wrong == []


def test_public_names_are_pinned_and_on_the_page() -> None:
    pinned = "CheckpointError ConfigError DataError FolderOptions I2IError Picture Translator "
    pinned += "WeightsError __version__ find_sources load_translator plan_outputs translate_jobs"
    assert dir(i2icli) == i2icli.__all__ == pinned.split()
    assert all(getattr(i2icli, name) is not None for name in i2icli.__all__)
    page = (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8")
    assert [name for name in i2icli.__all__ if name not in page] == []


def flags(command: Any, path: str = "i2i") -> dict[str, list[str]]:
    """Return the options and arguments of every command, by the words that call it."""
    pinned = {
        path: sorted(
            "/".join(parameter.opts + parameter.secondary_opts)
            if parameter.param_type_name == "option"
            else f"<{parameter.name}>"
            for parameter in command.params
        )
    }
    for name, child in sorted(getattr(command, "commands", {}).items()):
        pinned |= flags(child, f"{path} {name}")
    return pinned


def test_command_line_is_the_pinned_one() -> None:
    """Change it on purpose, with `python tests/test_house_rules.py`, and say so in CHANGELOG.md."""
    pinned = json.loads(FLAGS.read_text(encoding="utf-8"))
    assert flags(typer.main.get_command(app)) == pinned


def test_configuration_page_is_current() -> None:
    """Run `python scripts/configuration_reference.py`."""
    script = runpy.run_path(str(ROOT / "scripts" / "configuration_reference.py"))
    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert written == script["page"]()


def test_every_preset_has_a_row_on_the_page_of_methods() -> None:
    page = (ROOT / "docs" / "methods" / "index.md").read_text(encoding="utf-8")
    rows = "\n".join(line for line in page.splitlines() if line.startswith("|"))
    presets = {path.stem for path in (ROOT / "presets").glob("*.toml")}
    assert {name for name in presets if f"`{name}`" not in rows} == set()


def test_default_test_options_hide_nothing() -> None:
    assert "addopts" not in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


if __name__ == "__main__":
    pinned = json.dumps(flags(typer.main.get_command(app)), indent=2)
    FLAGS.write_text(pinned + "\n", encoding="utf-8")
