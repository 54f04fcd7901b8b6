"""The four layers of a run's configuration, and its way into a file and back."""

import tomllib

import pytest
from pydantic import BaseModel

from i2icli.config.document import Change, annotate, config_document, differences, merge, write_toml
from i2icli.config.presets import preset_names
from i2icli.config.shape import Shape
from i2icli.errors import ConfigError
from i2icli.methods import METHODS, build_method, configure_run, restore_config
from i2icli.methods.shared.configure import changes_from_paper, paper_defaults, run_schema


def write(folder, text):
    """Write a preset and return its path."""
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


def test_layers_lie_over_each_other(tmp_path):
    preset = write(tmp_path, '[method]\nname = "cut"\nnum_patches = 8\ntemperature = 0.5\n')
    config = configure_run(preset, ["method.num_patches=4"])
    assert config.method.lambda_nce == 1.0  # the method's default
    assert config.data.jitter_in_decay is False  # the paper's, over the section's true
    assert config.method.temperature == 0.5  # the preset's
    assert config.method.num_patches == 4  # the override's
    assert config.preset == "mine"


def test_nested_override_keeps_the_methods_other_values():
    config = configure_run("cyclegan", ["method.generator.width=8"])
    assert config.method.generator.width == 8
    assert config.method.generator.antialias_down is False
    assert config.method.schedule.epochs == 100


def test_new_kind_of_schedule_starts_over():
    config = configure_run("fastcut", ["method.schedule.policy=step", "method.schedule.gamma=0.5"])
    assert config.method.schedule.model_dump() == {
        "policy": "step",
        "epochs": 200,
        "every_epochs": 50,
        "gamma": 0.5,
    }


def test_other_method_leaves_the_presets_own_out():
    config = configure_run("fastcut", ["method.name=cyclegan", "method.pool_size=7"])
    assert config.method.name == "cyclegan"
    assert config.method.pool_size == 7
    assert config.method.schedule.epochs == 100
    assert config.about.paper == ""
    assert config.data.jitter_in_decay is True


def test_preset_may_be_the_config_file_of_a_run(tmp_path):
    config = configure_run("fastcut", ["data.batch_size=3"])
    written = write(tmp_path, write_toml(config_document(config)))
    assert configure_run(written) == config


@pytest.mark.parametrize("name", sorted(METHODS))
def test_configuration_survives_document_and_toml(name):
    config = configure_run("demo", [f"method.name={name}", "data.root=a b", "train.steps=null"])
    document = config_document(config)
    assert restore_config(document) == config
    assert restore_config(tomllib.loads(write_toml(document))) == config


def test_document_holds_plain_types_without_nulls():
    def check(value):
        assert type(value) in (dict, list, str, int, float, bool)
        for item in value.values() if isinstance(value, dict) else []:
            check(item)
        for item in value if isinstance(value, list) else []:
            check(item)

    check(config_document(configure_run("demo")))


def test_absent_value_always_means_none():
    # A document leaves absent values out, so an optional key must not have another default.
    def check(shape, path):
        for tables in (shape.variants.values(), [shape]):
            for table in tables:
                for key, child in table.children({}):
                    if child.takes_null:
                        assert child.node["default"] is None, f"{path}.{key}"
                    check(child, f"{path}.{key}")

    check(Shape.of(run_schema()), "")


def test_merge_replaces_lists_and_keeps_what_is_not_named():
    merged = merge({"a": {"b": [1, 2], "c": 3}}, {"a": {"b": [4]}, "d": 5}, None)
    assert merged == {"a": {"b": [4], "c": 3}, "d": 5}


def test_differences_name_both_values():
    changes = differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}, "d": "x"})
    assert changes == [Change("a.b", 1, 3), Change("d", None, "x"), Change("a.c", 2, None)]
    assert [str(change) for change in changes] == [
        "a.b: 1 -> 3",
        'd: not set -> "x"',
        "a.c: 2 -> not set",
    ]


def test_changes_from_paper_of_fastcut_are_the_papers_list():
    changed = {change.path: change.after for change in changes_from_paper(configure_run("fastcut"))}
    assert changed == {
        "method.lambda_nce": 10.0,
        "method.nce_identity": False,
        "method.flip_equivariance": True,
        "method.schedule.epochs": 150,
        "method.schedule.epochs_decay": 50,
    }


def test_schema_is_generated_once_a_process(monkeypatch):
    first = configure_run("cut")
    monkeypatch.delattr(BaseModel, "model_json_schema")
    assert configure_run("cut") == first


def test_paper_defaults_hold_the_methods_values_for_other_sections():
    assert paper_defaults("cut")["data"]["jitter_in_decay"] is False
    assert paper_defaults("cyclegan")["data"]["jitter_in_decay"] is True


@pytest.mark.parametrize("name", preset_names())
def test_annotated_configuration_reads_back_as_itself(name):
    config = configure_run(name)
    text = annotate(config_document(config), Shape.of(run_schema()))
    assert restore_config(tomllib.loads(text)) == config
    assert "# Weight" in text
    assert max(map(len, text.splitlines())) < 250


def test_method_that_cannot_be_built_is_a_configuration_fault(monkeypatch):
    def refuse(*_, **__):
        raise ValueError("too small for its layers")

    config = configure_run("demo")
    monkeypatch.setattr(METHODS[config.method.name], "__init__", refuse)
    with pytest.raises(ConfigError, match="method 'qs-attn' cannot be built.*too small for its"):
        build_method(config)
