"""The rules of the house, each as a test: a rule that nobody runs is a wish."""

from __future__ import annotations

import ast
import json
import re
import runpy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer

import i2icli
from i2icli.cli.app import app
from i2icli.methods import METHODS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "i2icli"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
FLAGS = ROOT / "tests" / "cli" / "flags.json"
# What a package may import besides itself: everything of a lower number, as docs/architecture.md
# lists it. A package on the same layer is a sibling, and siblings do not know each other.
LAYERS = {
    "cli": 11,
    "bench": 10,
    "reports": 10,
    "training": 9,
    "evaluation": 8,
    "viz": 7,
    "interop": 7,
    "inference": 6.5,  # names of 0.1.0
    "translation": 6,
    "metrics": 6,
    "methods": 5,
    "pretrained": 4,
    "datasets": 4,
    "losses": 3,
    "networks": 3,
    "data": 3,
    "pictures": 2,
    "runs": 2,
    "system": 1,
    "config": 0,
    "home": -1,
    "errors": -1,
    "version": -1,
}
# Plain arguments only: networks and losses never see a configuration or a picture file.
BLIND = {"networks", "losses"}


def name_of(path: Path) -> str:
    """Return a file's path inside the repository."""
    return path.relative_to(ROOT).as_posix()


def layer_of(path: Path) -> str:
    """Return the package or top-level module a source file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def parse(path: Path) -> ast.Module:
    """Return a file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), name_of(path))


def imports(path: Path) -> Iterator[str]:
    """Yield the modules a file imports, those for type checking too."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} imports relatively"
            assert node.module is not None
            if node.module == "i2icli":
                yield from (f"i2icli.{alias.name}" for alias in node.names)
            else:
                yield node.module


def module_of(path: Path) -> str:
    """Return the dotted name of a source file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported_modules(path: Path, modules: Mapping[str, Path]) -> Iterator[str]:
    """Yield the modules of ours that a file imports anywhere, those for type checking left out."""
    tree = parse(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module in modules:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else node.module


def each(paths: list[Path]) -> pytest.MarkDecorator:
    """Run a test once a file."""
    return pytest.mark.parametrize("path", paths, ids=name_of)


@each(SOURCES)
def test_file_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 400


@each(SOURCES)
def test_functions_are_short(path: Path) -> None:
    long = [
        node.name
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > 60
    ]
    assert long == []


def test_imports_point_one_way() -> None:
    wrong = []
    for path in SOURCES:
        own = layer_of(path)
        if own not in LAYERS:  # the package itself, which offers the translator by name
            continue
        for module in imports(path):
            other = module.split(".")[1] if module.startswith("i2icli.") else own
            allowed = other == own or LAYERS.get(other, -1) < LAYERS[own]
            if not allowed or (own in BLIND and other in {"config", "data"}):
                wrong.append(f"{name_of(path)} imports {module}")
    assert wrong == []


def test_modules_import_in_no_circle() -> None:
    """Imports inside functions count too: they hide a circle and do not end it."""
    modules = {module_of(path): path for path in SOURCES}
    graph = {name: set(imported_modules(path, modules)) for name, path in modules.items()}
    while graph:
        free = {name for name, others in graph.items() if not others & graph.keys()}
        if not free:
            break
        graph = {name: others for name, others in graph.items() if name not in free}
    assert sorted(graph) == []


def test_every_package_has_a_layer() -> None:
    names = {layer_of(path) for path in SOURCES} - {"__init__", "__main__"}
    assert names <= set(LAYERS)


@each(SOURCES)
def test_nothing_of_click_or_of_typers_inside_is_imported(path: Path) -> None:
    for module in imports(path):
        assert module.split(".")[0] != "click"
        assert module == "typer" or not module.startswith("typer.")
    assert not re.search(r"\btyper\._", path.read_text(encoding="utf-8"))


@each([path for path in SOURCES if layer_of(path) == "methods"])
def test_losses_never_yield_inside_a_with(path: Path) -> None:
    inside = [
        inner.lineno
        for node in ast.walk(parse(path))
        if isinstance(node, ast.With)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Yield | ast.YieldFrom)
    ]
    assert inside == []


