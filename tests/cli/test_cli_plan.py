"""`i2i train --dry-run`: what a run would be and cost."""

import json
import tomllib

import pytest
import torch
from kinds_of_data import data_for
from near_worker import near_workers
from tiny import TinyVGG, tiny_config
from typer.testing import CliRunner

from i2icli.bench import plan as plan_module
from i2icli.bench.plan import describe_crop, plan_run
from i2icli.cli.app import app
from i2icli.config.document import config_document
from i2icli.config.sections import DataConfig
from i2icli.config.words import human_time
from i2icli.data.transforms import plan_crop
from i2icli.errors import ConfigError
from i2icli.methods import METHODS, build_method, configure_run, restore_config
from i2icli.methods.shared.configure import run_schema

TINY = [
    "method.generator.width=4",
    "method.discriminator.width=4",
    "data.resize=36",
    "data.crop=32",
]


@pytest.fixture(scope="module")
def plan(picture_root):
    """Return the plan of a tiny CUT run, batch 2, that ends in the decay."""
    changes = [
        *TINY,
        f"data.root={picture_root}",
        "data.batch_size=2",
        "method.schedule.epochs=3",
        "method.schedule.epochs_decay=2",
    ]
    return plan_run(configure_run("cut", changes), preset="cut", device="cpu")


@pytest.fixture(autouse=True)
def _in_this_process():
    """Measure all other plans without a process each."""
    with near_workers():
        yield


def test_plan_holds_the_resolved_configuration(plan, picture_root):
    config = restore_config(plan.config)
    assert config.data.root == str(picture_root)
    assert config.method.generator.width == 4


def test_plan_names_what_differs_from_the_preset(plan):
    changed = {change.path: (change.before, change.after) for change in plan.changes}
    assert changed.pop("data.root")[0] is None
    assert changed == {
        "method.generator.width": (64, 4),
        "method.discriminator.width": (64, 4),
        "method.schedule.epochs": (200, 3),
        "method.schedule.epochs_decay": (200, 2),
        "data.resize": (286, 36),
        "data.crop": (256, 32),
        "data.batch_size": (1, 2),
    }


def test_plan_counts_steps_as_the_loader_does(plan):
    assert plan.pictures == {"a": 8, "b": 8}
    assert (plan.steps_per_epoch, plan.steps) == (4, 20)


def test_plan_shows_the_augmentation_of_both_phases(plan):
    assert [(p.first_epoch, p.last_epoch, p.augmentation) for p in plan.phases] == [
        (1, 3, "resize to 36 x 36 (bicubic), random crop 32 x 32, mirror half of them"),
        (4, 5, "resize to 32 x 32 (bicubic), mirror half of them"),
    ]


def test_plan_measures_a_step_of_the_configured_size(plan):
    assert plan.measured.shape == (2, 3, 32, 32)
    assert (plan.measured.device, plan.measured.precision) == ("cpu", "float32")
    assert plan.measured.step_seconds > 0
    assert plan.measured.memory_bytes is None or plan.measured.memory_bytes > 2**20
    assert plan.total_seconds == pytest.approx(20 * plan.measured.step_seconds)


def test_plan_without_decay_has_one_phase(picture_root):
    changes = [*TINY, f"data.root={picture_root}", "train.steps=5"]
    plan = plan_run(configure_run("cyclegan", changes), preset="cyclegan", device="cpu")
    assert [(phase.first_epoch, phase.last_epoch) for phase in plan.phases] == [(1, 1)]
    assert plan.steps == 5


@pytest.mark.parametrize("name", sorted(METHODS))
def test_plan_counts_every_trainable_weight_once(name, picture_root, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "i2icli.training.session.load_networks",
        lambda names, device: {wanted: TinyVGG().to(device) for wanted in names},
    )
    monkeypatch.setattr(plan_module, "_measure", lambda _: None)  # a process each
    document = config_document(tiny_config(name))
    for title, section in data_for(name, picture_root, tmp_path).items():
        document[title] |= section
    config = run_schema().model_validate(document)
    plan = plan_run(config, preset="demo", device="cpu")
    counted = sum(sum(modules.values()) for modules in plan.parameters.values())
    weights = build_method(config).parameters()
    assert counted == sum(weight.numel() for weight in weights if weight.requires_grad)


