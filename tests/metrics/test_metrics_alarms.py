"""Every fault is seen on pictures that show it, and healthy pictures raise nothing."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from i2icli.config.sections import HealthConfig
from i2icli.datasets.demo.render import render_both
from i2icli.datasets.demo.scene import draw_scene
from i2icli.metrics.alarms import discriminator_won, picture_alarms, stall_alarm
from i2icli.metrics.appearance import describe_references, pattern_strength, saturated_share
from i2icli.pictures.images import from_tensor, read_picture, to_tensor

SIDE, COUNT = 64, 4
LIMITS = HealthConfig()


def scenes(seed, count):
    both = [
        render_both(draw_scene(np.random.default_rng([seed, index])), size=SIDE)
        for index in range(count)
    ]
    return [one.plain for one in both], [one.striped for one in both]


@pytest.fixture(scope="module")
def sources():
    return scenes(0, COUNT)[0]


@pytest.fixture(scope="module")
def truths():
    return scenes(0, COUNT)[1]


@pytest.fixture(scope="module")
def real():
    return scenes(1, 24)[1]


@pytest.fixture(scope="module")
def references(real):
    return describe_references(real)


def alarms_of(sources, outputs, references, limits=LIMITS):
    alarms = picture_alarms(sources, outputs, references=references, limits=limits)
    return {alarm.name: alarm for alarm in alarms}


def names(sources, outputs, references, limits=LIMITS):
    return list(alarms_of(sources, outputs, references, limits))


def grid(function, side=SIDE):
    rows, columns = np.mgrid[:side, :side]
    return function(columns, rows)[..., None]


def shifted(pictures, pattern, amplitude):
    return [np.clip(p + amplitude * pattern, 0, 255).round().astype(np.uint8) for p in pictures]


def noisy(pictures, amplitude, *, seed=5):
    random = np.random.default_rng(seed)
    return [
        np.clip(p + random.normal(0, amplitude, p.shape), 0, 255).astype(np.uint8) for p in pictures
    ]


# Healthy pictures


def test_true_translations_raise_nothing(sources, truths, references):
    assert names(sources, truths, references) == []
    assert names(sources, truths, None) == []
    assert names(sources, sources, references) == [], "untranslated pictures are no fault"


@pytest.mark.parametrize("amplitude", [2, 10, 40])
def test_noise_on_good_translations_raises_nothing(sources, truths, references, amplitude):
    assert names(sources, noisy(truths, amplitude), references) == []


def test_paler_and_blurred_translations_raise_nothing(sources, truths, references):
    pale = [(128 + 0.4 * (p.astype(float) - 128)).astype(np.uint8) for p in truths]
    blurred = [from_tensor(nn.functional.avg_pool2d(to_tensor(p)[None], 3, 1, 1)[0]) for p in pale]
    assert names(sources, blurred, references) == []


def test_broad_stripes_of_any_period_raise_nothing(sources, references):
    # Stripes as coats have them: the period varies over the picture, also through 2 and 4 pixels.
    def stripes(x, y):
        return np.sign(np.sin(x * x * np.pi / (2 * SIDE) + 0.03 * y * y))

    assert names(sources, shifted(sources, grid(stripes), 40), references) == []


@pytest.mark.parametrize("kind", ["grey", "16 bits"])
def test_other_kinds_of_pictures_raise_nothing(truths, real, kind):
    def convert(pictures):
        grey = [p.mean(axis=-1, keepdims=True).astype(np.uint8) for p in pictures]
        return grey if kind == "grey" else [p.astype(np.uint16) * 257 for p in grey]

    made, references = convert(truths), describe_references(convert(real))
    assert names(made, made, references) == []


def test_pictures_of_several_sizes_raise_nothing(sources, truths, references):
    sides = [64, 51, 33, 9]
    cut = [[p[:s, : s - 1] for p, s in zip(ps, sides, strict=True)] for ps in (sources, truths)]
    assert names(cut[0], cut[1], references) == []


@pytest.mark.slow
@pytest.mark.skipif("I2I_SHARED" not in os.environ, reason="I2I_SHARED names no photographs")
def test_photographs_raise_nothing():
    root = Path(os.environ["I2I_SHARED"]) / "data" / "horse2zebra"

    def photos(part, count):
        return [read_picture(path).pixels for path in sorted((root / part).glob("*"))[:count]]

    references = describe_references(photos("trainB", 150))
    for part in ("testA", "testB"):
        for first in range(0, 24, 4):
            some = photos(part, 24)[first : first + 4]
            assert names(some, some, references) == []


# Faults


def test_swapped_light_and_dark_is_inversion(sources, truths, references):
    (alarm,) = alarms_of(sources, [255 - p for p in truths], references).values()
    assert alarm.name == "inversion"
    assert "correlates at -0." in alarm.saw
    assert "on 4 of 4 samples" in alarm.saw
    assert "train.seed" in alarm.remedy


def test_inversion_of_half_of_the_samples_is_not_most(sources, truths, references):
    outputs = [255 - truths[0], 255 - truths[1], truths[2], truths[3]]
    assert "inversion" not in names(sources, outputs, references)


def test_flat_sources_say_nothing_of_inversion(references):
    flat = [np.full((SIDE, SIDE, 3), value, np.uint8) for value in (40, 90, 160, 220)]
    assert "inversion" not in names(flat, [255 - p for p in flat], references)


def test_equal_translations_of_unlike_sources_are_collapse(sources, truths, references):
    found = alarms_of(sources, noisy([truths[0]] * COUNT, 3), references)
    assert set(found) == {"collapse"}
    assert "against 0." in found["collapse"].saw


def test_grey_translations_are_collapse(sources, references):
    assert names(sources, [np.full_like(p, 128) for p in sources], references) == ["collapse"]


def test_equal_translations_of_equal_sources_are_no_collapse(sources, truths, references):
    assert names([sources[0]] * COUNT, [truths[0]] * COUNT, references) == []


def test_translations_as_alike_as_real_pictures_are_no_collapse(sources):
    # Faint drawings on pale paper: real ones differ far less than the photographs they come from.
    def faint(seed, count):
        return [(230 + p // 16).astype(np.uint8) for p in scenes(seed, count)[1]]

    assert names(sources, faint(0, COUNT), describe_references(faint(1, 24))) == []
    assert "collapse" in names(sources, faint(0, COUNT), None)


def test_one_sample_says_nothing_of_collapse(sources, truths, references):
    assert names(sources[:1], truths[:1], references) == []


def test_black_and_white_translations_are_saturation(sources, truths, references):
    hard = [np.where(p > p.mean(), 255, 0).astype(np.uint8) for p in truths]
    found = alarms_of(sources, hard, references)
    assert found["saturation"].saw.startswith("100% of the values are black or white, against")


def test_white_paper_is_no_saturation_where_real_pictures_have_it(sources):
    def drawn(seed, count):
        return [np.where(p > 90, 255, p).astype(np.uint8) for p in scenes(seed, count)[1]]

    assert saturated_share(drawn(0, 1)[0]) > 0.3
    assert "saturation" not in names(sources, drawn(0, COUNT), describe_references(drawn(1, 24)))
    assert "saturation" in names(sources, drawn(0, COUNT), None)


PATTERNS = {
    "checkerboard": lambda x, y: (-1.0) ** (x + y),
    "columns": lambda x, y: (-1.0) ** x + 0 * y,
    "period 4": lambda x, y: np.sin(np.pi / 2 * x) * np.cos(np.pi / 2 * y),
    "rows of period 4": lambda x, y: np.sin(np.pi / 2 * y + 0.3) + 0 * x,
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_regular_pattern_is_checkerboard(sources, truths, references, pattern):
    # So small a picture of stripes hides a faint pattern of period 4.
    outputs = shifted(truths, grid(PATTERNS[pattern]), 24)
    (alarm,) = alarms_of(sources, outputs, references).values()
    assert alarm.name == "checkerboard"
    assert "antialias_up" in alarm.remedy


@pytest.mark.parametrize("pattern", PATTERNS)
def test_pattern_that_the_sources_have_is_no_checkerboard(sources, truths, references, pattern):
    given, made = (shifted(p, grid(PATTERNS[pattern]), 14) for p in (sources, truths))
    assert names(given, made, references) == []


def test_uneven_up_sampling_is_checkerboard(sources, references):
    # Kernel 3, stride 2, all weights equal: the textbook case.
    layer = nn.ConvTranspose2d(1, 1, 3, stride=2, padding=1, output_padding=1, bias=False)
    nn.init.constant_(layer.weight, 1 / 2.25)
    outputs = []
    with torch.inference_mode():
        for pixels in sources:
            small = nn.functional.avg_pool2d(to_tensor(pixels)[:, None], 2)
            outputs.append(from_tensor((layer(small + 1) - 1)[:, 0]))
    assert "checkerboard" in names(sources, outputs, references)


def test_pattern_fainter_than_a_level_counts_for_nothing():
    flat = np.full((SIDE, SIDE, 3), 100.0)
    levels = [flat + a * grid(PATTERNS["checkerboard"]) for a in (0.0, 0.4, 3.0)]
    none, faint, clear = (pattern_strength(p.round().astype(np.uint8)) for p in levels)
    assert none == faint == 0.0
    assert clear > LIMITS.checkerboard


def test_small_picture_has_no_spectrum(truths):
    assert pattern_strength(truths[0][:31]) is None


@pytest.mark.parametrize("mirror", [False, True])
def test_training_pictures_as_translations_are_copying(sources, real, references, mirror):
    copies = noisy([p[:, ::-1] if mirror else p for p in real[3 : 3 + COUNT]], 4)
    found = alarms_of(sources, copies, references)
    assert found["copying"].saw.startswith("4 of 4 translations are training pictures")


def test_pictures_that_both_domains_share_are_no_copying(real, references):
    shared = real[3 : 3 + COUNT]
    assert names(shared, shared, references) == []


def test_few_training_pictures_say_nothing_of_copying(sources, real):
    assert "copying" not in names(sources, real[:COUNT], describe_references(real[:7]))


def test_no_translations_raise_nothing(references):
    assert names([], [], references) == []


def test_unequal_numbers_of_pictures_are_refused(sources):
    with pytest.raises(ValueError, match="4 sources but 3 outputs"):
        picture_alarms(sources, sources[:3], references=None, limits=LIMITS)


@pytest.mark.parametrize(
    ("fault", "switch"),
    [
        ("inversion", {"inversion": -1.0}),
        ("collapse", {"collapse": 0.0}),
        ("saturation", {"saturation": 1.0}),
        ("copying", {"copying": 0.0}),
    ],
)
def test_alarm_can_be_switched_off(sources, truths, real, references, fault, switch):
    outputs = {
        "inversion": [255 - p for p in truths],
        "collapse": [truths[0]] * COUNT,
        "saturation": [np.where(p > p.mean(), 255, 0).astype(np.uint8) for p in truths],
        "copying": real[:COUNT],
    }[fault]
    assert fault in names(sources, outputs, references)
    assert fault not in names(sources, outputs, references, HealthConfig.model_validate(switch))


def test_references_of_few_pictures_are_described():
    assert describe_references([]).thumbnails.shape == (0, 256)
    assert describe_references([]).spread is None
    one = describe_references(scenes(1, 1)[1])
    assert one.spacing == float("inf")
    assert one.spread is None


# Losses


# By mode: terms of a discriminator that won, and those of an even match.
MATCHES = {
    "lsgan": ((0.006, 0.004, 0.99), (0.11, 0.12, 0.31)),
    "vanilla": ((0.01, 0.02, 4.0), (0.33, 0.34, 0.75)),
    "nonsaturating": ((0.01, 0.02, 4.0), (0.33, 0.34, 0.75)),
    "hinge": ((0.01, 0.01, 1.3), (0.45, 0.5, 0.1)),
}


def terms_of(values):
    names = ("discriminator/real", "discriminator/fake", "generator/gan", "generator/nce")
    return dict(zip(names, (*values, 5.0), strict=True))


@pytest.mark.parametrize("mode", MATCHES)
def test_discriminator_without_fault_has_won_and_one_of_an_even_match_has_not(mode):
    (real, fake, gan), even = MATCHES[mode]
    won = discriminator_won(terms_of((real, fake, gan)), mode=mode, share=0.1)
    assert won == ("", pytest.approx(real + fake), gan)
    assert discriminator_won(terms_of(even), mode=mode, share=0.1) is None


def test_sure_discriminator_that_the_generator_still_fools_has_not_won():
    assert discriminator_won(terms_of((0.006, 0.004, 0.5)), mode="lsgan", share=0.1) is None


def test_weight_of_the_term_is_taken_out():
    terms = terms_of((0.006, 0.004, 0.495))
    assert discriminator_won(terms, mode="lsgan", weight=0.5, share=0.1) == ("", 0.01, 0.99)
    assert discriminator_won(terms, mode="lsgan", weight=0.0, share=0.1) is None


@pytest.mark.parametrize("mode", ["wgangp", ""])
def test_critic_without_bounds_never_wins(mode):
    assert discriminator_won(terms_of((-40.0, -40.0, 60.0)), mode=mode, share=0.1) is None


def test_one_of_two_discriminators_that_won_is_named():
    terms = {
        "generators/gan_a2b": 0.4,
        "generators/gan_b2a": 0.98,
        "generators/cycle_a": 0.1,
        "discriminators/b_real": 0.12,
        "discriminators/b_fake": 0.11,
        "discriminators/a_real": 0.004,
        "discriminators/a_fake": 0.003,
    }
    assert discriminator_won(terms, mode="lsgan", share=0.1) == ("a", pytest.approx(0.007), 0.98)


def test_terms_without_a_partner_count_for_nothing():
    assert discriminator_won({"generator/gan": 1.0}, mode="lsgan", share=0.1) is None
    assert discriminator_won({"discriminator/real": 0.0}, mode="lsgan", share=0.1) is None


def test_stall_names_the_best_step_and_where_it_is():
    alarm = stall_alarm(metric="eval/fid", best=81.25, best_step=4000, count=10)
    assert alarm.saw == "no gain in eval/fid since step 4000 (81.25), in 10 measurements"
    assert alarm.remedy.startswith("best.pt holds that step")
