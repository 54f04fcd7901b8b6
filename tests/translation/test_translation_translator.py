import inspect
import pickle
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from echo import SMALL, Echo, noise, save_fresh, translate_tensor
from PIL import Image
from plain_data import assert_same_picture

import i2icli
from i2icli.errors import CheckpointError, ConfigError, DataError
from i2icli.methods import build_method, configure_run
from i2icli.pictures.images import Picture, from_tensor, read_picture, to_tensor
from i2icli.runs.checkpoint import CheckpointState, load_checkpoint, save_checkpoint
from i2icli.training.samples import Sample, SampleDrawer
from i2icli.translation.pictures import translate_pictures
from i2icli.translation.translator import Translator, load_translator
from i2icli.viz.grid import lay_out


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "checkpoints" / "last.pt"
    save_fresh(path)
    return path


@pytest.fixture(scope="module")
def translator(checkpoint):
    return load_translator(checkpoint, device="cpu")


def echo(**channels):
    config = configure_run("cyclegan", SMALL)
    return Translator(Echo(**channels), config, precision=torch.float32)


def test_a_translator_says_what_it_is(translator):
    assert translator.name == "cyclegan"
    assert translator.directions == ("a2b", "b2a")
    assert translator.channels == {"a": 3, "b": 3}
    assert translator.size_multiple == 4
    assert translator.device == torch.device("cpu")
    assert translator.precision == torch.float32
    assert translator.config.preset == "cyclegan"
    assert "name='cyclegan'" in repr(translator)


def test_the_package_offers_the_translator(checkpoint):
    assert i2icli.load_translator is load_translator
    assert isinstance(i2icli.load_translator(checkpoint, device="cpu"), i2icli.Translator)


