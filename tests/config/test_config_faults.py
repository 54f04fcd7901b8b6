"""The messages about a wrong configuration."""

import pytest

from i2icli.config.words import nearest
from i2icli.errors import ConfigError
from i2icli.methods import configure_run, restore_config


def message_of(*overrides, preset="demo"):
    """Return what a faulty configuration is answered with."""
    with pytest.raises(ConfigError) as caught:
        configure_run(preset, overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("data.batch_size=0", "data.batch_size = 0: must be a whole number of at least 1"),
        ("data.batch_size=2.0", "data.batch_size = 2.0: must be a whole number of at least 1"),
        ('data.crop="64"', 'data.crop = "64": must be a whole number of at least 4'),
        ("data.flip=yes", 'data.flip = "yes": must be true or false'),
        ("data.flip=1", "data.flip = 1: must be true or false"),
        ("data.channels_a=2", "data.channels_a = 2: must be 1 or 3"),
        (
            "runtime.workers=100",
            'runtime.workers = 100: must be a whole number from 0 to 64 or "auto"',
        ),
        (
            "runtime.workers=automatic",
            'runtime.workers = "automatic": must be a whole number from 0 to 64 or "auto"',
        ),
        ("ema.decay=1", "ema.decay = 1: must be a number of at least 0 and below 1"),
        ("method.temperature=0", "method.temperature = 0: must be a number above 0"),
        ("method.optimizer.lr=inf", "method.optimizer.lr = inf: must be a number above 0"),
        (
            'method.nce_layers=[0, "a"]',
            'method.nce_layers = [0, "a"]: must be a list that is not empty, '
            "each item a whole number",
        ),
        (
            "method.nce_layers=[4, 0]",
            "method.nce_layers = [4, 0]: must be ascending module numbers, none twice, "
            "none negative",
        ),
        ("train.steps=0", "train.steps = 0: must be a whole number of at least 1 or null"),
        ("data.direction=ab", 'data.direction = "ab": must be "a2b" or "b2a"; did you mean "a2b"?'),
        (
            "runtime.precision=bf16",
            'runtime.precision = "bf16": must be "auto", "float32", "bfloat16" or "float16"; '
            'did you mean "bfloat16"?',
        ),
        (
            "method.num_patchs=3",
            "method.num_patchs = 3: there is no such key; did you mean method.num_patches?",
        ),
        (
            "data.batch-size=3",
            "data.batch-size = 3: there is no such key; did you mean data.batch_size?",
        ),
        (
            "method.schedule.epochs_decai=3",
            "method.schedule.epochs_decai = 3: there is no such key; "
            "did you mean method.schedule.epochs_decay?",
        ),
        (
            "train.zebra=3",
            "train.zebra = 3: there is no such key; train has seed, steps, epochs, budget",
        ),
        ("data=5", "data = 5: must be a table"),
        ("method=5", "method = 5: must be a table"),
        ("method.schedule=5", "method.schedule = 5: must be a table"),
    ],
)
def test_fault_names_path_value_and_what_is_allowed(override, sentence):
    end = "" if sentence.endswith("?") else "."
    assert message_of(override) == f"preset 'demo': {sentence}{end}"


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["foo=1"], ["foo = 1: there is no such key; the keys are preset, about, method, data"]),
        (
            ["method.name=cycle-gan"],
            ['method.name = "cycle-gan": must be ', 'did you mean "cyclegan"?'],
        ),
        (
            ["method.schedule.policy=lineer"],
            [
                'method.schedule.policy = "lineer": must be "cosine", "iterations", "linear", '
                '"poly", "shares" or "step"',
                'did you mean "linear"?',
            ],
        ),
        (
            ["data.crop=256"],
            [
                "preset 'demo': data.crop (256) is larger than data.resize (136): "
                "the crop is cut from the resized picture."
            ],
        ),
        (
            ["method.nce_layers=[0, 99]"],
            ["preset 'demo': method.nce_layers names module 99, but a generator"],
        ),
        (
            ["method.nce_layers=[4, 0]", "data.channels_a=1"],
            [
                "needs data.channels_a == data.channels_b, got 1 and 3",
                "method.nce_layers = [4, 0]",
            ],
        ),
    ],
    ids=["section", "method", "policy", "two keys", "keys of the method", "method and data"],
)
def test_fault_names_what_there_is_and_the_keys_of_a_rule(overrides, parts):
    message = message_of(*overrides)
    assert all(part in message for part in parts), message


def test_all_faults_are_reported_at_once():
    message = message_of(
        "data.crop='64'",
        "method.num_patchs=3",
        "method.generator.width=0",
        "samples.count=0",
        "train.epochs=3",
        "foo=1",
    )
    assert message.startswith("preset 'demo' has 6 faults:\n  ")
    starts = {line.strip().split(": ")[0] for line in message.splitlines()[1:]}
    assert starts == {
        "give train.steps or train.epochs, not both",
        "method.generator.width = 0",
        "method.num_patchs = 3",
        'data.crop = "64"',
        "samples.count = 0",
        "foo = 1",
    }


def test_fault_in_one_key_raises_no_false_fault_about_another():
    # Without its value, the crop would count as 256, larger than the demo's resize.
    assert "larger than" not in message_of("data.crop=0")


def test_unknown_preset_names_the_nearest():
    with pytest.raises(ConfigError) as caught:
        configure_run("qs-attn-globl")
    assert str(caught.value) == (
        "no preset is called 'qs-attn-globl'; did you mean 'qs-attn-global'? "
        "`i2i presets list` shows them all."
    )


def test_missing_preset_file_is_named():
    with pytest.raises(ConfigError, match=r"there is no preset file nowhere/my\.toml"):
        configure_run("nowhere/my.toml")


@pytest.mark.parametrize(
    ("content", "start", "part"),
    [
        (b'[method]\nname = "cut"\nlambda_nce =\n', "PATH is not valid TOML: ", "line 3"),
        (b"\xff\xfe\x00", "", "my.toml is not UTF-8 text"),
        (None, "there is no preset file", ""),
        (b"[data]\ncrop = 128\n", "preset 'my': method.name is missing: must be ", '"cyclegan"'),
        (b"[method]\nnum_patches = 3\n", "preset 'my': method.name is missing: must be ", ""),
    ],
    ids=["broken", "no text", "a folder", "no method", "no name"],
)
def test_wrong_preset_file_is_refused(tmp_path, content, start, part):
    path = tmp_path / "my.toml"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    message = message_of(preset=str(path))
    assert message.startswith(start.replace("PATH", str(path)))
    assert part in message


def test_a_byte_order_mark_is_passed_over(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text('[method]\nname = "cut"\n', encoding="utf-8-sig")
    assert configure_run(str(path)).method.name == "cut"


def test_checkpoint_configuration_with_an_unknown_key_is_refused():
    with pytest.raises(ConfigError, match="the checkpoint's configuration: method.zebra = 1"):
        restore_config({"method": {"name": "cut", "zebra": 1}})


@pytest.mark.parametrize(
    ("word", "meant"),
    [("batch-size", "batch_size"), ("BATCHSIZE", "batch_size"), ("cropp", "crop"), ("xyz", None)],
)
def test_nearest_name_forgives_case_and_hyphens(word, meant):
    assert nearest(word, ["batch_size", "crop", "resize"]) == meant


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 500 + "]" * 500, f"[{'.'.join('a' * 500)}]\nb = 1"]
)
def test_nesting_that_no_configuration_has_is_refused(tmp_path, text):
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(ConfigError, match="deeper than 32, and no configuration does"):
        configure_run(str(tmp_path / "p.toml"))
