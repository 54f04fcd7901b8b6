from pathlib import Path

import numpy as np
import pytest
import torch
from echo import Echo, count_in, noise, translate_tensor
from many_sided import Segmenter
from PIL import Image
from plain_data import assert_same_picture

from i2icli.errors import ConfigError, DataError
from i2icli.pictures import encode
from i2icli.pictures.encode import write_labels
from i2icli.pictures.images import read_picture
from i2icli.translation import pipeline
from i2icli.translation.folder import FolderOptions, translate_jobs
from i2icli.translation.pictures import translate_images, translate_pictures
from i2icli.translation.sources import Source, find_sources
from i2icli.translation.styles import random_styles, style_names, styles_of_pictures
from i2icli.translation.targets import plan_outputs
from i2icli.viz.grid import write_sheets


@pytest.fixture
def styled(load):
    return load("tiny-styled").method


@pytest.fixture
def pictures(tmp_path):
    """Return a folder of three pictures of two sizes."""
    for number, size in enumerate([(17, 20), (17, 20), (9, 12)]):
        path = tmp_path / "in" / f"{'abc'[number]}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(noise(*size, seed=number)).save(path)
    return tmp_path / "in"


def test_all_that_a_method_makes_is_cut_to_its_picture(load):
    images = [torch.rand(1, 3, 17, 20) * 2 - 1, torch.rand(2, 3, 19, 18) * 2 - 1]
    masked = translate_images(load("tiny-masked").method, images)
    assert [one.images.shape for one in masked] == [image.shape for image in images]
    assert [one.masks["dark"].shape for one in masked] == [(1, 1, 17, 20), (2, 1, 19, 18)]
    for one, image in zip(masked, images, strict=True):
        torch.testing.assert_close(one.masks["bright"], (image.mean(1, keepdim=True) + 1) / 2)
        assert one.labels is None
        for tensor in (one.images, *one.masks.values()):
            assert not tensor.is_inference()
            assert tensor.untyped_storage().nbytes() == tensor.numel() * 4  # a copy of its own


def test_label_maps_are_cut_to_their_pictures_too(load):
    method = load("tiny-segmenter", labels={"classes": 4}).method
    images = [torch.linspace(-1, 0.99, 17 * 3).view(1, 1, 17, 3).expand(1, 3, 17, 3)]
    (made,) = translate_images(method, images)
    assert made.labels.dtype == torch.int64
    assert torch.equal(made.labels[0], ((images[0][0, 0] + 1) * 2).long())


def test_images_alone_are_those_of_the_full_translation(styled):
    images = [torch.rand(2, 3, 5, 7), torch.rand(1, 3, 6, 8)]
    full = translate_images(styled, images)
    for one, image in zip(full, images, strict=True):
        assert torch.equal(one.images, translate_tensor(styled, image))


def test_a_style_is_for_all_pictures_or_one_each_and_the_default_else(styled):
    images = [torch.zeros(2, 3, 16, 16), torch.zeros(1, 3, 15, 15)]
    codes = torch.arange(9.0).view(3, 3)
    each = translate_images(styled, images, style=codes)
    found = torch.cat([one.images[:, :, 3, 4] for one in each])
    assert torch.allclose(found, codes / 10)
    same = translate_images(styled, images, style=codes[1])
    assert all(torch.allclose(one.images[:, :, 0, 0], codes[1] / 10) for one in same)
    assert all(not one.images.any() for one in translate_images(styled, images))


@pytest.mark.parametrize("shape", [(2,), (2, 3), (3, 2), (1, 3, 1)])
def test_a_style_of_another_shape_is_refused(styled, shape):
    with pytest.raises(ValueError, match=r"give \(3,\), or \(3, 3\) for 3 pictures"):
        translate_images(styled, [torch.zeros(3, 3, 16, 16)], style=torch.zeros(shape))


def test_a_style_for_a_method_without_styles_is_refused():
    with pytest.raises(ConfigError, match="has no styles, it makes one translation of a picture"):
        translate_images(Echo(), [torch.zeros(1, 3, 16, 16)], style=torch.zeros(3))
    with pytest.raises(ConfigError, match="has no styles"):
        random_styles(Echo(), 2)


