from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from i2icli.config.sections import DataConfig
from i2icli.data.keyed import KeyedDraws
from i2icli.data.transforms import CropChoice, choose_crop, make_crop, plan_crop, resized_size
from i2icli.pictures.images import from_tensor


def pixels(height, width, channels=3, dtype=np.uint8):
    top = np.iinfo(dtype).max
    random = np.random.default_rng(3)
    return random.integers(0, top + 1, (height, width, channels), dtype=dtype)


def config(**values):
    return DataConfig(**{"resize": 36, "crop": 32, **values})


def test_resize_and_crop_is_pillows_bicubic_then_a_plain_cut():
    source = pixels(41, 50)
    crop = make_crop(source, plan_crop(config()), CropChoice(x=3, y=1, flip=True))
    by_hand = Image.fromarray(source).resize((36, 36), Image.Resampling.BICUBIC)
    by_hand = by_hand.crop((3, 1, 35, 33)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert np.array_equal(from_tensor(crop), np.asarray(by_hand))


@pytest.mark.parametrize(
    ("size", "is_height_first"),
    [((60, 100), True), ((37, 60), True), ((30, 100), True), ((100, 60), False), ((50, 60), False)],
)
def test_the_order_of_the_two_passes_is_fixed(size, is_height_first):
    """Pillow's own order depends on its version; ours must not."""
    source = pixels(size[1], size[0])
    crop = make_crop(source, plan_crop(config(preprocess="resize")), CropChoice())
    middle = (size[0], 36) if is_height_first else (36, size[1])
    by_hand = Image.fromarray(source).resize(middle, Image.Resampling.BICUBIC)
    by_hand = by_hand.resize((36, 36), Image.Resampling.BICUBIC)
    assert np.array_equal(from_tensor(crop), np.asarray(by_hand))


def test_bilinear_is_another_filter():
    source = pixels(41, 50)
    crop = make_crop(source, plan_crop(config(interpolation="bilinear")), CropChoice())
    by_hand = Image.fromarray(source).resize((36, 36), Image.Resampling.BILINEAR)
    assert np.array_equal(from_tensor(crop), np.asarray(by_hand)[:32, :32])


@pytest.mark.parametrize(
    ("preprocess", "size", "expected"),
    [
        ("resize-and-crop", (50, 41), (32, 32)),
        ("resize", (50, 41), (36, 36)),
        ("scale-width", (72, 100), (36, 48)),  # height 50, to the even multiple
        ("scale-width", (72, 10), (36, 32)),  # never lower than the crop
        ("scale-width-and-crop", (72, 100), (32, 32)),
        ("scale-shorter-and-crop", (72, 100), (32, 32)),
        ("scale-shorter-and-crop", (20, 10), (32, 32)),
        ("crop", (50, 41), (32, 32)),
        ("crop", (20, 41), (20, 32)),  # a short side stays
        ("crop", (20, 22), (20, 24)),  # 22 / 4 = 5.5, to the even multiple
        ("none", (50, 41), (48, 40)),
        ("none", (1, 1), (4, 4)),
    ],
)
def test_each_way_gives_its_size(preprocess, size, expected):
    crop = make_crop(
        pixels(size[1], size[0]), plan_crop(config(preprocess=preprocess)), CropChoice()
    )
    assert (crop.shape[2], crop.shape[1]) == expected


def test_the_height_may_differ_from_the_width():
    plan = plan_crop(config(preprocess="resize", resize=64, resize_height=32))
    assert make_crop(pixels(10, 10), plan, CropChoice()).shape == (3, 32, 64)


def test_a_short_side_is_not_filled_up_with_black():
    """Departure: the released crop fills up with black."""
    source = np.full((41, 20, 3), 200, np.uint8)
    crop = make_crop(source, plan_crop(config(preprocess="crop")), CropChoice(y=5))
    assert (from_tensor(crop) == 200).all()


@pytest.mark.parametrize(
    ("size", "expected"),
    [((72, 100), (36, 50)), ((100, 72), (50, 36)), ((7, 5), (50, 36)), ((36, 99), (36, 99))],
)
def test_the_shorter_side_is_scaled_and_the_longer_one_cut_off_to_whole_pixels(size, expected):
    plan = plan_crop(config(preprocess="scale-shorter-and-crop"))
    assert resized_size(plan, size) == expected


def test_crops_of_the_scaled_shorter_side_cover_the_longer_one():
    plan = plan_crop(config(preprocess="scale-shorter-and-crop", resize=32))
    choices = [choose_crop(plan, (50, 40), KeyedDraws(seed)) for seed in range(300)]
    assert {c.y for c in choices} == {0}
    assert {c.x for c in choices} == set(range(9))  # 32 of 50 * 32 / 40 = 40 pixels


def test_mirroring_after_the_crop_is_mirroring_before_the_resize_with_the_place_mirrored():
    """MUNIT mirrors first: the same crops with the same chances, but for rounding."""
    source, plan = pixels(41, 50), plan_crop(config(interpolation="bilinear"))
    last = make_crop(source, plan, CropChoice(x=1, y=2, flip=True))
    first = make_crop(source[:, ::-1].copy(), plan, CropChoice(x=3, y=2))
    assert np.abs(from_tensor(last).astype(int) - from_tensor(first)).max() <= 1


@pytest.mark.parametrize(
    "preprocess", ["resize-and-crop", "scale-width-and-crop", "scale-shorter-and-crop"]
)
def test_without_jitter_the_picture_is_resized_straight_to_the_crop(preprocess):
    plan = plan_crop(config(preprocess=preprocess), jitter=False)
    assert resized_size(plan, (50, 50)) == (32, 32)
    choices = {choose_crop(plan, (50, 50), KeyedDraws(seed)) for seed in range(20)}
    assert choices == {CropChoice(flip=False), CropChoice(flip=True)}


@pytest.mark.parametrize("preprocess", ["resize", "scale-width", "crop", "none"])
def test_ways_without_a_resized_crop_keep_their_size_in_the_decay_half(preprocess):
    """Departure: the released code resizes those to the crop size as well."""
    settings = config(preprocess=preprocess)
    assert plan_crop(settings, jitter=False) == plan_crop(settings, jitter=True)


def test_crop_places_cover_the_whole_range_evenly():
    plan = plan_crop(config())
    choices = [choose_crop(plan, (50, 41), KeyedDraws(7, index)) for index in range(2000)]
    for places in (Counter(c.x for c in choices), Counter(c.y for c in choices)):
        assert sorted(places) == [0, 1, 2, 3, 4]
        assert min(places.values()) > 330  # 400 expected
    assert 900 < sum(c.flip for c in choices) < 1100


def test_flips_can_be_turned_off_without_moving_the_crops():
    with_flips, without = plan_crop(config()), plan_crop(config(flip=False))
    for seed in range(20):
        flipped = choose_crop(with_flips, (50, 41), KeyedDraws(seed))
        straight = choose_crop(without, (50, 41), KeyedDraws(seed))
        assert (flipped.x, flipped.y) == (straight.x, straight.y)
        assert not straight.flip


def test_grey_stays_one_channel():
    assert make_crop(pixels(40, 40, 1), plan_crop(config()), CropChoice()).shape == (1, 32, 32)


def test_16_bits_are_trained_on_as_8():
    deep = pixels(40, 40, 1, np.uint16)
    plan = plan_crop(config(preprocess="none"))
    assert np.array_equal(
        from_tensor(make_crop(deep, plan, CropChoice())), np.rint(deep / 257).astype(np.uint8)
    )


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    preprocess=st.sampled_from(
        [
            "resize-and-crop",
            "scale-width-and-crop",
            "scale-shorter-and-crop",
            "scale-width",
            "resize",
            "crop",
            "none",
        ]
    ),
    seed=st.integers(0, 2**63 - 1),
    jitter=st.booleans(),
)
def test_any_picture_becomes_a_crop_with_sides_of_multiples_of_4(
    width, height, preprocess, seed, jitter
):
    plan = plan_crop(config(preprocess=preprocess), jitter=jitter)
    choice = choose_crop(plan, (width, height), KeyedDraws(seed))
    crop = make_crop(pixels(height, width), plan, choice)
    assert crop.dtype == torch.float32
    assert crop.shape[1] % 4 == 0
    assert crop.shape[2] % 4 == 0
    assert crop.min() >= -1
    assert crop.max() <= 1
    if preprocess.endswith("and-crop"):
        assert crop.shape == (3, 32, 32)


def test_keyed_draws_depend_on_every_part_of_the_key():
    keys = [(0, 1, 2, 3), (1, 1, 2, 3), (2**32, 1, 2, 3), (0, 2, 2, 3), (0, 1, 3, 3), (0, 1, 2, 0)]
    first = [KeyedDraws(*key).below(2**62) for key in keys]
    assert len(set(first)) == len(keys)
    assert [KeyedDraws(*key).below(2**62) for key in keys] == first


def test_keyed_draws_stay_what_they_were():
    """A change of these numbers would change every run that is resumed."""
    draws = KeyedDraws(42, 1, 2, 3)
    assert [draws.below(1000) for _ in range(5)] == [50, 665, 705, 92, 902]
    assert KeyedDraws(42, 1).permutation(8).tolist() == [6, 1, 5, 0, 4, 2, 7, 3]


def test_a_permutation_holds_every_place_once():
    assert sorted(KeyedDraws(5, 1).permutation(1000).tolist()) == list(range(1000))