def test_plan_of_a_preset_file_compares_with_that_file(tmp_path, picture_root):
    path = tmp_path / "mine.toml"
    path.write_text(
        '[method]\nname = "cut"\n[method.generator]\nwidth = 4\n[method.discriminator]\n'
        f'width = 4\n[data]\nresize = 36\ncrop = 32\nroot = "{picture_root}"\n'
    )
    plan = plan_run(configure_run(str(path)), preset=str(path), device="cpu")
    assert plan.changes == []
    assert f"nothing differs from preset '{path}'" in "\n".join(plan.lines())
    assert "method.generator.width: 64 -> 4" in "\n".join(plan.lines())


def dry_run(*arguments):
    """Run `i2i train --dry-run` on a tiny CUT and return what it printed."""
    settings = [word for setting in TINY for word in ("--set", setting)]
    command = ["train", "--preset", "cut", "--device", "cpu", "--dry-run", *settings, *arguments]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_dry_run_prints_a_plan_and_leaves_no_file(picture_root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = dry_run("--data", str(picture_root), "--steps", "7")
    assert list(tmp_path.iterdir()) == []
    config, _, rest = text.partition("\n\ndiffers from preset 'cut' in\n")
    assert tomllib.loads(config)["train"]["steps"] == 7
    for part in (
        "  method.generator.width: 64 -> 4\n",
        "trainable weights\n  discriminator: discriminator ",
        "training pictures: 8 of A, 8 of B; 8 steps an epoch\n",
        "measured, training on the first pictures (1 x 3 x 32 x 32, float32): one step ",
        "\n7 steps: ",
    ):
        assert part in rest


def test_dry_run_as_json_holds_the_same(picture_root):
    plan = json.loads(dry_run("--data", str(picture_root), "--json"))
    assert plan["steps"] == 3200
    assert plan["pictures"] == {"a": 8, "b": 8}
    assert {"path": "data.crop", "before": 256, "after": 32} in plan["changes"]
    assert set(plan["measured"]) >= {"step_seconds", "memory_bytes", "device"}
    assert plan["total_seconds"] > 0


def test_dry_run_of_days_ends_in_what_to_type_instead(picture_root, monkeypatch):
    words = ["i2i", "train", "--preset", "cut", "--data", "my set", "--dry-run"]
    monkeypatch.setattr("sys.argv", words)
    text = dry_run("--data", str(picture_root), "--steps", "1000000000")
    first, second, *_ = text[text.index("warning: ") :].splitlines()
    assert first.startswith("warning: this takes about ")
    assert second.endswith("`i2i train --preset cut --data 'my set' --budget 8h`")


def test_dry_run_says_how_far_a_budget_comes(picture_root):
    text = dry_run("--data", str(picture_root), "--budget", "1h")
    assert text.splitlines()[-1].startswith("the budget of 1h: about ")
    assert "warning" not in text


def test_dry_run_on_a_missing_device_is_refused(picture_root):
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(ConfigError, match="cuda"):
        plan_run(configure_run("cut", [f"data.root={picture_root}"]), preset="cut", device="cuda:7")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"flip": False}, "resize to 286 x 286 (bicubic), random crop 256 x 256"),
        (
            {"preprocess": "scale-width-and-crop", "interpolation": "bilinear"},
            "scale to width 286 (bilinear), random crop 256 x 256, mirror half of them",
        ),
        (
            {"preprocess": "scale-shorter-and-crop", "resize": 256},
            "scale the shorter side to 256 (bicubic), random crop 256 x 256, mirror half of them",
        ),
        ({"preprocess": "crop"}, "random crop 256 x 256, mirror half of them"),
        (
            {"preprocess": "resize", "resize_height": 100},
            "resize to 286 x 100 (bicubic), mirror half of them",
        ),
        ({"preprocess": "none", "flip": False}, "nothing"),
    ],
)
def test_augmentation_is_said_in_words(changes, words):
    config = DataConfig.model_validate(changes)
    assert describe_crop(plan_crop(config)) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0123, "12 ms"),
        (12.1, "12.1 s"),
        (119.0, "119.0 s"),
        (600.0, "10.0 minutes"),
        (3600.0 * 5, "5.0 hours"),
        (86400.0 * 74, "74 days"),
        (86400.0, "1 day"),
        (86400.0 * 3 + 3600 * 2.4, "3 days 2 hours"),
        (86400.0 * 2 - 600, "2 days"),
        (86400.0 + 3600, "1 day 1 hour"),
    ],
)
def test_duration_takes_the_unit_a_person_would(seconds, words):
    assert human_time(seconds) == words