def test_random_styles_depend_on_the_seed_alone_and_begin_alike(styled):
    state = torch.random.get_rng_state()
    few, many = random_styles(styled, 3, seed=5), random_styles(styled, 30, seed=5)
    assert torch.equal(few, many[:3])
    assert not torch.equal(few, random_styles(styled, 3, seed=6))
    assert abs(float(random_styles(styled, 400).std()) - 1) < 0.1
    assert torch.equal(torch.random.get_rng_state(), state)


def test_numbered_names_sort():
    assert style_names(2) == ("style1", "style2")
    assert style_names(1) == ("style1",)
    assert list(style_names(12)) == sorted(style_names(12))


def test_styles_of_pictures_are_called_by_their_stems(styled, pictures):
    styled.train()
    Image.fromarray(noise(16, 24)).save(pictures / "b.png")
    names, codes = styles_of_pictures(styled, [str(pictures), str(pictures / "b.png")], "a2b")
    assert names == ("a", "b", "c", "b")
    assert styled.training
    assert not codes.requires_grad
    assert torch.equal(codes[1], codes[3])
    mean = read_picture(pictures / "b.png").pixels.mean((0, 1)) / 127.5 - 1
    assert np.allclose(codes[1].numpy() / 10, mean, atol=1e-6)


def plan(names, **options):
    sources = [Source(Path("in") / name, Path(name)) for name in names]
    jobs = plan_outputs(sources, Path("out"), **options).jobs
    return [[path.relative_to("out").as_posix() for path in job.files] for job in jobs]


def test_outputs_are_named_by_style_and_mask():
    both = {"styles": ("s1", "s2"), "masks": ("m",), "suffix": "_z", "format": "jpg"}
    assert plan(["d/a.png"], **both) == [
        ["d/a_z_s1.jpg", "d/a_z_s2.jpg", "d/a_z_s1_m.png", "d/a_z_s2_m.png"]
    ]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["a.png", "a_m.png"], [["a.png", "a_m.png"], ["a_m.png.png", "a_m.png_m.png"]]),
        (["a.png", "A_M.tif"], [["a.png", "a_m.png"], ["A_M.tif.png", "A_M.tif_m.png"]]),
        (["a.tif", "a.png"], [["a.tif.png", "a.tif_m.png"], ["a.png", "a_m.png"]]),
        (
            ["a.png", "a_m.tif", "a_m.tif.png"],
            [
                ["a.png", "a_m.png"],
                ["a_m.tif-2.png", "a_m.tif-2_m.png"],
                ["a_m.tif.png", "a_m.tif_m.png"],
            ],
        ),
    ],
)
def test_no_output_takes_the_name_of_another_mask(names, wanted):
    assert plan(names, masks=("m",)) == wanted


def test_styles_of_one_name_are_refused():
    with pytest.raises(ConfigError, match=r"two outputs of a\.png would be called a_red\.png: re"):
        plan(["a.png"], styles=("red", "blue", "red"))
    with pytest.raises(ConfigError, match=r"a_red_m\.png"):
        plan(["a.png"], styles=("red", "red_m"), masks=("m",))


def test_a_file_gives_its_stem_to_styles_and_masks():
    source = Source(Path("in/a.jpg"), Path("a.jpg"))
    (job,) = plan_outputs(
        [source], Path("out/b.webp"), is_file=True, styles=("s1",), masks=("m",)
    ).jobs
    assert job.files == (Path("out/b_s1.webp"), Path("out/b_s1_m.png"))


def test_a_mask_never_replaces_an_input(pictures):
    (pictures / "a.png").rename(pictures / "b_m.png")
    (pictures / "b.png").rename(pictures / "b.jpg")
    source = Source(pictures / "b.jpg", Path("b.jpg"))
    other = Source(pictures / "b_m.png", Path("x/b_m.png"))
    with pytest.raises(ConfigError, match=r"b_m\.png would replace the input"):
        plan_outputs([source, other], pictures, masks=("m",))


def jobs_of(pictures, out, **names):
    return plan_outputs(find_sources(str(pictures)), out, **names).jobs


@pytest.mark.parametrize("batch_size", [None, 8])
def test_every_style_of_every_picture_is_written(load, pictures, tmp_path, batch_size):
    translator = load("tiny-styled")
    codes, heard = translator.styles(3), []
    jobs = jobs_of(pictures, tmp_path / "out", styles=style_names(3))
    report = translate_jobs(
        translator,
        jobs,
        FolderOptions(batch_size=batch_size, styles_of=lambda _job: codes),
        on_done=lambda job, error: heard.append((job.name, error)),
    )
    assert (report.found, report.written, report.failures) == (3, jobs, ())
    assert sorted(heard) == [("a.png", None), ("b.png", None), ("c.png", None)]
    for job in jobs:
        for target, code in zip(job.targets, codes, strict=True):
            wanted = translator.translate(read_picture(job.source), style=code)
            assert_same_picture(read_picture(target).pixels, wanted.pixels)
    assert len(list((tmp_path / "out").iterdir())) == 9


