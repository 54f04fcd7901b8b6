"""How often a step goes through each network, with all levers and without; no pass is for nothing.

A pass is told by the first layer of the network that has weights. Batches are of one picture of
each domain.
"""

import pytest
import torch
from lever_kit import KINDS, build_kind
from tiny import batch_for

from i2icli.config.sections import LeversConfig
from i2icli.networks.batches import send, ties_pictures

ALL_OFF = LeversConfig(**dict.fromkeys(LeversConfig.model_fields, False))
# By network: passes and pictures with all levers, then without.
Counts = tuple[tuple[int, int], tuple[int, int]]

CUT = {"generator": ((2, 4), (5, 6)), "discriminator": ((2, 3), (3, 3))}
CYCLE = {
    "generator_ab": ((2, 3), (3, 3)),
    "generator_ba": ((2, 3), (3, 3)),
    "discriminator_a": ((2, 3), (3, 3)),
    "discriminator_b": ((2, 3), (3, 3)),
}
TABLE = {
    "attention-guided": {
        "translator_ab.generator": ((4, 4), (4, 4)),
        "translator_ba.attention": ((4, 4), (4, 4)),
        "discriminator_a": ((2, 3), (3, 3)),
    },
    "attention-guided, switched": {
        # One more each: where real pictures have their foreground, for their judge.
        "translator_ab.attention": ((5, 5), (5, 5)),
        "translator_ab.generator": ((4, 4), (4, 4)),
        "discriminator_b": ((2, 3), (3, 3)),
    },
    "attention-to-scale": {"backbone": ((3, 3), (3, 3))},
    "cut": CUT,
    # As released: translated together, encoded one after the other.
    "cut, batch norm": {"generator": ((5, 6), (5, 6)), "discriminator": ((3, 3), (3, 3))},
    "cut, flipped": {"generator": ((3, 3), (3, 3)), "discriminator": ((2, 3), (3, 3))},
    # The head looks at sources, translations and strangers, the latter two also in other colours.
    "cut, structure": {**CUT, "vgg16": ((3, 7), (5, 7))},
    "cyclegan": CYCLE,
    "cyclegan, batch norm": {
        **CYCLE,
        "generator_ab": ((3, 3), (3, 3)),
        "generator_ba": ((3, 3), (3, 3)),
    },
    "danet": {"backbone": ((1, 1), (1, 1))},
    "munit": {
        "generator_a.enc_content": ((2, 2), (3, 3)),
        "generator_a.enc_style": ((2, 2), (2, 2)),
        "generator_b.dec": ((2, 3), (3, 3)),
        "discriminator_a": ((2, 3), (3, 3)),
    },
    "munit, all terms": {"generator_b.dec": ((3, 4), (4, 4)), "vgg16": ((4, 4), (4, 4))},
    "qs-attn": CUT,
    "qs-attn, local": CUT,
    "sesim": {
        "generator": ((1, 1), (1, 1)),
        "discriminator": ((2, 3), (3, 3)),
        "vgg16": ((2, 2), (2, 2)),
    },
    # Real crops go alone, for their slope.
    "sincut": {"generator.encoder": ((2, 4), (5, 6)), "discriminator": ((3, 3), (3, 3))},
    "sincut, no slope": {"discriminator": ((2, 3), (3, 3))},
    "single-image-sesim": {
        "generator.encoder": ((1, 1), (1, 1)),
        "discriminator": ((3, 4), (4, 4)),
        "vgg16": ((2, 2), (2, 2)),
    },
    "src-hdce": CUT,
}


def _count(kind, levers, names):
    method = build_kind(kind)
    method.use_levers(levers)
    seen = {name: [0, 0] for name in names}
    for name, counts in seen.items():

        def note(_module, args, counts=counts):
            counts[0] += 1
            counts[1] += len(args[0])

        _first_layer(method, name).register_forward_pre_hook(note)
    for _ in method.losses(batch_for(KINDS[kind][0], count=1)):
        pass
    return {name: tuple(counts) for name, counts in seen.items()}


def _first_layer(method, name):
    network = method.network(name) if name == "vgg16" else method.get_submodule(name)
    return next(module for module in network.modules() if _convolves(module))


def _convolves(module):
    weight = dict(module.named_parameters(recurse=False)).get("weight")
    return weight is not None and weight.dim() >= 4


@pytest.mark.parametrize("kind", list(TABLE))
def test_a_step_goes_through_each_network_as_often_as_it_must(kind):
    expected = TABLE[kind]
    assert _count(kind, LeversConfig(), expected) == {n: on for n, (on, _) in expected.items()}
    assert _count(kind, ALL_OFF, expected) == {n: off for n, (_, off) in expected.items()}


def test_every_method_is_in_the_table():
    assert {KINDS[kind][0] for kind in TABLE} == {name for name, *_ in KINDS.values()}


def test_batches_go_through_together_and_come_apart_however_deep_the_result():
    calls = []

    def run(images):
        calls.append(len(images))
        return 2 * images, [images, 3 * images]

    first, second = torch.ones(1, 3, 4, 4), torch.full((2, 3, 4, 4), 5.0)
    (doubled, _), (_, taps) = send(run, [(first,), (second,)], together=True)
    assert calls == [3]
    torch.testing.assert_close(doubled, 2 * first)
    torch.testing.assert_close(taps[1], 3 * second)


def test_a_result_without_taps_comes_apart_too():
    images = torch.ones(1, 3, 4, 4)
    assert [taps for _, taps in send(lambda x: (x, []), [(images,)] * 2, together=True)] == [[], []]


def test_pictures_of_different_sizes_go_alone():
    sizes = []
    batches = [(torch.ones(1, 3, side, side),) for side in (4, 8)]
    send(lambda images: sizes.append(images.shape[-1]), batches, together=True)
    assert sizes == [4, 8]


@pytest.mark.parametrize(("norm", "is_tied"), [("batch", True), ("instance", False)])
def test_batch_norm_ties_pictures(norm, is_tied):
    method = build_kind("cut, batch norm" if norm == "batch" else "cut")
    assert ties_pictures(method.generator) is is_tied
    assert ties_pictures(method.discriminator) is is_tied
