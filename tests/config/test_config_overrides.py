"""`--set KEY=VALUE`: reading, nesting, and what depends on the key."""

import pytest

from i2icli.config.overrides import nest, parse_overrides
from i2icli.errors import ConfigError
from i2icli.methods import configure_run


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=3", 3),
        ("a=0.5", 0.5),
        ("a=1e-4", 1e-4),
        ("a=true", True),
        ("a=[0, 4]", [0, 4]),
        ("a={b = 1}", {"b": 1}),
        ('a="3"', "3"),
        ("a=plain", "plain"),
        ("a=x=y", "x=y"),
        ("a=", ""),
        ("a=null", None),
        ("a=1\nb = 2", "1\nb = 2"),
    ],
)
def test_override_reads_toml_and_falls_back_to_text(text, value):
    (override,) = parse_overrides([text])
    assert override.value == value
    assert type(override.value) is type(value)


def test_overrides_nest_and_the_later_wins():
    typed = parse_overrides(["a.b=1", "a.c.d=2", "a.b=3", "a.b.e=4"])
    assert nest(typed) == {"a": {"b": {"e": 4}, "c": {"d": 2}}}


def test_every_override_without_key_or_value_is_named():
    with pytest.raises(ConfigError) as caught:
        parse_overrides(["steps", "a.b=1", "=3", "a..b=1"])
    message = str(caught.value)
    for wrong in ("'steps'", "'=3'", "'a..b=1'"):
        assert f"--set {wrong}" in message
    assert "expected KEY=VALUE, for example --set data.batch_size=4" in message
    assert "'a.b=1'" not in message


def test_text_key_keeps_what_was_typed():
    config = configure_run("demo", ["data.root=2024", "runtime.device=1.5"])
    assert (config.data.root, config.runtime.device) == ("2024", "1.5")


def test_none_leaves_an_optional_key_open():
    assert configure_run("demo").train.steps is not None
    assert configure_run("demo", ["train.steps=none"]).train.steps is None
    assert configure_run("demo", ["train.steps=null"]).train.steps is None


def test_none_stays_text_where_it_is_a_choice():
    config = configure_run("demo", ["data.preprocess=none", "method.generator.norm=none"])
    assert config.data.preprocess == "none"
    assert config.method.generator.norm == "none"


def test_null_for_a_key_that_needs_a_value_is_refused():
    with pytest.raises(ConfigError, match="data.crop = null: must be a whole number of at least 4"):
        configure_run("demo", ["data.crop=null"])
