import json
import shutil

import numpy as np
import pytest
import torch
from engine_kit import (
    PairMethod,
    Watcher,
    assert_same_end,
    interrupt,
    log_of,
    pair_config,
    state_of,
)
from plain_data import assert_same

from i2icli.data.folders import find_domains
from i2icli.methods import Translation
from i2icli.methods.shared.configure import run_schema
from i2icli.pictures.images import Picture
from i2icli.training.health import HealthWatch
from i2icli.training.run import resume_run, start_run
from i2icli.training.samples import Drawn, Sample

pytestmark = pytest.mark.usefixtures("pair")

ALERT = {"warmup_steps": 0, "discriminator_steps": 4}


@pytest.fixture
def inverting(monkeypatch):
    """Make the small method a negative, to whatever it is trained."""

    def invert(self, images, **_):
        return Translation(-images)

    monkeypatch.setattr(PairMethod, "translate", invert)


def alarms(folder):
    return [line for line in log_of(folder) if {"alarm", "cleared"} & set(line)]


def watch_of(root, log=(), **limits):
    config = pair_config(root, health={**ALERT, **limits})
    return HealthWatch(config, find_domains(config.data), log)


def pictures(count=4):
    random = np.random.default_rng(3)
    coarse = [random.integers(40, 210, (4, 4, 3)) for _ in range(count)]
    return [np.kron(c, np.ones((10, 10, 1))).astype(np.uint8) for c in coarse]


def drawn(outputs, *, direction="a2b"):
    return [
        Drawn(Sample(f"{i}", direction, Picture(source)), output)
        for i, (source, output) in enumerate(zip(pictures(), outputs, strict=True))
    ]


def negatives():
    return [255 - pixels for pixels in pictures()]


def events(found):
    return [(event.name, event.direction, event.alarm is not None) for event in found]


def test_alarm_speaks_once_until_it_clears(picture_root):
    watch = watch_of(picture_root)
    assert events(watch.look_at_samples(1, drawn(negatives()))) == [("inversion", "a2b", True)]
    assert watch.look_at_samples(2, drawn(negatives())) == []
    assert events(watch.look_at_samples(3, drawn(pictures()))) == [("inversion", "a2b", False)]
    assert watch.look_at_samples(4, drawn(pictures())) == []
    assert events(watch.look_at_samples(5, drawn(negatives()))) == [("inversion", "a2b", True)]


def test_each_direction_has_its_own_alarms(picture_root):
    watch = watch_of(picture_root)
    both = drawn(pictures()) + drawn(negatives(), direction="b2a")
    assert events(watch.look_at_samples(1, both)) == [("inversion", "b2a", True)]


def test_no_alarm_before_the_warm_up_ends(picture_root):
    watch = watch_of(picture_root, warmup_steps=10)
    assert watch.look_at_samples(9, drawn(negatives())) == []
    assert len(watch.look_at_samples(10, drawn(negatives()))) == 1


def test_noise_of_fresh_networks_falls_in_the_default_warm_up(picture_root):
    config = pair_config(picture_root)
    watch = HealthWatch(config, find_domains(config.data))
    grey = [np.full_like(pixels, 127) for pixels in pictures()]
    assert watch.look_at_samples(0, drawn(grey)) == []
    assert watch.look_at_samples(499, drawn(grey)) == []
    assert events(watch.look_at_samples(500, drawn(grey))) == [("collapse", "a2b", True)]


def test_no_alarm_where_the_watch_is_off(picture_root):
    watch = watch_of(picture_root, enabled=False)
    assert watch.look_at_samples(5, drawn(negatives())) == []


def test_watch_recalls_the_log(picture_root):
    up = {"step": 2, "epoch": 1, "alarm": "inversion", "direction": "a2b", "saw": "", "remedy": ""}
    down = {"step": 4, "epoch": 1, "cleared": "inversion", "direction": "a2b"}
    assert watch_of(picture_root, [up]).look_at_samples(6, drawn(negatives())) == []
    again = watch_of(picture_root, [up, down]).look_at_samples(6, drawn(negatives()))
    assert events(again) == [("inversion", "a2b", True)]


