import logging

import numpy as np
import pytest
import torch
from echo import SMALL, Echo, noise, save_fresh, translate_tensor
from PIL import Image
from run_kit import save_untrained

from i2icli.config.sections import DataConfig
from i2icli.errors import ConfigError
from i2icli.methods import build_method, configure_run
from i2icli.networks.resnet import add_change
from i2icli.pictures.images import Picture, to_tensor
from i2icli.translation.full_size import Resized
from i2icli.translation.pictures import batch_key, translate_images, translate_pictures
from i2icli.translation.scale import (
    Scale,
    TrainingSize,
    check_scale,
    shown_size,
    training_size,
)
from i2icli.translation.translator import load_translator

SEEN = {"a": {"count": 1, "names": "", "side": 64}, "b": {"count": 1, "names": "", "side": 64}}
DATA = ("data.resize=36", "data.crop=32", "data.jitter_in_decay=true")


def worked_on(size, **values):
    target = shown_size(DataConfig(**{"resize": 100, "crop": 64, **values}), is_decaying=False)
    return Scale(target).working_size(size)


@pytest.mark.parametrize(
    ("preprocess", "size", "wanted"),
    [
        ("resize-and-crop", (256, 256), (100, 100)),
        ("resize-and-crop", (200, 800), (50, 200)),  # the aspect is kept, the area is the square's
        ("resize", (400, 100), (200, 50)),
        ("scale-shorter-and-crop", (256, 512), (100, 200)),
        ("scale-width-and-crop", (512, 256), (200, 100)),
        ("scale-width", (50, 25), (200, 100)),
        ("random-scale-and-crop", (256, 512), (50, 100)),
        ("random-scale-and-crop", (180, 199), (180, 199)),  # it saw half to twice
        ("crop", (999, 999), (999, 999)),
        ("none", (999, 999), (999, 999)),
        ("zoom-and-patch", (999, 999), (999, 999)),
    ],
)
def test_pictures_are_worked_on_at_the_size_at_which_training_shows_whole_ones(
    preprocess, size, wanted
):
    assert worked_on(size, preprocess=preprocess) == wanted


@pytest.mark.parametrize("side", [80, 100, 125])
def test_a_picture_within_a_quarter_keeps_its_size(side):
    assert worked_on((side, side)) == (side, side)
    assert worked_on((79, 79)) == worked_on((126, 126)) == (100, 100)


def test_a_height_of_its_own_counts():
    assert worked_on((256, 256), resize=200, resize_height=50, crop=32) == (100, 100)


def test_an_elongated_picture_is_not_enlarged_without_end():
    height, width = worked_on((10, 9000), preprocess="scale-shorter-and-crop")
    assert (height, width) == (10, 9000)
    height, width = worked_on((10, 160), preprocess="scale-shorter-and-crop")
    assert height * width == pytest.approx(4 * 100**2, rel=0.02)
    assert width / height == pytest.approx(16, rel=0.02)


def test_the_decay_half_of_a_run_without_jitter_shows_pictures_at_the_crop():
    overrides = ["data.resize=100", "data.crop=64", "method.schedule.epochs=3"]
    still = configure_run("cut", [*overrides, "data.jitter_in_decay=false"])
    moving = configure_run("cut", [*overrides, "data.jitter_in_decay=true"])
    sizes = [training_size(still, SEEN, epoch=epoch) for epoch in (0, 3, 4)]
    assert [size and size.pixels for size in sizes] == [100, 100, 64]
    assert training_size(moving, SEEN, epoch=4) == TrainingSize(100, before=64)


def test_a_checkpoint_that_does_not_know_its_pictures_size_has_no_training_size():
    known = {"a": {"count": 3, "names": ""}, "b": {"count": 3, "names": ""}}
    assert training_size(configure_run("cut", []), known, epoch=1) is None
    assert training_size(configure_run("cut", []), {}, epoch=1) is None


@pytest.mark.parametrize(
    ("text", "choice"),
    [("auto", "auto"), ("none", "none"), ("0.5", 0.5), (2, 2.0), ("144px", "144px")],
)
def test_a_scale_is_a_word_a_factor_or_a_side(text, choice):
    assert check_scale(text) == choice


@pytest.mark.parametrize("text", ["half", "0", "-1", "nan", "inf", "px", "0px", ""])
def test_another_scale_is_refused(text):
    with pytest.raises(ConfigError, match="use auto, none, a factor of the picture's sides"):
        check_scale(text)


def test_the_network_works_at_the_scale_and_the_picture_comes_back_at_its_size():
    method = Echo()
    images = torch.rand(1, 3, 41, 62) * 2 - 1
    made = translate_tensor(method, images, scale=Scale(factor=0.5))
    assert method.seen == [(1, 3, 20, 32)]
    assert torch.equal(made, images)  # what changes nothing changes nothing at any scale
    assert not made.requires_grad
    assert not made.is_inference()


@pytest.mark.parametrize("residual", ["true", "false"])
def test_at_equal_scale_all_bits_are_those_without(residual):
    method = build_method(configure_run("cut", [*SMALL, f"method.generator.residual={residual}"]))
    images = torch.rand(2, 3, 36, 40) * 2 - 1
    plain = translate_tensor(method, images)
    assert torch.equal(translate_tensor(method, images, scale=Scale(TrainingSize(40))), plain)
    assert torch.equal(translate_tensor(method, images, scale=Scale(factor=1.0)), plain)


