"""A wheel and an editable install: both find the presets from any working directory."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PRESETS = sorted(path.stem for path in (ROOT / "presets").glob("*.toml"))

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the folders of an environment differ"),
    pytest.mark.skipif(
        not (importlib.util.find_spec("hatchling") and importlib.util.find_spec("editables")),
        reason="needs the build backend without a network: pip install hatchling editables",
    ),
]


def pip(*arguments, python=None):
    """Run pip without network and without building in isolation."""
    target = [] if python is None else ["--python", str(python)]
    offline = ["--no-deps", "--no-index", "--disable-pip-version-check", "--quiet"]
    subprocess.run(
        [sys.executable, "-m", "pip", *target, arguments[0], *offline, *arguments[1:]],
        check=True,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Return a copy of what a clone has, so that building leaves no trace."""
    copy = tmp_path_factory.mktemp("clone") / "i2i"
    ignore = shutil.ignore_patterns("__pycache__")
    for folder in ("i2icli", "presets"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignore)
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    (copy / "README.md").write_text("# i2i\n")
    return copy


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    """Return a wheel of the project."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-build-isolation", "--wheel-dir", str(folder), str(source))
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture
def environment(tmp_path):
    """Return the Python of a fresh environment that borrows this one's other packages."""
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    # A path file inside a borrowed folder is not followed: this project comes from here alone.
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin" / "python"


def i2i(python, *arguments, cwd):
    """Run the installed console script somewhere else, and return what it prints."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    output = subprocess.run(
        [str(python.parent / "i2i"), *arguments],
        cwd=cwd,
        env=kept,
        capture_output=True,
        text=True,
        check=False,
    )
    assert output.returncode == 0, output.stderr
    return output.stdout


def test_wheel_holds_presets_types_and_licence(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"i2icli/presets/{name}.toml" for name in PRESETS} <= names
    assert "i2icli/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "presets/", "docs/"))]


def test_installed_wheel_finds_its_presets(wheel, environment, tmp_path):
    pip("install", str(wheel), python=environment)
    listed = i2i(environment, "presets", "list", cwd=tmp_path)
    assert [line.split()[0] for line in listed.splitlines()] == PRESETS
    shown = i2i(environment, "presets", "show", "fastcut", "--diff", cwd=tmp_path)
    assert "method.lambda_nce: 1.0 -> 10.0" in shown


def test_editable_install_finds_its_presets(source, environment, tmp_path):
    pip("install", "--no-build-isolation", "-e", str(source), python=environment)
    listed = i2i(environment, "presets", "list", cwd=tmp_path)
    assert [line.split()[0] for line in listed.splitlines()] == PRESETS
    # It is editable: a new preset of the clone is there at once.
    (source / "presets" / "zzz.toml").write_text('[method]\nname = "cut"\n')
    assert "zzz" in i2i(environment, "presets", "list", cwd=tmp_path)
    (source / "presets" / "zzz.toml").unlink()
