"""`i2i presets` and `i2i schema`."""

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from i2icli.cli.app import app
from i2icli.config.presets import preset_names, read_preset
from i2icli.errors import ConfigError
from i2icli.methods import configure_run, restore_config


def run(*arguments):
    """Run a command and return what it printed."""
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_list_names_every_preset_with_its_method():
    lines = run("presets", "list").splitlines()
    assert [line.split()[0] for line in lines] == preset_names()
    assert [line.split()[1] for line in lines if line.startswith("fastcut")] == ["cut"]


def test_list_as_json_holds_the_published_number():
    rows = {row["name"]: row for row in json.loads(run("presets", "list", "--json"))}
    assert list(rows) == preset_names()
    assert rows["cut"]["published"].startswith("FID 45.5 on horse2zebra")
    assert set(rows["cut"]) == {
        "name",
        "method",
        "paper",
        "table",
        "published",
        "protocol",
        "deviations",
    }


def test_show_prints_the_file():
    assert run("presets", "show", "fastcut").strip() == read_preset("fastcut").text.strip()


def test_show_as_json_prints_the_values_of_the_file():
    shown = json.loads(run("presets", "show", "fastcut", "--json"))
    assert shown == read_preset("fastcut").document


def test_show_full_is_a_preset_of_its_own():
    shown = tomllib.loads(run("presets", "show", "demo", "--full"))
    assert restore_config(shown) == configure_run("demo")
    assert json.loads(run("presets", "show", "demo", "--full", "--json")) == shown


def test_show_diff_names_what_the_preset_changes():
    assert run("presets", "show", "fastcut", "--diff").splitlines() == [
        "method.schedule.epochs: 200 -> 150",
        "method.schedule.epochs_decay: 200 -> 50",
        "method.lambda_nce: 1.0 -> 10.0",
        "method.nce_identity: true -> false",
        "method.flip_equivariance: false -> true",
    ]
    changes = json.loads(run("presets", "show", "fastcut", "--diff", "--json"))
    assert {"path": "method.lambda_nce", "before": 1.0, "after": 10.0} in changes


def test_show_diff_of_a_paper_as_it_is_says_so():
    assert run("presets", "show", "cut", "--diff") == "nothing differs from the paper's defaults\n"
    assert json.loads(run("presets", "show", "cut", "--diff", "--json")) == []


def test_show_refuses_full_and_diff_together():
    with pytest.raises(ConfigError, match="--full or --diff, not both"):
        run("presets", "show", "cut", "--full", "--diff")


def test_copy_writes_the_file_and_never_overwrites(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "i2i train --preset cut.toml" in run("presets", "copy", "cut")
    assert Path("cut.toml").read_text() == read_preset("cut").text
    Path("cut.toml").write_text("mine")
    with pytest.raises(ConfigError, match=r"cut\.toml exists and is left as it is"):
        run("presets", "copy", "cut")
    assert Path("cut.toml").read_text() == "mine"


def test_copy_takes_a_file_or_a_folder(tmp_path):
    run("presets", "copy", "demo", str(tmp_path))
    run("presets", "copy", "demo", str(tmp_path / "own.toml"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.toml", "own.toml"]


def test_copy_into_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be written: No such file or directory"):
        run("presets", "copy", "demo", str(tmp_path / "nowhere" / "own.toml"))


def test_copied_preset_trains_like_the_shipped_one(tmp_path):
    run("presets", "copy", "fastcut", str(tmp_path))
    copied = configure_run(str(tmp_path / "fastcut.toml"), ["data.batch_size=2"])
    assert copied == configure_run("fastcut", ["data.batch_size=2"])


def test_schema_describes_every_section_and_method(tmp_path):
    schema = json.loads(run("schema"))
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert set(schema["properties"]) >= {"method", "data", "train", "runtime"}
    mapping = schema["properties"]["method"]["discriminator"]["mapping"]
    assert set(mapping) >= {"cut", "qs-attn", "cyclegan"}
    run("schema", "--out", str(tmp_path / "schema.json"))
    assert json.loads((tmp_path / "schema.json").read_text()) == schema


def test_schema_to_a_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be written"):
        run("schema", "--out", str(tmp_path))
