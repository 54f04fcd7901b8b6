"""A wheel and an editable install: both find presets and zoo from any working directory."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from picture_folders import write_pictures
from PIL import Image
from run_kit import make_run
from zoo_kit import write_entry

from i2icli.pictures.images import read_size

ROOT = Path(__file__).resolve().parents[1]
PRESETS = sorted(path.stem for path in (ROOT / "presets").glob("*.toml"))
ZOO = sorted(path.parent.name for path in (ROOT / "zoo").glob("*/config.json"))
MB = 1_000_000

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
    """Return a copy of what a clone has, so that building leaves no trace; its zoo has one more."""
    copy = tmp_path_factory.mktemp("clone") / "i2i"
    ignore = shutil.ignore_patterns("__pycache__")
    for folder in ("i2icli", "presets", "zoo"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignore)
    made = tmp_path_factory.mktemp("made")
    write_pictures(made / "in", seed=0, count=1)
    run = make_run(made / "run", steps=(2,), names=("a2b one",))
    write_entry(copy / "zoo", run.path, list((made / "in").iterdir()))
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


@pytest.fixture(scope="module")
def sdist(source, tmp_path_factory):
    """Return a source distribution of the project."""
    folder = tmp_path_factory.mktemp("sdist")
    command = "import sys; from hatchling.build import build_sdist; build_sdist(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", command, str(folder)], cwd=source, check=True, capture_output=True
    )
    (path,) = folder.glob("*.tar.gz")
    return path


def test_wheel_holds_presets_types_and_licence(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"i2icli/presets/{name}.toml" for name in PRESETS} <= names
    assert "i2icli/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "presets/", "docs/", "zoo/"))]


def test_wheel_and_source_distribution_hold_the_zoo_and_stay_small(wheel, sdist, source):
    files = {p.relative_to(source).as_posix() for p in (source / "zoo").rglob("*") if p.is_file()}
    assert {f"zoo/{name}/model.safetensors" for name in [*ZOO, "tiny"]} <= files
    packed = zipfile.ZipFile(wheel).infolist()
    assert {f"i2icli/{name}" for name in files} <= {each.filename for each in packed}
    with tarfile.open(sdist) as archive:
        assert files <= {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    of_zoo = sum(each.compress_size for each in packed if each.filename.startswith("i2icli/zoo/"))
    assert wheel.stat().st_size < 8 * MB
    assert wheel.stat().st_size - of_zoo < MB


def test_installed_wheel_finds_its_presets(wheel, environment, tmp_path):
    pip("install", str(wheel), python=environment)
    listed = i2i(environment, "presets", "list", cwd=tmp_path)
    assert [line.split()[0] for line in listed.splitlines()] == PRESETS
    shown = i2i(environment, "presets", "show", "fastcut", "--diff", cwd=tmp_path)
    assert "method.lambda_nce: 1.0 -> 10.0" in shown


def test_installed_wheel_translates_by_its_zoo(wheel, source, environment, tmp_path):
    pip("install", str(wheel), python=environment)
    listed = i2i(environment, "zoo", "list", cwd=tmp_path)
    assert [line.split()[0] for line in listed.splitlines()] == sorted([*ZOO, "tiny"])
    Image.fromarray(np.full((20, 24, 3), 90, np.uint8)).save(tmp_path / "in.png")
    i2i(environment, "translate", "zoo:tiny", "in.png", "out.png", cwd=tmp_path)
    assert read_size(tmp_path / "out.png") == (24, 20)
    shown = i2i(environment, "zoo", "show", "tiny", cwd=tmp_path)
    assert (source / "zoo/tiny/README.md").read_text().endswith(shown)


def test_editable_install_finds_its_presets_and_zoo(source, environment, tmp_path):
    pip("install", "--no-build-isolation", "-e", str(source), python=environment)
    listed = i2i(environment, "presets", "list", cwd=tmp_path)
    assert [line.split()[0] for line in listed.splitlines()] == PRESETS
    # It is editable: a new preset of the clone is there at once.
    (source / "presets" / "zzz.toml").write_text('[method]\nname = "cut"\n')
    assert "zzz" in i2i(environment, "presets", "list", cwd=tmp_path)
    (source / "presets" / "zzz.toml").unlink()
    assert "tiny" in i2i(environment, "zoo", "list", cwd=tmp_path)
