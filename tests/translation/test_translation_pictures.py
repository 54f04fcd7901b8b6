import pytest
import torch
from echo import SMALL, Echo, translate_tensor
from hypothesis import given, settings
from hypothesis import strategies as st

from i2icli.errors import ConfigError
from i2icli.methods import build_method, configure_run
from i2icli.translation.pictures import pad_to_suit, padded_side, translate_images


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70))
def test_a_method_sees_only_sizes_that_it_takes(height, width):
    method = Echo()
    images = torch.arange(height * width, dtype=torch.float32).view(1, 1, height, width)
    assert torch.equal(translate_tensor(method, images.expand(1, 3, -1, -1))[:, :1], images)
    (seen,) = method.seen
    for padded, side in zip(seen[2:], (height, width), strict=True):
        assert padded % method.size_multiple == 0
        assert side <= padded < max(side, method.min_size) + method.size_multiple


def test_a_picture_of_a_fitting_size_is_not_padded():
    images = torch.rand(1, 3, 20, 32)
    assert pad_to_suit(Echo(), images) is images


def test_padding_mirrors_at_the_right_and_bottom_border():
    images = torch.arange(18.0).view(1, 1, 1, 18).expand(1, 1, 18, 18)
    padded = pad_to_suit(Echo(), images)
    assert padded.shape[-2:] == (20, 20)
    assert padded[0, 0, 0, 15:].tolist() == [15, 16, 17, 16, 15]
    assert torch.equal(padded[..., 18, :], padded[..., 16, :])


def test_padding_repeats_the_last_pixel_of_a_side_shorter_than_the_padding():
    images = torch.arange(3.0).view(1, 1, 1, 3).expand(1, 1, 30, 3)
    padded = pad_to_suit(Echo(), images)
    assert padded.shape[-2:] == (32, 16)
    assert padded[0, 0, 0].tolist() == [0, 1] + [2] * 14


def test_padded_side_is_a_multiple_even_where_the_smallest_side_is_none():
    class Odd(Echo):
        min_size = 18
        size_multiple = 8

    assert [padded_side(Odd(), side) for side in (1, 24, 25)] == [24, 24, 32]


def test_dropout_is_off_and_every_part_gets_its_own_mode_back():
    method = Echo()
    method.train()
    method.parts[1].eval()
    images = torch.rand(1, 3, 16, 16)
    assert torch.equal(translate_tensor(method, images), images)
    assert [part.training for part in method.modules()] == [True, True, True, False]


def test_modes_come_back_when_a_method_fails():
    class Broken(Echo):
        def translate(self, images, *, direction="a2b", style=None):
            raise RuntimeError("broken")

    method = Broken()
    with pytest.raises(RuntimeError, match="broken"):
        translate_tensor(method, torch.rand(1, 3, 16, 16))
    assert all(part.training for part in method.modules())


def test_a_translation_is_an_ordinary_tensor_without_gradient():
    translated = translate_tensor(Echo(), torch.rand(1, 3, 17, 17))
    assert not translated.requires_grad
    assert not translated.is_inference()
    weight = torch.ones((), requires_grad=True)
    (translated * weight).sum().backward()
    assert weight.grad is not None


def test_a_direction_that_is_not_offered_is_refused_with_those_that_are():
    class OneWay(Echo):
        directions = ("a2b",)

    with pytest.raises(ConfigError, match=r"does not translate 'b2a': it offers a2b\."):
        translate_tensor(OneWay(), torch.rand(1, 3, 16, 16), "b2a")


def test_reduced_precision_is_used_inside_and_float32_comes_back():
    method = build_method(configure_run("cyclegan", SMALL))
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    exact = translate_tensor(method, images)
    reduced = translate_tensor(method, images, precision=torch.bfloat16)
    assert reduced.dtype == torch.float32
    assert not torch.equal(reduced, exact)
    assert (reduced - exact).abs().max() < 0.05


# Networks of this width are rounded differently in batches: the test would notice.
@pytest.mark.parametrize("preset", ["cyclegan", "cut"])
def test_a_batch_equals_its_pictures_one_by_one_bit_for_bit_on_a_cpu(preset):
    overrides = ["method.generator.width=8", "method.discriminator.width=4"]
    method = build_method(configure_run(preset, overrides))
    images = torch.rand(8, 3, 37, 50) * 2 - 1
    single = torch.cat([translate_tensor(method, image[None]) for image in images])
    assert torch.equal(translate_tensor(method, images), single)


def test_pictures_of_one_padded_size_go_together_whatever_their_own():
    method = Echo()
    images = [torch.rand(1, 3, 17, 20), torch.rand(2, 3, 19, 18)]
    together = translate_images(method, images)
    assert all(torch.equal(a.images, b) for a, b in zip(together, images, strict=True))