def test_unreadable_training_pictures_are_no_references(picture_root, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(picture_root, root)
    for path in (root / "trainB").iterdir():
        path.write_bytes(b"no picture")
    assert events(watch_of(root).look_at_samples(1, drawn(negatives()))) == [
        ("inversion", "a2b", True)
    ]


def test_copies_of_training_pictures_are_seen_in_a_run(picture_root, tmp_path, monkeypatch):
    from i2icli.pictures.images import read_picture, to_tensor

    copy = to_tensor(read_picture(picture_root / "trainB/05.png").pixels)

    def recite(self, images, **_):
        return Translation(copy[None].expand(len(images), -1, -1, -1))

    monkeypatch.setattr(PairMethod, "translate", recite)
    # So near to the pictures' size that samples are translated at their own.
    sections = {"data": {"resize": 20}, "samples": {"every_steps": 2}, "health": ALERT}
    start_run(pair_config(picture_root, steps=2, **sections), run_dir=tmp_path / "run")
    assert {line["alarm"] for line in alarms(tmp_path / "run")} >= {"copying", "collapse"}


# The discriminator


def judged(step, real, gan):
    return {
        "step": step,
        "epoch": 1,
        "discriminator/real": real,
        "discriminator/fake": real,
        "generator/gan": gan,
        "generator/lr": 0.01,
    }


@pytest.fixture
def adversarial(picture_root):
    from tiny import tiny_document

    document = {
        "method": tiny_document("cut"),
        "data": {"root": str(picture_root), "resize": 36, "crop": 32},
        "health": {"warmup_steps": 0, "discriminator_steps": 100},
    }
    config = run_schema().model_validate(document)
    return config, find_domains(config.data)


def test_discriminator_must_win_for_a_while(adversarial):
    watch = HealthWatch(*adversarial)
    assert watch.look_at_terms(judged(50, 0.12, 0.3)) == []
    assert watch.look_at_terms(judged(100, 0.005, 0.98)) == []
    (event,) = watch.look_at_terms(judged(150, 0.004, 0.99))
    assert event.alarm.saw == (
        "the discriminator has a loss of 0.008 and the generator's GAN term is 0.990, for 100 steps"
    )
    assert watch.look_at_terms(judged(200, 0.004, 0.99)) == []
    assert events(watch.look_at_terms(judged(250, 0.1, 0.4))) == [("discriminator-won", "", False)]


def test_discriminator_that_lost_in_between_begins_anew(adversarial):
    watch = HealthWatch(*adversarial)
    for step, real in ((50, 0.004), (100, 0.1), (150, 0.004)):
        assert watch.look_at_terms(judged(step, real, 0.99)) == []
    assert len(watch.look_at_terms(judged(200, 0.004, 0.99))) == 1


def test_time_of_winning_is_recalled_from_the_log(adversarial):
    log = [judged(50, 0.12, 0.3), judged(100, 0.005, 0.98), {"step": 100, "eval/fid": 90.0}]
    watch = HealthWatch(*adversarial, log)
    assert len(watch.look_at_terms(judged(150, 0.004, 0.99))) == 1


def test_partial_line_counts_for_nothing(adversarial):
    watch = HealthWatch(*adversarial)
    assert watch.look_at_terms({**judged(150, 0.004, 0.99), "partial": True}) == []
    assert watch.look_at_terms(judged(50, 0.004, 0.99)) == []


def test_methods_without_an_adversary_have_no_such_alarm(picture_root):
    watch = watch_of(picture_root, discriminator_steps=1)
    assert watch.look_at_terms(judged(50, 0.0, 1.0)) == []


# In a run


@pytest.mark.usefixtures("inverting")
def test_alarm_is_a_line_of_the_log_and_a_note(picture_root, tmp_path):
    watcher = Watcher()
    config = pair_config(picture_root, samples={"every_steps": 2, "count": 2}, health=ALERT)
    result = start_run(config, run_dir=tmp_path / "run", reporter=watcher)
    (line,) = alarms(tmp_path / "run")
    assert (line["step"], line["alarm"], line["direction"]) == (0, "inversion", "a2b")
    assert line["saw"].startswith("luminance of source and translation correlates at -1.00")
    (note,) = [note for note in watcher.notes if "alarm: " in note]
    assert note.startswith("step 0: alarm: inversion (a2b): luminance of source")
    assert ". Remedy: light and dark are swapped" in note
    assert all(isinstance(value, float) for value in result.metrics.values())
    json.dumps(result.metrics)


@pytest.mark.usefixtures("inverting")
def test_text_in_the_log_is_no_curve(picture_root, tmp_path):
    pytest.importorskip("tensorboard")
    config = pair_config(
        picture_root, steps=2, samples={"every_steps": 2}, health=ALERT, log={"tensorboard": "auto"}
    )
    start_run(config, run_dir=tmp_path / "run")
    assert len(alarms(tmp_path / "run")) == 1


@pytest.mark.usefixtures("inverting")
@pytest.mark.parametrize("at", [1, 4, 5])
def test_interrupted_run_has_the_alarms_of_the_uninterrupted_one(picture_root, tmp_path, at):
    config = pair_config(
        picture_root,
        steps=7,
        method={"dropout": 0.5},
        samples={"every_steps": 2, "count": 2},
        health={"warmup_steps": 3},
    )
    start_run(config, run_dir=tmp_path / "through")
    interrupt(config, tmp_path / "run", at=at)
    resume_run(tmp_path / "run")
    assert [line["step"] for line in alarms(tmp_path / "run")] == [4]
    assert_same_end(tmp_path / "through", tmp_path / "run")


@pytest.mark.usefixtures("inverting")
def test_alarm_off_the_interval_makes_way_for_the_longer_run(picture_root, tmp_path):
    sections = {"samples": {"every_steps": 4, "count": 2}, "health": {"warmup_steps": 1}}
    start_run(pair_config(picture_root, steps=8, **sections), run_dir=tmp_path / "through")
    start_run(pair_config(picture_root, steps=3, **sections), run_dir=tmp_path / "run")
    (line,) = alarms(tmp_path / "run")
    assert (line["step"], line["partial"]) == (3, True)
    resume_run(tmp_path / "run", steps=8)
    assert [line["step"] for line in alarms(tmp_path / "run")] == [4]
    assert_same_end(tmp_path / "through", tmp_path / "run")


def test_watching_does_not_change_the_run(picture_root, tmp_path):
    states = []
    for name, is_on in (("off", False), ("on", True)):
        config = pair_config(
            picture_root,
            method={"dropout": 0.5},
            samples={"every_steps": 1},
            health={"enabled": is_on, "warmup_steps": 0},
        )
        start_run(config, run_dir=tmp_path / name)
        states.append(state_of(tmp_path / name, "config"))
    assert_same(*states)
    assert torch.isfinite(states[0]["weights"]["generator.0.weight"]).all()
