import numpy as np
import pytest
import torch
from echo import Echo, noise, save_fresh
from PIL import Image
from plain_data import assert_same_picture

from i2icli.errors import CheckpointError, ConfigError, DataError
from i2icli.pictures.images import Picture, read_picture, to_tensor, write_picture
from i2icli.runs.checkpoint import copy_checkpoint, load_checkpoint, save_checkpoint
from i2icli.runs.paths import StepFile, checkpoints_of
from i2icli.translation.pictures import pad_to_suit
from i2icli.translation.scale import Scale, TrainingSize
from i2icli.translation.sources import find_sources
from i2icli.translation.targets import plan_outputs
from i2icli.translation.translator import Translator, load_translator
from i2icli.viz.exhibit import ExhibitOptions, write_exhibits
from i2icli.viz.looking import look_at

LAYERS = ("method.nce_layers=[0,4,8,11,12]", "method.num_patches=6")
ARRAYS = (
    "entropy",
    "translation_entropy",
    "selected",
    "queries",
    "source_rows",
    "translation_rows",
)
QS = ("qs-attn-global", "method.projection_dim=8", "method.window=3", *LAYERS)


def small(preset="qs-attn-global", *more):
    return (preset, *QS[1:], *more)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "checkpoints" / "last.pt"
    save_fresh(path, *small())
    return path


@pytest.fixture(scope="module")
def translator(checkpoint):
    return load_translator(checkpoint, device="cpu")


def test_a_look_holds_the_picture_its_translation_and_the_attended_layers(translator):
    picture = Picture(noise(24, 32))
    look = look_at(translator, picture, name="a")
    assert np.array_equal(look.source, picture.pixels)
    assert_same_picture(look.translation, translator.translate(picture).pixels)
    assert [view.layer for view in look.views] == [11, 12]
    assert look.views[0].entropy.shape == (6, 8)
    assert look.covered == (24, 32)


def test_the_views_are_the_methods_own(translator):
    picture = Picture(noise(24, 32))
    look = look_at(translator, picture, name="a")
    with torch.no_grad():
        (views,) = translator.method.views(to_tensor(picture.pixels)[None])
    entropy = views[1].entropy.flatten()
    torch.testing.assert_close(look.views[1].entropy.flatten(), entropy)
    # By their entropies: of two places with nearly the same either may come first.
    torch.testing.assert_close(entropy[look.views[1].places], entropy[views[1].places])


def test_odd_sizes_are_padded_and_say_what_the_maps_cover(translator):
    look = look_at(translator, Picture(noise(21, 30)), name="a")
    assert look.covered == (24, 32)
    assert look.size == (21, 30)
    assert look.translation.shape == (21, 30, 3)


def test_views_are_those_at_the_training_scale_and_cover_the_picture(checkpoint):
    translator = load_translator(checkpoint, device="cpu")
    translator.scale = Scale(TrainingSize(24))
    picture = Picture(noise(42, 60))
    look = look_at(translator, picture, name="a")
    assert_same_picture(look.translation, translator.translate(picture).pixels)
    assert look.size == (42, 60)
    # 20 x 29 pixels are looked at, padded to 20 x 32.
    assert look.views[0].entropy.shape == (5, 8)
    assert look.covered == (42, 32 * 60 / 29)
    worked_on = translator.scale.worked_on(to_tensor(picture.pixels)[None])
    with torch.no_grad():
        (views,) = translator.method.views(pad_to_suit(translator.method, worked_on))
    torch.testing.assert_close(look.views[0].entropy, views[0].entropy)
    last = look.views[0].entropy.numel() - 1
    assert not look.holds(look.views[0], last)
    assert look.holds(look.views[0], last - 1)


def test_large_pictures_are_scaled_down(translator):
    look = look_at(translator, Picture(noise(40, 80)), name="a", max_side=32)
    assert look.size == (16, 32)


def test_pictures_of_16_bits_and_one_channel_are_shown_in_colour(tmp_path):
    save_fresh(tmp_path / "grey.pt", *small(), "data.channels_a=1", "data.channels_b=1")
    grey = load_translator(tmp_path / "grey.pt", device="cpu")
    look = look_at(grey, Picture(noise(16, 16, 1, bits=16)), name="a")
    assert look.source.shape == look.translation.shape == (16, 16, 3)
    assert look.source.dtype == look.translation.dtype == np.uint8


