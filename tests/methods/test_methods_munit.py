"""MUNIT against its equations, written down once more with plain tensors in float64."""

import pytest
import torch
from plain_munit import PlainMUNIT, coders_terms, judges_terms
from pydantic import ValidationError
from tiny import TinyVGG, tiny_batch, tiny_config, tiny_method

from i2icli.config.method import StructureConfig, Task
from i2icli.config.schedule import Moment
from i2icli.data.batch import Batch
from i2icli.errors import ConfigError
from i2icli.methods import build_method, configure_run
from i2icli.methods.munit import MUNIT, MUNITConfig
from i2icli.methods.shared.draws import Draws
from i2icli.training.optimizers import build_steppers
from i2icli.training.step import train_step

ALL_TERMS = {"lambda_gan": 0.7, "lambda_cycle": 3.0, "lambda_perceptual": 0.4, "lambda_style": 2.0}


class ReplayedStyles(Draws):
    """Returns recorded styles, by name and step; anything else is refused."""

    def __init__(self, styles):
        super().__init__()
        self.styles, self.step = styles, 0
        self.asked = []

    def normal(self, name, shape):
        self.asked.append(name)
        found = self.styles[self.step][name]
        assert found.shape == tuple(shape)
        return found


NAMES = [f"{who}.style_{domain}" for who in ("discriminators", "generators") for domain in "ab"]


def recorded_styles(steps, *, batch, size):
    generator = torch.Generator().manual_seed(3)
    return [
        {name: torch.randn(batch, size, generator=generator).double() for name in NAMES}
        for _ in range(steps)
    ]


def wide_method(styles, **changes):
    method = tiny_method("munit", **changes).double()
    method.take_pretrained({"vgg16": TinyVGG().double()})
    method.draws = ReplayedStyles(styles)
    return method


def wide_batch(seed):
    batch = tiny_batch(count=2, size=32, seed=seed)
    return Batch(batch.real_a.double(), batch.real_b.double())


def test_three_steps_are_those_of_the_equations():
    styles = recorded_styles(3, batch=2, size=3)
    method = wide_method(styles, **ALL_TERMS)
    plain, vgg, config = PlainMUNIT(method), TinyVGG().double(), method.config
    device, precision = torch.device("cpu"), torch.float32
    steppers = build_steppers(method, device=device, precision=precision)
    for step in range(3):
        method.draws.step = step
        batch = wide_batch(step)
        seen = train_step(method, batch, steppers, device=device, precision=precision)

        real = {"a": batch.real_a, "b": batch.real_b}
        drawn = {n: {d: styles[step][f"{n}.style_{d}"] for d in "ab"} for n in seen}
        judging = judges_terms(real, drawn["discriminators"], plain.weights, config)
        plain.update("discriminator", judging)
        coding = coders_terms(real, drawn["generators"], plain.weights, config, vgg)
        plain.update("generator", coding)
        for player, expected in (("discriminators", judging), ("generators", coding)):
            assert set(seen[player]) == set(expected)
            for name, value in expected.items():
                torch.testing.assert_close(seen[player][name], value.detach(), rtol=1e-9, atol=0)
    assert method.draws.asked == NAMES * 3
    for network, held in plain.weights.items():
        for name, weight in held.items():
            after = method.state_dict()[f"{network}.{name}"]
            torch.testing.assert_close(after, weight.detach(), rtol=0, atol=1e-9)


def test_half_precision_moves_terms_by_its_rounding_alone():
    def terms(**context):
        method = tiny_method("munit", **ALL_TERMS)
        with torch.autocast("cpu", **context):
            turns = dict(method.losses(tiny_batch()))
        return {**turns["discriminators"], **turns["generators"]}

    exact = terms(enabled=False)
    for name, value in terms(dtype=torch.bfloat16).items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(exact[name].item(), rel=0.02), name


def test_terms_of_weight_0_are_left_out():
    none = {f"lambda_{name}": 0.0 for name in ("gan", "style", "content", "cycle", "perceptual")}
    terms = dict(tiny_method("munit", **none).losses(tiny_batch(count=1)))
    assert set(terms["generators"]) == {"image_a", "image_b"}


def test_only_the_perceptual_and_the_structure_term_need_pretrained_weights():
    structured = Task(structure=StructureConfig(kind="fixed"))
    perceptual = MUNITConfig(lambda_perceptual=1.0, generator={"width": 1})
    assert MUNIT(MUNITConfig(generator={"width": 1})).pretrained == ()
    assert MUNIT(perceptual).pretrained == ("vgg16",)
    assert MUNIT(perceptual, structured).pretrained == ("vgg16",)


def test_perceptual_term_reads_the_last_layer_of_the_shared_vgg16():
    """Departure: the released network leaves out the pooling before it."""
    asked = []

    class Recording(TinyVGG):
        def forward(self, images, layers):
            asked.append(list(layers))
            return super().forward(images, layers)

    method = tiny_method("munit", lambda_perceptual=1.0)
    method.take_pretrained({"vgg16": Recording()})
    dict(method.losses(tiny_batch(count=1)))
    assert asked == [["relu5_3"]] * 4