@each([path for path in SOURCES if layer_of(path) in {"methods", "networks", "losses"}])
def test_methods_networks_and_losses_do_not_train_move_print_or_open(path: Path) -> None:
    wrong = []
    for node in ast.walk(parse(path)):
        if not isinstance(node, ast.Call):
            continue
        call, line = node.func, node.lineno
        if isinstance(call, ast.Name) and call.id in {"print", "open"}:
            wrong.append(f"{call.id} in line {line}")
        if isinstance(call, ast.Attribute):
            if call.attr in {"backward", "step", "cuda", "read_text", "write_text", "open"}:
                wrong.append(f".{call.attr}( in line {line}")
            if call.attr == "to" and isinstance(node.args[0], ast.Name):
                wrong += [f".to(device) in line {line}"] * (node.args[0].id == "device")
    assert wrong == []


@each([path for path in SOURCES if layer_of(path) != "cli"])
def test_only_the_command_line_prints(path: Path) -> None:
    calls = [node.func for node in ast.walk(parse(path)) if isinstance(node, ast.Call)]
    assert not [call for call in calls if isinstance(call, ast.Name) and call.id == "print"]


@each([path for path in SOURCES if layer_of(path) != "methods"])
def test_no_method_is_known_by_name_outside_methods(path: Path) -> None:
    named = [
        node.value
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Constant) and node.value in METHODS
    ]
    assert named == []


@pytest.mark.parametrize(
    "module",
    sorted({path.stem for path in (PACKAGE / "methods").glob("*.py")} - {"__init__"}),
)
def test_paper_module_registers_exactly_one_method(module: str) -> None:
    registered = [
        name for name, kind in METHODS.items() if kind.__module__ == f"i2icli.methods.{module}"
    ]
    assert len(registered) == 1


def test_file_names_say_what_is_inside() -> None:
    assert [name_of(p) for p in SOURCES if p.stem in {"utils", "util", "helpers", "misc"}] == []


def test_test_files_have_names_of_their_own() -> None:
    stems = [path.stem for path in TESTS if path.stem != "conftest"]
    assert sorted(stems) == sorted(set(stems))


def text_files() -> list[Path]:
    """Return all text files of the project."""
    folders = ("i2icli", "tests", "docs", "presets", "scripts", ".ci")
    suffixes = {".py", ".md", ".toml", ".json", ".txt", ""}
    found = [p for folder in folders for p in (ROOT / folder).rglob("*") if p.suffix in suffixes]
    found += [*ROOT.glob("*.md"), *ROOT.glob("*.toml"), ROOT / "Makefile"]
    return sorted(p for p in found if p.is_file() and "__pycache__" not in p.parts)


@each(text_files())
def test_text_is_ascii_and_names_no_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.isascii(), [line for line in text.splitlines() if not line.isascii()][:3]
    # Written in two parts, so that this file does not name them itself.
    for folder in ("/wo" + "rk/", "/ro" + "ot/"):
        assert folder not in text


@each(SOURCES)
def test_departures_from_the_official_code_are_said_in_fixed_words(path: Path) -> None:
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    for number, line in enumerate(lines):
        if "departs from the official" not in line.lower():
            continue
        comment = []
        for following in lines[number:]:
            if not following.startswith("#"):
                break
            comment.append(following.removeprefix("#").strip())
        said = " ".join(comment)
        assert re.match(r"Departs from the official code: .+, because .+\.", said), (
            f"{name_of(path)}:{number + 1}: {line}"
        )


def test_public_names_are_pinned() -> None:
    assert sorted(i2icli.__all__) == ["Translator", "__version__", "load_translator"]


def flags(command: Any, path: str = "i2i") -> dict[str, list[str]]:
    """Return the options and arguments of every command, by the words that call it."""
    found = {
        path: sorted(
            "/".join(parameter.opts + parameter.secondary_opts)
            if parameter.param_type_name == "option"
            else f"<{parameter.name}>"
            for parameter in command.params
        )
    }
    for name, child in sorted(getattr(command, "commands", {}).items()):
        found |= flags(child, f"{path} {name}")
    return found


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