def test_layers_can_be_chosen_and_others_are_refused_by_name(translator):
    picture = Picture(noise(16, 16))
    assert [v.layer for v in look_at(translator, picture, name="a", layers=[12]).views] == [12]
    with pytest.raises(ConfigError, match="--layers names 8, but this checkpoint shows 11, 12"):
        look_at(translator, picture, name="a", layers=[8])


def test_a_method_without_attention_is_refused_with_those_that_have_some(checkpoint, tmp_path):
    save_fresh(tmp_path / "cycle.pt", "cyclegan")
    cycle = load_translator(tmp_path / "cycle.pt", device="cpu")
    with pytest.raises(
        ConfigError,
        match="method cyclegan, which has nothing to show: give one of .*cut, .*qs-attn.* or ",
    ):
        look_at(cycle, Picture(noise(16, 16)), name="a")


def test_too_few_layers_to_select_in_are_refused(tmp_path):
    save_fresh(tmp_path / "few.pt", "cut", "method.nce_layers=[0,4]")
    few = load_translator(tmp_path / "few.pt", device="cpu")
    with pytest.raises(ConfigError, match="no layer of this checkpoint selects by attention"):
        look_at(few, Picture(noise(16, 16)), name="a")


def test_looking_leaves_the_method_as_it_was(translator):
    translator.method.train()
    try:
        look_at(translator, Picture(noise(16, 16)), name="a")
        assert translator.method.training
    finally:
        translator.method.eval()


def with_step(checkpoint, path, step):
    state = load_checkpoint(checkpoint)
    random = torch.Generator().manual_seed(step)
    weights = {
        key: value + 0.02 * torch.randn(value.shape, generator=random)
        if value.is_floating_point() and value.ndim == 4
        else value
        for key, value in state.weights.items()
    }
    object.__setattr__(state, "step", step)
    object.__setattr__(state, "weights", weights)
    save_checkpoint(path, state)