def structured_method(kind):
    structure = StructureConfig(kind=kind, num_patches=16)
    method = build_method(tiny_config("munit").model_copy(update={"structure": structure}))
    method.take_pretrained({"vgg16": TinyVGG()})
    return method


def test_structure_term_compares_both_translations_with_their_sources():
    method = structured_method("fixed")
    terms = dict(method.losses(tiny_batch()))["generators"]
    for name in ("structure_a2b", "structure_b2a"):
        assert terms[name] > 0
    others = dict(tiny_method("munit").losses(tiny_batch()))["generators"]
    assert set(terms) - set(others) == {"structure_a2b", "structure_b2a"}
    for name, value in others.items():  # the first places are drawn after all styles
        assert torch.equal(value, terms[name])


def test_learned_structure_is_trained_on_both_translations_before_the_auto_encoders():
    method = structured_method("learned")
    turns = [(player, set(terms)) for player, terms in method.losses(tiny_batch())]
    players = ["discriminators", "structure", "structure", "generators"]
    assert [player for player, _ in turns] == players
    assert [turns[1][1], turns[2][1]] == [{"contrast_a2b"}, {"contrast_b2a"}]


def test_translation_is_the_content_of_one_domain_with_a_style_of_the_other():
    method, batch = tiny_method("munit"), tiny_batch(count=2)
    styles = torch.randn(2, 3)
    for direction, source, to in (("a2b", "a", "b"), ("b2a", "b", "a")):
        images = getattr(batch, f"real_{source}")
        content, _ = getattr(method, f"generator_{source}").encode(images)
        expected = getattr(method, f"generator_{to}").decode(content, styles)
        made = method.translate(images, direction=direction, style=styles)
        torch.testing.assert_close(made.images, expected)
        _, encoded = getattr(method, f"generator_{to}").encode(images)
        torch.testing.assert_close(method.encode_style(images, direction=direction), encoded)
        assert encoded.shape == (2, method.style_size)


def test_styles_make_a_difference_and_the_plain_translation_has_a_fixed_one():
    method, images = tiny_method("munit"), tiny_batch(count=1).real_a
    plain = method.translate(images).images
    torch.rand(5)  # the global random state decides nothing
    assert torch.equal(method.translate(images).images, plain)
    default = method.default_style()
    assert default.shape == (3,)
    assert torch.equal(method.translate(images, style=default[None]).images, plain)
    assert (method.translate(images, style=-default[None]).images - plain).abs().max() > 1e-3
    assert torch.equal(tiny_method("munit").default_style(), default)


def test_domains_may_have_other_channels():
    config = MUNITConfig(generator={"width": 2}, discriminator={"width": 2})
    method = MUNIT(config, Task(channels_a=1, channels_b=3))
    grey, coloured = torch.zeros(1, 1, 32, 32), torch.zeros(1, 3, 32, 32)
    assert method.translate(grey).images.shape == coloured.shape
    assert method.translate(coloured, direction="b2a").images.shape == grey.shape


def test_perceptual_term_for_grey_pictures_is_refused():
    config = MUNITConfig(lambda_perceptual=1.0)
    with pytest.raises(ValueError, match=r"lambda_perceptual \(1.0\) needs data.channels_a = 3"):
        MUNIT(config, Task(channels_a=1))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["data.crop=60"], "data.crop is 60, but its discriminators need crops of at least 61"),
        (
            ["data.crop=28", "method.discriminator.layers=2", "method.lambda_perceptual=1"],
            "data.crop is 28, but method.lambda_perceptual needs crops of at least 32 pixels",
        ),
    ],
)
def test_crops_too_small_for_the_judges_are_refused(overrides, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build_method(configure_run("munit", ["method.generator.width=1", *overrides]))


def test_rate_halves_after_every_100000_steps():
    schedule = MUNITConfig().schedule
    rates = {s: schedule.rate(Moment(s, 1000)) for s in (1, 100_000, 100_001, 200_000, 200_001)}
    assert rates == {1: 1.0, 100_000: 1.0, 100_001: 0.5, 200_000: 0.5, 200_001: 0.25}
    assert schedule.total_steps(1000) == 1_000_000


def test_weights_start_as_released():
    torch.manual_seed(1)
    method = MUNIT(MUNITConfig())
    weights = dict(method.named_parameters())
    for name, spread in {
        "generator_b.dec.model.0.model.3.model.1.conv": (2 / (256 * 9)) ** 0.5,
        "generator_a.mlp.model.2.fc": (2 / 256) ** 0.5,
        "discriminator_a.cnns.1.3.conv": 0.02,
    }.items():
        assert weights[f"{name}.weight"].std().item() == pytest.approx(spread, rel=0.01), name
    assert all(not value.any() for name, value in weights.items() if name.endswith("bias"))


def test_styles_need_at_least_one_number():
    with pytest.raises(ValidationError, match="style_size"):
        MUNITConfig(style_size=0)