def test_nothing_but_the_checkpoint_is_needed(checkpoint, tmp_path, monkeypatch, translator):
    alone = Path(shutil.copy(checkpoint, tmp_path / "renamed"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("I2I_HOME", str(tmp_path / "nowhere"))
    pixels = noise(19, 21)
    assert np.array_equal(
        load_translator(alone, device="cpu").translate(pixels), translator.translate(pixels)
    )
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("of", [lambda p: p.parent.parent, lambda p: p.parent])
def test_a_run_folder_stands_for_its_last_checkpoint(checkpoint, of, translator):
    pixels = noise(16, 16)
    loaded = load_translator(of(checkpoint), device="cpu")
    assert np.array_equal(loaded.translate(pixels), translator.translate(pixels))


def test_bytes_of_a_file_are_translated_as_the_file_is(translator, tmp_path):
    Image.fromarray(noise(18, 25)).save(tmp_path / "x.png")
    content = (tmp_path / "x.png").read_bytes()
    alone, listed = translator.translate(content), translator.translate([content])
    expected = np.asarray(translator.translate(tmp_path / "x.png"))
    assert np.array_equal(np.asarray(alone), expected)
    assert np.array_equal(np.asarray(listed[0]), expected)
    with pytest.raises(DataError, match="the picture"):
        translator.translate(content[:40])


def test_a_translator_goes_to_another_process_by_pickle(translator):
    pixels = noise(16, 16)
    copy = pickle.loads(pickle.dumps(translator))
    assert np.array_equal(copy.translate(pixels), translator.translate(pixels))


def test_a_folder_without_a_checkpoint_is_refused_with_what_a_run_holds(tmp_path):
    with pytest.raises(CheckpointError, match=r"a run folder holds config\.toml and checkpoints"):
        load_translator(tmp_path)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "x.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match=r"x\.pt"):
        load_translator(tmp_path / "x.pt")


def test_weights_that_do_not_fit_the_configuration_are_refused(checkpoint, tmp_path):
    state = load_checkpoint(checkpoint)
    weights = {key: value for key, value in state.weights.items() if "generator" not in key}
    broken = CheckpointState(config=state.config, weights=weights, step=0)
    save_checkpoint(tmp_path / "broken.pt", broken)
    with pytest.raises(CheckpointError, match=r"broken\.pt is damaged: its weights do not fit"):
        load_translator(tmp_path / "broken.pt")


@pytest.mark.parametrize(
    ("section", "key", "value", "words"),
    [
        ("generator", "width", 10**9, r"width = 1000000000: must be a whole number from 1 to 4096"),
        ("generator", "blocks", 10**7, r"blocks = 10000000: must be a whole number from 1 to 256"),
        ("generator", "width", 4096, r"its weights do not fit its configuration \(generator_"),
        ("discriminator", "width", 4096, r"its weights do not fit its configuration \(disc"),
    ],
)
def test_networks_beyond_the_file_are_refused_before_they_are_built(
    checkpoint, tmp_path, section, key, value, words
):
    state = load_checkpoint(checkpoint)
    method = state.config["method"]
    method = {**method, section: {**method[section], key: value}}
    config = {**state.config, "method": method}
    save_checkpoint(tmp_path / "x.pt", replace(state, config=config))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises((CheckpointError, ConfigError), match=words):
        load_translator(tmp_path / "x.pt", device="cpu")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18  # KiB


def test_averaged_weights_are_preferred_to_those_of_the_last_step(checkpoint, tmp_path):
    state = load_checkpoint(checkpoint)
    average = {k: v * 0 for k, v in state.weights.items() if k.startswith("generator_ab")}
    kept = CheckpointState(config=state.config, weights=state.weights, step=0, ema=average)
    save_checkpoint(tmp_path / "ema.pt", kept)
    averaged = load_translator(tmp_path / "ema.pt", device="cpu")
    assert (averaged.translate(noise(16, 16)) == 128).all()
    assert not (averaged.translate(noise(16, 16), "b2a") == 128).all()


def test_precision_is_that_of_the_run_unless_another_is_named(tmp_path):
    save_fresh(tmp_path / "half.pt", "cyclegan", "runtime.precision=bfloat16")
    assert load_translator(tmp_path / "half.pt", device="cpu").precision == torch.bfloat16
    named = load_translator(tmp_path / "half.pt", device="cpu", precision="float32")
    assert named.precision == torch.float32
    with pytest.raises(ConfigError, match="float8"):
        load_translator(tmp_path / "half.pt", device="cpu", precision="float8")


def test_samples_while_training_have_the_pixels_of_a_translation(tmp_path, translator):
    config = save_fresh(tmp_path / "fresh.pt")
    method = build_method(config).train()
    Image.fromarray(noise(37, 50)).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    drawer = SampleDrawer((Sample("a", "a2b", picture),))
    drawer.draw(method, tmp_path / "grid.png", precision=torch.float32)
    tiles = [[picture.pixels, picture.pixels]]
    layout = lay_out(tiles, column_titles=("source", "translation"), row_titles=["a2b a"])
    sample = np.asarray(Image.open(tmp_path / "grid.png").crop(layout.boxes[0][1]))
    loaded = load_translator(tmp_path / "fresh.pt", device="cpu")
    assert_same_picture(sample, loaded.translate(picture.pixels))
    assert_same_picture(sample, np.asarray(loaded.translate(tmp_path / "a.png")))
    together = [noise(37, 50, seed=1), picture.pixels, noise(40, 52, seed=2)]
    assert_same_picture(sample, loaded.translate(together, batch_size=3)[1])


@pytest.mark.parametrize(
    ("call", "picture"),
    [
        ("translate", noise(16, 16)),
        ("translate", Picture(noise(17, 20))),
        ("translate", torch.zeros(3, 9, 16)),
        ("translate_full", noise(16, 16)),
    ],
    ids=["array", "picture", "tensor", "full"],
)
def test_a_picture_reaches_its_method_in_at_most_four_frames(call, picture):
    class Watching(Echo):
        def translate(self, images, *, direction="a2b", style=None):
            names = [frame.function for frame in inspect.stack()]
            walks.append(names[: names.index(call, 1) + 1])
            return super().translate(images, direction=direction, style=style)

    walks = []
    translator = Translator(Watching(), echo().config, precision=torch.float32)
    getattr(translator, call)(picture)
    (walk,) = walks
    assert walk[0] == "translate"
    assert len(walk) <= 4, walk


def test_pictures_of_any_size_translate_the_same_in_any_batch():
    method = echo().method
    pictures = [Picture(noise(h, w, seed=h)) for h, w in [(17, 20), (5, 3), (19, 18), (17, 20)]]
    for batch_size in (1, 2, 8):
        translated = translate_pictures(method, pictures, batch_size=batch_size)
        for one, picture in zip(translated, pictures, strict=True):
            assert np.array_equal(one.pixels, picture.pixels)


def test_pictures_of_16_bits_are_not_computed_in_half_precision():
    picture = Picture(noise(16, 16, bits=16))
    (made,) = translate_pictures(echo().method, [picture], precision=torch.bfloat16)
    assert made.pixels.dtype == np.uint16
    assert np.abs(made.pixels.astype(int) - picture.pixels).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (7, 300), (33, 34)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_an_array_comes_back_as_an_array_with_its_alpha(size, channels):
    array = noise(*size, channels)
    translated = echo().translate(array)
    wanted = array if channels > 2 else np.repeat(array[..., :1], 3, axis=2)
    if channels == 2:
        wanted = np.concatenate([wanted, array[..., 1:]], axis=2)
    assert translated.dtype == np.uint8
    assert np.array_equal(translated, wanted)


def test_a_flat_array_stays_flat_where_the_translation_is_grey():
    grey = noise(9, 8)[..., 0]
    assert np.array_equal(echo(channels_a=1, channels_b=1).translate(grey), grey)
    assert echo(channels_a=1, channels_b=3).translate(grey).shape == (9, 8, 3)


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [("RGB", "RGB"), ("RGBA", "RGBA"), ("L", "RGB"), ("LA", "RGBA"), ("P", "RGB"), ("CMYK", "RGB")],
)
def test_a_pillow_image_comes_back_as_one(mode, wanted):
    image = Image.fromarray(noise(20, 30)).convert(mode)
    translated = echo().translate(image)
    assert (translated.mode, translated.size) == (wanted, (30, 20))
    assert np.array_equal(np.asarray(translated), np.asarray(image.convert(wanted)))


def test_a_deep_grey_pillow_image_keeps_its_depth():
    grey = noise(20, 30, bits=16)[..., 0]
    translated = echo(channels_a=1, channels_b=1).translate(Image.fromarray(grey))
    assert translated.mode == "I;16"
    assert np.array_equal(np.asarray(translated), grey)
    coloured = echo(channels_a=1, channels_b=3).translate(Image.fromarray(grey))
    assert coloured.mode == "RGB"


def test_a_rotated_photo_is_translated_upright(tmp_path):
    image = Image.fromarray(noise(20, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    assert echo().translate(tmp_path / "turned.png").size == (20, 30)
    with Image.open(tmp_path / "turned.png") as opened:
        assert echo().translate(opened).size == (20, 30)


def test_paths_come_back_as_pillow_images(tmp_path):
    Image.fromarray(noise(6, 7)).save(tmp_path / "a.png")
    translated = echo().translate([str(tmp_path / "a.png"), tmp_path / "a.png"])
    assert [image.size for image in translated] == [(7, 6), (7, 6)]
    with pytest.raises(DataError, match=r"gone\.png does not exist"):
        echo().translate(tmp_path / "gone.png")


def test_a_picture_comes_back_as_a_picture_with_its_alpha():
    picture = Picture(noise(9, 9), noise(9, 9)[..., 0], Path("a.png"), "PNG")
    translated = echo(channels_a=3, channels_b=1).translate(picture)
    assert translated.pixels.shape == (9, 9, 1)
    assert translated.alpha is picture.alpha
    assert translated.path == picture.path


@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 3, 16, 16), (4, 3, 17, 2)])
def test_a_tensor_comes_back_as_a_tensor_of_the_same_form(shape, translator):
    images = torch.rand(shape) * 2 - 1
    assert torch.equal(echo().translate(images), images)
    assert echo().translate(images.double()).dtype == torch.float32
    batch = images if images.ndim == 4 else images[None]
    wanted = translate_tensor(translator.method, batch, "b2a").view(shape)
    assert torch.equal(translator.translate(images, "b2a"), wanted)


