import base64
import json
import re

import numpy as np
import pytest
import torch
from attention_kit import KINDS, make_look, make_view

from i2icli.viz.page import LIMIT, Part, affordable, build_page, build_part, fitting
from i2icli.viz.quantise import pack


def data_of(page):
    return json.loads(
        re.search(r'<script id="data" type="application/json">(.*?)</script>', page)[1]
    )


def array(text, kind):
    return np.frombuffer(base64.b64decode(text), kind)


@pytest.mark.parametrize(("selection", "layout"), KINDS)
def test_packed_features_give_the_exact_rows_within_the_error_they_state(selection, layout):
    view = make_view(selection, layout=layout)
    for side in ("source", "translation"):
        packed = pack(view, side)
        assert packed.error <= 0.01
        features = torch.tensor(packed.values * packed.scales, dtype=torch.float64)
        products = features @ features.T + torch.tensor(packed.bias)
        if view.has_map:
            exact = view.map_rows(side, torch.arange(48)).flatten(1)
            ours = products.softmax(dim=1)
            assert float((ours - exact).abs().max()) <= packed.error + 1e-5


def test_products_are_whole_with_bias_and_constant():
    view = make_view("local")
    packed = pack(view, "source")
    features = packed.values.astype(np.float64) * packed.scales
    whole = features @ features.T + packed.bias + packed.bias[:, None] + packed.constant
    flat = view.source.flatten(1).double().numpy()
    assert np.abs(whole - flat.T @ flat).max() < 2e-3 * np.abs(flat.T @ flat).max()


def test_axes_that_matter_little_are_left_out():
    view = make_view()
    flat = torch.randn(3, 48, generator=torch.Generator().manual_seed(0))
    low = torch.cat([flat, 1e-6 * flat, 0 * flat, 0 * flat]).view(12, 6, 8)
    object.__setattr__(view, "source", low)
    packed = pack(view, "source")
    assert packed.rank == 6  # half of the twelve suffices
    assert packed.error < 1e-3


def test_fewer_axes_state_a_larger_error():
    view = make_view()
    assert pack(view, "source", axes=2).rank == 2
    assert pack(view, "source", axes=2).error > pack(view, "source").error


def test_flat_features_are_packed_without_division_by_zero():
    view = make_view()
    object.__setattr__(view, "source", torch.ones(5, 6, 8))
    packed = pack(view, "source")
    assert np.isfinite(packed.scales).all()
    assert packed.error < 1e-6


@pytest.fixture(scope="module")
def page():
    look = make_look(make_view(), make_view(layer=16))
    parts = [build_part(look, step=step) for step in (100, 200)]
    return build_page(parts, title="<b>run</b> & co", method="qs-attn", notes=["Left out."])


def test_the_page_needs_nothing_from_elsewhere(page):
    assert not re.search(r"""(?:src|href|url\()\s*=?\s*["']?(?:https?:)?//""", page)
    assert "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.isascii()


def test_the_title_is_text_not_markup(page):
    assert "<h1>&lt;b&gt;run&lt;/b&gt; &amp; co</h1>" in page
    assert data_of(page)["about"]["title"] == "<b>run</b> & co"


def test_the_page_holds_features_entropies_and_places_but_no_rows(page):
    document = data_of(page)
    (item,) = document["pictures"]
    assert (
        document["about"]["steps"] == [moment["step"] for moment in item["moments"]] == [100, 200]
    )
    assert [layer["layer"] for layer in item["moments"][1]["layers"]] == [12, 16]
    layer, view = item["moments"][0]["layers"][0], make_view()
    entropy = array(layer["entropy"]["source"], "<f4")
    assert np.array_equal(entropy, view.entropy.flatten().numpy())
    assert array(layer["places"], "<i4").tolist() == view.places.tolist()
    values = array(layer["features"]["source"]["values"], "<i2")
    assert values.size == 48 * layer["features"]["source"]["rank"]
    assert item["picture"]["covered"] == [24, 32]


def test_colours_of_the_page_are_those_of_the_sheets(page):
    heat = array(data_of(page)["about"]["colours"]["heat"], "u1").reshape(256, 3)
    assert heat[0].sum() < 10  # inferno: from black
    assert heat[255].min() > 150


def part(size, name="a", step=1):
    return Part(step, name, "", "x" * size, 0.0)


def test_all_checkpoints_of_one_picture_come_before_a_second_picture():
    assert affordable(part(1_000_000), pictures=4, steps=3) == (4, 3)
    assert affordable(part(5_000_000), pictures=4, steps=1) == (3, 1)
    assert affordable(part(5_000_000), pictures=4, steps=3) == (1, 3)
    assert affordable(part(5_000_000), pictures=4, steps=9) == (1, 3)
    assert affordable(part(50_000_000), pictures=4, steps=9) == (1, 1)


def test_pictures_that_do_not_fit_are_left_out_whole():
    parts = [part(6_000_000, name, step) for name in "ab" for step in (1, 2)]
    assert fitting(parts) == parts[:2]
    assert sum(p.size for p in fitting(parts)) < LIMIT


def test_a_part_larger_than_the_room_keeps_fewer_axes():
    look = make_look(make_view())
    whole = build_part(look, step=1)
    generator = torch.Generator().manual_seed(1)
    for side in ("source", "translation"):
        features = torch.randn(40, 6, 8, generator=generator)
        object.__setattr__(look.views[0], side, features)
    large = build_part(look, step=1)
    tight = build_part(look, step=1, room=int(0.3 * large.size))
    assert whole.size < large.size
    assert tight.size < large.size
    assert tight.error >= large.error
