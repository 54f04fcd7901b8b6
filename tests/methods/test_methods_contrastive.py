from collections import Counter

import pytest
import torch
from pydantic import ValidationError
from tiny import tiny_batch, tiny_config, tiny_method

from i2icli.errors import ConfigError
from i2icli.methods.cut import CUTConfig
from i2icli.methods.qs_attn import QSAttnConfig


class PassCounter:
    """Counts generator passes, a picture at a time, by what the pass computes."""

    def __init__(self, generator):
        self.pictures = Counter()
        first_conv = generator.model[1]
        last_conv = [m for m in generator.model if isinstance(m, torch.nn.Conv2d)][-1]
        for kind, module in (("encoded", first_conv), ("decoded", last_conv)):
            module.register_forward_hook(
                lambda _m, args, _out, kind=kind: self.pictures.update({kind: len(args[0])})
            )


def _run(method):
    return dict(method.losses(tiny_batch(count=1)))


@pytest.mark.parametrize(
    ("name", "changes", "encoded"),
    [
        ("qs-attn", {"selection": "global"}, 4),
        ("qs-attn", {"selection": "local"}, 4),
        ("qs-attn", {"selection": "local-global"}, 4),
        ("cut", {}, 4),
        ("cut", {"nce_identity": False}, 2),
    ],
)
def test_a_step_encodes_each_picture_once(name, changes, encoded):
    method = tiny_method(name, **changes)
    counter = PassCounter(method.generator)
    _run(method)
    assert counter.pictures == {"encoded": encoded, "decoded": encoded // 2}


def test_a_mirrored_step_encodes_the_unmirrored_source_once_more(monkeypatch):
    method = tiny_method("cut", nce_identity=False, flip_equivariance=True)
    monkeypatch.setattr(method.draws, "flip", lambda _name: True)
    counter = PassCounter(method.generator)
    _run(method)
    assert counter.pictures == {"encoded": 3, "decoded": 1}


def test_cut_gives_the_encoder_no_gradient_through_the_keys():
    method = tiny_method("cut")
    source = torch.rand(1, 3, 32, 32, requires_grad=True)
    query = torch.rand(1, 3, 32, 32, requires_grad=True)
    method.contrast("nce", ([query], [source], *method.draw_places({"nce": [source]}))).backward()
    assert source.grad is None
    assert query.grad.abs().sum() > 0


@pytest.mark.parametrize("selection", ["global", "local", "local-global"])
def test_qs_attn_gives_gradient_through_the_attention_of_the_source(selection):
    method = tiny_method("qs-attn", selection=selection, attend_from=0, window=3)
    source = torch.rand(1, 3, 8, 8, requires_grad=True)
    query = torch.rand(1, 3, 8, 8, requires_grad=True)
    method.contrast("nce", ([query], [source], *method.draw_places({"nce": [source]}))).backward()
    assert source.grad.abs().sum() > 0


def test_identity_halves_both_contrast_terms():
    both, one = tiny_method("cut"), tiny_method("cut", nce_identity=False)
    one.load_state_dict(both.state_dict())
    halved, whole = _run(both)["generator"], _run(one)["generator"]
    assert set(halved) == {"gan", "nce", "nce_identity"}
    torch.testing.assert_close(2 * halved["nce"], whole["nce"])


def test_a_term_of_weight_zero_is_not_computed():
    terms = _run(tiny_method("cut", lambda_gan=0.0))["generator"]
    assert set(terms) == {"nce", "nce_identity"}


@pytest.mark.parametrize(
    ("layers", "said"),
    [((0, 40), "names module 40, but a generator of 9 blocks"), ((4, 0), "ascending")],
)
def test_layers_that_do_not_exist_or_descend_are_refused(layers, said):
    with pytest.raises(ValidationError, match=said):
        CUTConfig(nce_layers=layers)


def test_unequal_channels_are_refused_for_cut_but_not_for_cyclegan():
    config = tiny_config("cut").model_dump(mode="json", exclude_none=True)
    config["data"]["channels_a"] = 1
    schema = type(tiny_config("cut"))
    with pytest.raises(ValidationError, match="channels_a == data.channels_b"):
        schema.model_validate(config)
    config["method"] = {"name": "cyclegan", "lambda_identity": 0.0}
    assert schema.model_validate(config).data.channels_a == 1


def test_released_local_layout_refuses_maps_with_fewer_places_than_patches():
    method = tiny_method("qs-attn", selection="local", layout="released", num_patches=65)
    with pytest.raises(ConfigError, match=r"has only 64: type --set method\.num_patches=64"):
        _run(method)


def test_even_windows_are_refused():
    with pytest.raises(ValidationError, match="must be odd"):
        QSAttnConfig(window=6)
