"""The shipped presets: found from anywhere, valid, and open about their numbers."""

import shlex
from pathlib import Path

import pytest

from i2icli.config import presets as presets_module
from i2icli.config.presets import preset_folder, preset_names, read_preset
from i2icli.errors import ConfigError
from i2icli.methods import METHODS, build_method, configure_run
from i2icli.methods.shared.configure import paper_defaults

SHIPPED = sorted(path.stem for path in (Path(__file__).parents[2] / "presets").glob("*.toml"))


def test_every_file_in_the_folder_is_a_preset():
    assert "cut" in SHIPPED
    assert preset_names() == SHIPPED


def _small(name):
    """Return what makes the networks of a preset small, and counts the classes of label maps."""
    if _segments(name):
        return ["method.backbone=resnet18", "labels.classes=4"]
    return ["method.generator.width=2", "method.discriminator.width=2"]


@pytest.mark.parametrize("name", SHIPPED)
def test_preset_validates_and_builds(name):
    config = configure_run(name, _small(name))
    assert config.method.name in METHODS
    assert config.preset == name
    assert sum(weight.numel() for weight in build_method(config).parameters()) > 0


@pytest.mark.parametrize("name", SHIPPED)
def test_preset_begins_with_the_command_that_uses_it(name):
    command = shlex.split(read_preset(name).text.splitlines()[0].removeprefix("# "))
    assert command[:4] == ["i2i", "train", "--preset", name]


@pytest.mark.parametrize("name", SHIPPED)
def test_preset_says_where_its_numbers_come_from(name):
    about = configure_run(name).about
    assert "arXiv" in about.paper
    assert about.table
    assert about.published
    assert about.protocol
    assert about.deviations


def _segments(name):
    return _kind(name) == "labelled"


def _kind(name):
    return METHODS[read_preset(name).document["method"]["name"]].data


@pytest.mark.parametrize("name", [n for n in SHIPPED if n != "demo" and _kind(n) == "unpaired"])
def test_preset_of_a_paper_says_that_published_numbers_are_the_best_of_a_run(name):
    about = configure_run(name).about
    if not about.published.startswith(("none", "not quoted")):
        assert "best over training" in about.protocol
        assert "best over training" in read_preset(name).text.split("[about]")[0]


@pytest.mark.parametrize("name", SHIPPED)
def test_header_holds_what_about_holds(name):
    preset = read_preset(name)
    header = "".join(preset.text.split("[about]")[0].replace("#", " ").split())
    about = preset.document["about"]
    for sentence in [about["published"], about["protocol"], *about["deviations"]]:
        assert "".join(sentence.split()) in header


@pytest.mark.parametrize("name", SHIPPED)
def test_preset_lists_only_what_differs_from_the_paper(name):
    document = read_preset(name).document
    defaults = paper_defaults(document["method"]["name"])

    def check(values, base, path):
        for key, value in values.items():
            held = base.get(key) if isinstance(base, dict) else None
            if isinstance(value, dict):
                check(value, held, f"{path}.{key}")
            elif key not in ("name", "selection"):  # a QS-Attn preset names its selection
                assert value != held, f"{path}.{key} repeats the default {held!r}"

    check({key: value for key, value in document.items() if key != "about"}, defaults, name)


def test_unverified_number_is_said_to_be_so():
    assert "not verified" in configure_run("qs-attn-global").about.published
    for name in ("qs-attn-local", "qs-attn-local-global"):
        assert "not quoted" in configure_run(name).about.published


def test_presets_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert preset_names() == SHIPPED


def test_presets_inside_the_package_come_first(tmp_path, monkeypatch):
    package = tmp_path / "i2icli"
    for folder in (package / "presets", tmp_path / "presets"):
        folder.mkdir(parents=True)
    monkeypatch.setattr(presets_module, "_PACKAGE", package)
    assert preset_folder() == package / "presets"


def test_missing_presets_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(presets_module, "_PACKAGE", tmp_path / "i2icli")
    with pytest.raises(ConfigError, match="the shipped presets are missing"):
        preset_folder()


def test_file_in_the_working_folder_is_a_preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text('[method]\nname = "cut"\n')
    preset = read_preset("mine.toml")
    assert (preset.name, preset.document) == ("mine", {"method": {"name": "cut"}})


def test_file_does_not_hide_a_shipped_preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("cut").mkdir()
    assert read_preset("cut").path.parent == preset_folder()