@pytest.fixture(scope="module")
def run(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    for step in (2, 10):
        path = folder / "checkpoints" / f"step-{step:07d}.pt"
        path.parent.mkdir(exist_ok=True)
        with_step(checkpoint, path, step)
    copy_checkpoint(folder / "checkpoints" / "step-0000010.pt", folder / "checkpoints" / "last.pt")
    return folder


def test_the_checkpoints_of_a_run_are_in_order_and_each_step_once(run):
    found = checkpoints_of(run)
    assert [file.step for file in found] == [2, 10]
    assert [file.path.name for file in found] == ["step-0000002.pt", "step-0000010.pt"]
    assert checkpoints_of(run / "checkpoints" / "last.pt") == found


def test_one_checkpoint_is_no_training(checkpoint):
    with pytest.raises(ConfigError, match=r"checkpoint\.keep_every_steps=N"):
        checkpoints_of(checkpoint)


def test_a_folder_without_checkpoints_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is a folder but not a run"):
        checkpoints_of(tmp_path)


@pytest.fixture
def pictures(tmp_path):
    for number, name in enumerate(("a.png", "deep/b.png")):
        write_picture(tmp_path / "in" / name, noise(20, 24, seed=number))
    return tmp_path / "in"


def exhibit(files, folder, out, **options):
    jobs = plan_outputs(find_sources(str(folder)), out).jobs
    return write_exhibits(files, jobs, out, ExhibitOptions(device="cpu", **options))


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_one_checkpoint_gives_a_sheet_a_layer_and_the_arrays(checkpoint, pictures, tmp_path):
    report = exhibit([StepFile(0, checkpoint)], pictures, tmp_path / "out", queries=2)
    assert names(tmp_path / "out") == [
        "a-layer11.png", "a-layer12.png", "a.npz",
        "deep/b-layer11.png", "deep/b-layer12.png", "deep/b.npz",
    ]  # fmt: skip
    assert sorted(map(str, report.exhibits[0].files)) == [
        str(tmp_path / "out" / name) for name in ("a-layer11.png", "a-layer12.png", "a.npz")
    ]
    arrays = np.load(tmp_path / "out" / "a.npz")
    assert sorted(arrays) == sorted(
        ["source", "translation"]
        + [
            f"layer{layer}_{name}"
            for layer in (11, 12)
            for name in ARRAYS
        ]
    )  # fmt: skip
    assert arrays["layer12_source_rows"].shape == (2, 5, 6)
    np.testing.assert_allclose(arrays["layer12_source_rows"].sum((1, 2)), 1, rtol=1e-5)
    translator = load_translator(checkpoint, device="cpu")
    view = look_at(translator, read_picture(pictures / "a.png"), name="a").views[1]
    assert np.array_equal(arrays["layer12_entropy"], view.entropy.numpy())
    assert arrays["layer12_selected"].tolist() == view.places.tolist()
    assert arrays["layer12_queries"][0] == view.places[0]


@pytest.mark.parametrize(
    ("preset", "wanted"),
    [
        ("qs-attn-local", {"source_windows", "translation_windows"}),
        (
            "qs-attn-local-global",
            {"source_rows", "translation_rows", "source_windows", "translation_windows"},
        ),
    ],
)
def test_local_modes_give_windows(preset, wanted, pictures, tmp_path):
    save_fresh(tmp_path / "local.pt", *small(preset))
    (tmp_path / "one").mkdir()
    (pictures / "a.png").rename(tmp_path / "one" / "a.png")
    exhibit(
        [StepFile(0, tmp_path / "local.pt")],
        tmp_path / "one",
        tmp_path / "out",
        layers=(12,),
        queries=1,
    )
    arrays = np.load(tmp_path / "out" / "a.npz")
    assert {
        name.removeprefix("layer12_") for name in arrays if "_rows" in name or "_windows" in name
    } == wanted
    assert arrays["layer12_source_windows"].shape == (1, 3, 3)


def test_a_query_is_a_pixel_of_the_picture_on_disk(checkpoint, tmp_path):
    write_picture(tmp_path / "in" / "a.png", noise(40, 48))
    report = exhibit(
        [StepFile(0, checkpoint)], tmp_path / "in", tmp_path / "out", layers=(12,), max_side=24,
        points=((0, 0), (47, 39), (10, 17)),
    )  # fmt: skip
    # scaled to 24 x 20, so a place is 8 x 8 pixels of the file and the map is 6 wide
    (layer,) = report.exhibits[0].layers
    assert [query["place"] for query in layer["queries"]] == [0, 29, 13]
    ranks = [query["rank"] for query in layer["queries"]]
    assert all(1 <= rank <= 30 for rank in ranks)


def test_a_query_outside_the_picture_is_refused_with_its_size(checkpoint, pictures, tmp_path):
    with pytest.raises(
        ConfigError,
        match=r"--query 24,3 lies outside .*a\.png, which is 24 x 20 pixels: give X from 0 to 23",
    ):
        exhibit([StepFile(0, checkpoint)], pictures, tmp_path / "out", points=((24, 3),))


def test_a_broken_picture_stops_no_other(checkpoint, pictures, tmp_path):
    (pictures / "broken.png").write_bytes(b"\x89PNG")
    report = exhibit([StepFile(0, checkpoint)], pictures, tmp_path / "out", layers=(12,), queries=0)
    errors = {e.job.source.name: e.error for e in report.exhibits}
    assert "broken.png" in errors.pop("broken.png")
    assert set(errors.values()) == {None}
    assert "a-layer12.png" in names(tmp_path / "out")


def test_nothing_but_broken_pictures_is_an_error(checkpoint, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match="none of the pictures can be read"):
        exhibit([StepFile(0, checkpoint)], tmp_path / "in", tmp_path / "out")


def test_several_checkpoints_also_give_strips_films_and_a_page(run, pictures, tmp_path):
    seen = []
    jobs = plan_outputs(find_sources(str(pictures)), tmp_path / "out").jobs
    options = ExhibitOptions(device="cpu", layers=(12,), queries=1, with_page=True)
    report = write_exhibits(
        checkpoints_of(run), jobs, tmp_path / "out", options,
        on_done=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    written = names(tmp_path / "out")
    assert {"a-layer12-training.png", "a-layer12-training.gif", "attention.html"} <= set(written)
    with Image.open(tmp_path / "out" / "a-layer12-training.gif") as film:
        assert film.n_frames == 2
    assert report.page == tmp_path / "out" / "attention.html"
    assert report.page_facts["steps"] == [2, 10]
    assert report.page_facts["pictures"] == 2
    assert report.page_facts["bytes"] == report.page.stat().st_size
    text = report.page.read_text()
    assert text.index('"step":2,') < text.index('"step":10,')


def test_a_method_that_shows_nothing_by_itself_is_refused_before_it_translates(translator):
    echo = Translator(Echo(), translator.config, precision=torch.float32)
    with pytest.raises((ConfigError, StopIteration)):
        look_at(echo, Picture(noise(16, 16)), name="a")
    assert echo.method.seen == []