def test_each_picture_may_have_styles_of_its_own(load, pictures, tmp_path):
    translator = load("tiny-styled")
    codes = {name: random_styles(translator.method, 2, seed=ord(name[0])) for name in
             ("a.png", "b.png", "c.png")}  # fmt: skip
    jobs = jobs_of(pictures, tmp_path / "out", styles=style_names(2))
    options = FolderOptions(batch_size=8, styles_of=lambda job: codes[job.name])
    translate_jobs(translator, jobs, options)
    for job in jobs:
        wanted = translator.translate(read_picture(job.source), style=codes[job.name][1])
        assert_same_picture(read_picture(job.targets[1]).pixels, wanted.pixels)


def test_masks_are_grey_pictures_of_8_bits_beside_their_picture(load, pictures, tmp_path):
    translator = load("tiny-masked")
    jobs = jobs_of(pictures, tmp_path / "out", masks=translator.mask_names)
    assert translate_jobs(translator, jobs).written == jobs
    for job in jobs:
        made = translator.translate_full(job.source)
        for name, path in zip(("bright", "dark"), job.masks[0], strict=True):
            with Image.open(path) as image:
                assert (image.mode, image.size) == ("L", read_picture(job.source).size)
                wanted = np.rint(made.masks[name] * 255).astype(np.uint8)
                assert_same_picture(np.asarray(image), wanted)
        assert_same_picture(read_picture(job.target).pixels, made.pixels)


def test_label_maps_are_palette_pictures_without_alpha(load, tmp_path):
    (tmp_path / "in").mkdir()
    Image.fromarray(noise(9, 12, 4)).save(tmp_path / "in" / "a.png")
    translator = load("tiny-segmenter", labels={"classes": 5})
    (job,) = jobs_of(tmp_path / "in", tmp_path / "out")
    translate_jobs(translator, [job])
    made = translator.translate_full(job.source)
    with Image.open(job.target) as image:
        assert image.mode == "P"
        assert "transparency" not in image.info
        assert np.array_equal(np.asarray(image), made.labels)
        colours = np.asarray(image.convert("RGB"))
    assert np.array_equal(colours, made.pixels)


def test_ids_keep_their_number_and_those_without_colour_are_black(tmp_path):
    labels = np.array([[0, 1, 2, 255]])
    write_labels(tmp_path / "x.png", labels, [(1, 2, 3), (4, 5, 6), (7, 8, 9)])
    with Image.open(tmp_path / "x.png") as image:
        assert np.asarray(image).tolist() == [[0, 1, 2, 255]]
        wanted = [[1, 2, 3], [4, 5, 6], [7, 8, 9], [0, 0, 0]]
        assert np.asarray(image.convert("RGB")).tolist() == [wanted]


@pytest.mark.parametrize(
    ("name", "label", "message"),
    [
        ("x.jpg", 0, "label maps are written as PNG"),
        ("x.png", 256, "its ids run from 0 to 256"),
        ("x.png", -1, "its ids run from -1 to 0"),
    ],
)
def test_label_maps_that_a_palette_does_not_hold_are_refused(tmp_path, name, label, message):
    with pytest.raises(DataError, match=message):
        write_labels(tmp_path / name, np.array([[0, label]]), [])
    assert not list(tmp_path.iterdir())


def test_a_partly_written_set_is_not_there_yet(load, pictures, tmp_path):
    translator = load("tiny-styled")
    jobs = jobs_of(pictures, tmp_path / "out", styles=style_names(2))
    options = FolderOptions(skip_existing=True, styles_of=lambda _job: translator.styles(2))
    translate_jobs(translator, jobs, options)
    jobs[1].targets[1].unlink()
    report = translate_jobs(translator, jobs, options)
    assert (report.found, report.written, report.skipped) == (3, (jobs[1],), 2)
    masks = jobs_of(pictures, tmp_path / "masks", masks=("bright", "dark"))
    translate_jobs(load_masked := load("tiny-masked"), masks)
    masks[0].masks[0][1].unlink()
    report = translate_jobs(load_masked, masks, FolderOptions(skip_existing=True))
    assert (report.written, report.skipped) == ((masks[0],), 2)