@pytest.fixture
def residual():
    method = build_method(configure_run("cut", [*SMALL, "method.generator.residual=true"]))
    for weight in method.generator.model[-2].parameters():
        torch.nn.init.normal_(weight, 0, 0.2)  # it starts too small to see
    return method


def test_a_residual_generator_adds_its_enlarged_change_to_the_full_picture(residual):
    images = torch.rand(1, 3, 80, 64) * 2 - 1
    half = Scale(factor=0.5)
    with torch.no_grad():
        change = residual.eval().generator.change(half.worked_on(images))
        wanted = add_change(images, Resized(change, (80, 64)).rows(0, 80))
    assert change.abs().mean() > 0.05
    made = translate_tensor(residual, images, scale=half)
    torch.testing.assert_close(made, wanted, rtol=0, atol=1e-6)


def test_pictures_of_one_working_size_go_together_as_they_go_alone(residual):
    scale = Scale(TrainingSize(40))
    pictures = [Picture(noise(*size, seed=size[0])) for size in ((40, 40), (80, 80), (160, 160))]
    assert len({batch_key(residual, picture, scale) for picture in pictures}) == 1
    together = translate_pictures(residual, pictures, batch_size=3, scale=scale)
    for picture, made in zip(pictures, together, strict=True):
        (alone,) = translate_pictures(residual, [picture], scale=scale)
        assert made.pixels.shape == picture.pixels.shape
        assert np.array_equal(made.pixels, alone.pixels)
    (own,) = translate_pictures(residual, pictures[:1])
    assert np.array_equal(together[0].pixels, own.pixels)


def test_styles_of_a_batch_stay_with_their_pictures_at_a_scale():
    method = Echo()
    images = [torch.full((1, 3, 40, 40), 0.25), torch.full((1, 3, 80, 80), -0.5)]
    made = translate_images(method, images, scale=Scale(TrainingSize(40)))
    assert [float(one.images.mean()) for one in made] == pytest.approx([0.25, -0.5])


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "run" / "checkpoints" / "last.pt"
    save_untrained(path, configure_run("cut", [*SMALL, *DATA]), data=SEEN)
    return path


def test_a_loaded_checkpoint_works_at_its_training_scale_and_says_so_once(checkpoint, caplog):
    translator = load_translator(checkpoint)
    picture = Image.fromarray(noise(72, 72))
    with caplog.at_level(logging.INFO, logger="i2icli"):
        auto, again = translator.translate([picture, picture])
        translator.translate(picture)
    said = [text for text in caplog.messages if "training showed" in text]
    assert said == [
        "training showed whole pictures of 64 at 36 pixels (geometric mean of the sides): one of "
        "72 x 72 is worked on at 36 x 36, as are all that differ by a factor above 1.25, and comes "
        "back at its own size; `--scale none` works at that"
    ]
    half, side = (translator.translate(picture, scale=scale) for scale in (0.5, "36px"))
    none = translator.translate(picture, scale="none")
    assert auto.tobytes() == again.tobytes() == half.tobytes() == side.tobytes()
    assert none.tobytes() != auto.tobytes()
    near = Image.fromarray(noise(44, 44))
    own = translator.translate(near, scale="none")
    assert translator.translate(near).tobytes() == own.tobytes()


def test_tensors_and_whole_results_follow_the_scale_too(checkpoint):
    translator = load_translator(checkpoint)
    pixels = noise(72, 72)
    wanted = translator.translate(pixels)
    full = translator.translate_full(pixels)
    assert np.array_equal(full.pixels, wanted)
    tensor = translator.translate(to_tensor(pixels))
    assert np.abs(tensor.numpy().transpose(1, 2, 0) * 127.5 + 127.5 - wanted).max() <= 0.5001
    assert not np.array_equal(translator.translate_full(pixels, scale="none").pixels, wanted)


def test_a_checkpoint_without_the_size_of_its_pictures_keeps_sizes(tmp_path):
    save_fresh(tmp_path / "old.pt", "cut", *DATA)
    translator = load_translator(tmp_path / "old.pt")
    assert not translator.scale.may_rescale
    pixels = noise(72, 72)
    none = translator.translate(pixels, scale="none")
    assert np.array_equal(translator.translate(pixels), none)


def test_styles_of_pictures_are_read_at_the_training_scale(tmp_path):
    small = ["method.generator.width=4", "method.discriminator.width=4"]
    overrides = ["data.preprocess=resize-and-crop", "data.resize=64", "data.crop=64"]
    config = configure_run("munit", [*small, *overrides])
    save_untrained(tmp_path / "munit.pt", config, data=SEEN)
    translator = load_translator(tmp_path / "munit.pt")
    picture = noise(128, 128)
    assert translator.scale.working_size((128, 128)) == (64, 64)
    reduced = translator.scale.worked_on(to_tensor(picture)[None])
    wanted = translator.method.encode_style(reduced)[0]
    torch.testing.assert_close(translator.encode_style(picture), wanted.detach())