def test_mixed_kinds_come_back_in_order():
    array, image, tensor = noise(5, 5), Image.fromarray(noise(6, 6)), torch.zeros(3, 7, 7)
    translated = echo().translate([array, tensor, image], batch_size=8)
    assert [type(value) for value in translated] == [np.ndarray, torch.Tensor, Image.Image]
    assert np.array_equal(translated[0], array)
    assert echo().translate([]) == []


@pytest.mark.parametrize(
    ("value", "fault", "message"),
    [
        (np.zeros((4, 4, 3)), ValueError, "array of float64 has no known range"),
        (np.zeros((4, 4, 5), np.uint8), ValueError, r"shape \(4, 4, 5\) is no picture"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, "is no picture"),
        (np.zeros(4, np.uint8), ValueError, "is no picture"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), ValueError, "tensor of torch.uint8"),
        (torch.zeros(4, 4), ValueError, r"shape \(4, 4\) is no picture"),
        (torch.zeros(1, 4, 4), ValueError, "a2b takes 3 channels"),
        (7, TypeError, "cannot translate a int"),
    ],
)
def test_what_is_no_picture_is_refused(value, fault, message):
    with pytest.raises(fault, match=message):
        echo().translate(value)


def test_an_unknown_direction_is_refused_whatever_is_translated(translator):
    for value in (noise(8, 8), torch.zeros(3, 8, 8)):
        with pytest.raises(ConfigError, match=r"'c2d': it offers a2b or b2a"):
            translator.translate(value, "c2d")


def test_translations_can_be_pickled_and_hold_only_themselves():
    translated = echo().translate([noise(5, 5), torch.zeros(3, 17, 17)])
    array, tensor = pickle.loads(pickle.dumps(translated))
    assert array.shape == (5, 5, 3)
    assert tensor.untyped_storage().nbytes() == 3 * 17 * 17 * 4


def test_8_bit_pixels_survive_the_way_through_a_tensor():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    assert np.array_equal(from_tensor(to_tensor(ramp)), ramp)