def test_a_picture_one_of_whose_styles_fails_fails_once(load, pictures, tmp_path):
    translator = load("tiny-styled")
    jobs = jobs_of(pictures, tmp_path / "out", styles=style_names(3))
    for place in (0, 2):
        jobs[1].targets[place].mkdir(parents=True)
    heard = []
    report = translate_jobs(
        translator,
        jobs,
        FolderOptions(styles_of=lambda _job: translator.styles(3)),
        on_done=lambda job, error: heard.append((job.name, error is None)),
    )
    assert report.found == len(report.written) + report.skipped + len(report.failures) == 3
    assert [failure.path.name for failure in report.failures] == ["b.png"]
    assert sorted(heard) == [("a.png", True), ("b.png", False), ("c.png", True)]


def test_outputs_waiting_to_be_written_are_bounded_however_many_styles_there_are(
    load, pictures, tmp_path, monkeypatch
):
    monkeypatch.setattr(pipeline, "_AHEAD_PIXELS", 700)
    translator, real = load("tiny-styled"), encode.write_whole
    written, made, waiting = [], [], []
    translate = translator.method.translate

    def count(*args, **options):
        made.append(1)
        waiting.append(len(made) - len(written))
        return translate(*args, **options)

    def note(path, content, **options):
        real(path, content, **options)
        written.append(path)

    monkeypatch.setattr(translator.method, "translate", count)
    monkeypatch.setattr(encode, "write_whole", note)
    jobs = jobs_of(pictures, tmp_path / "out", styles=style_names(40))
    translate_jobs(translator, jobs, FolderOptions(styles_of=lambda _job: translator.styles(40)))
    assert len(written) == 120
    assert max(waiting) <= 8


def test_a_sheet_has_a_column_a_style_and_a_mask(load, pictures, tmp_path):
    translator = load("tiny-masked")
    plan = plan_outputs(
        find_sources(str(pictures)),
        tmp_path / "out",
        styles=("x", "y"),
        masks=translator.mask_names,
        with_grids=True,
    )
    translate_jobs(translator, plan.jobs)
    (path,) = write_sheets(
        plan.grids, plan.jobs, direction="a2b", styles=plan.styles, masks=plan.masks
    )
    sheet = np.asarray(Image.open(path))
    for job in plan.jobs:
        for made in job.files:
            assert count_in(sheet, read_picture(made, channels=3).pixels) >= 1


def test_full_translations_of_several_sizes_keep_their_order(load, pictures):
    method = load("tiny-masked").method
    sources = [read_picture(path) for path in sorted(pictures.iterdir())]
    made = translate_pictures(method, sources, batch_size=2)
    assert [one.pixels.shape[:2] for one in made] == [(17, 20), (17, 20), (9, 12)]
    assert [one.masks["dark"].shape for one in made] == [(17, 20), (17, 20), (9, 12)]


def test_the_translator_says_what_a_checkpoint_makes(load):
    names = ("tiny-styled", "tiny-masked", "tiny-segmenter")
    made = [load(name, labels={"classes": 2}) for name in names]
    assert [one.style_size for one in made] == [3, 0, 0]
    assert [one.mask_names for one in made] == [(), ("bright", "dark"), ()]
    assert [one.segments for one in made] == [False, False, True]
    assert isinstance(made[2].method, Segmenter)


def test_python_code_chooses_a_style_by_number_or_by_picture(load):
    translator = load("tiny-styled")
    pixels, other = noise(16, 16), np.full((16, 16, 3), 200, np.uint8)
    code = translator.encode_style(other)
    assert code.shape == (3,)
    for given in (pixels, Image.fromarray(pixels)):
        plain, changed = translator.translate(given), translator.translate(given, style=code)
        assert type(plain) is type(changed)
        assert np.asarray(changed).astype(int).mean() > np.asarray(plain).mean() + 20
    tensor = torch.zeros(3, 16, 16)
    assert torch.allclose(translator.translate(tensor, style=code)[:, 0, 0], code / 10)
    full = translator.translate_full(pixels, style=code)
    assert np.array_equal(full.pixels, translator.translate(pixels, style=code))
    assert (full.labels, full.masks) == (None, {})
    with pytest.raises(ConfigError, match="has no styles"):
        load("tiny-masked").translate(pixels, style=code)
