"""`i2i data check`: each thing that may spoil training is found, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from i2icli.config.sections import DataConfig
from i2icli.data.folders import find_domains
from i2icli.datasets.check import check_domains
from i2icli.datasets.duplicates import MAX_BITS, find_groups
from i2icli.datasets.fingerprints import HASH_BYTES, Print, take_print
from i2icli.pictures.images import write_picture


def scene(seed, size=(64, 64)):
    """Return a picture with soft shapes, as photographs have, different for every seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def save(image, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


@pytest.fixture
def root(tmp_path):
    """A data set without faults."""
    for number, part in enumerate(("trainA", "trainB", "testA", "testB")):
        for index in range(3):
            save(scene(10 * number + index), tmp_path / "set" / part / f"{index}.png")
    return tmp_path / "set"


def check(root, crop=64):
    return check_domains(find_domains(DataConfig(root=str(root))), crop=crop)


def codes(report):
    return [finding.code for finding in report.findings]


def the(report, code):
    (finding,) = (finding for finding in report.findings if finding.code == code)
    return finding


def names(finding, root):
    return [[path.relative_to(root).as_posix() for path, _ in group] for group in finding.files]


def test_a_set_without_faults_is_ready(root):
    report = check(root)
    assert (report.verdict, report.sentence, report.findings) == ("ready", "Ready to train.", ())
    assert report.parts["trainA"].pictures == 3
    assert report.parts["trainA"].formats == {"PNG": 3}
    assert (report.parts["testB"].width, report.parts["testB"].quality) == (64, None)


def test_progress_counts_every_picture(root):
    seen = []
    check_domains(
        find_domains(DataConfig(root=str(root))),
        crop=64,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(number, 12) for number in range(1, 13)]


def test_unreadable_files_are_errors(root):
    whole = (root / "trainA/0.png").read_bytes()
    (root / "trainA/0.png").write_bytes(whole[: len(whole) // 2])
    (root / "testB/1.png").write_bytes(b"")
    report = check(root)
    assert report.verdict == "unusable"
    assert report.corrupt == (root / "trainA/0.png", root / "testB/1.png")
    assert "2 files cannot be read" in the(report, "unreadable").message
    assert report.parts["trainA"].unreadable == 1


def test_a_domain_without_readable_pictures_is_said(root):
    for path in (root / "trainB").iterdir():
        path.write_bytes(b"x")
    assert check(root).sentence == "Not usable: trainB has no readable picture."


@pytest.mark.parametrize(
    ("source", "target", "code", "level"),
    [
        ("trainA/0.png", "trainB/new.png", "duplicates-across-domains", "warning"),
        ("trainA/0.png", "testB/new.png", "duplicates-across-domains", "warning"),
        ("trainA/0.png", "testA/new.png", "duplicates-across-splits", "warning"),
        ("trainB/0.png", "testB/new.png", "duplicates-across-splits", "warning"),
        ("trainA/0.png", "trainA/new.png", "duplicates-within", "note"),
    ],
)
def test_equal_pixels_are_found_wherever_they_lie(source, target, code, level, root):
    with Image.open(root / source) as image:  # the same pixels in another file
        save(image, root / target, compress_level=1)
    report = check(root)
    assert codes(report) == [code]
    assert the(report, code).level == level
    assert names(the(report, code), root) == [sorted([source, target])]


def brighter(image):
    return ImageEnhance.Brightness(image).enhance(1.03)


def smaller(image):
    return image.resize((50, 50), Image.Resampling.LANCZOS)


@pytest.mark.parametrize("change", [None, brighter, smaller], ids=["jpeg", "brighter", "smaller"])
def test_nearly_equal_pictures_are_found_across_splits(change, root):
    with Image.open(root / "trainA/1.png") as image:
        copy = change(image) if callable(change) else image.copy()
    save(copy, root / "testA/copy.jpg", quality=60)
    report = check(root, crop=16)
    near = the(report, "near-duplicates-across-splits")
    assert names(near, root) == [["testA/copy.jpg", "trainA/1.png"]]
    assert near.level == "warning"


def test_flat_pictures_of_other_colours_are_not_nearly_equal(root):
    for number, grey in enumerate((20, 90, 160, 230)):
        save(Image.new("RGB", (64, 64), (grey, grey, 255 - grey)), root / f"trainA/f{number}.png")
    assert check(root).findings == ()


def test_groups_are_found_exactly_up_to_the_documented_distance():
    rng = np.random.default_rng(0)

    def found(name, look):
        return Print(Path(name), "trainA", pixels=name.encode(), look=look, thumbnail=bytes(144))

    for trial in range(30):
        bits = np.zeros(8 * HASH_BYTES, np.uint8)
        distance = MAX_BITS + trial % 2
        bits[rng.choice(bits.size, distance, replace=False)] = 1
        pair = [found("a", bytes(HASH_BYTES)), found("b", np.packbits(bits).tobytes())]
        assert len(find_groups(pair)) == (1 if distance == MAX_BITS else 0)


def test_chains_of_alike_pictures_make_one_group_with_all_copies(tmp_path):
    image = scene(1)
    paths = [save(image, tmp_path / "0.png"), save(image, tmp_path / "1.png")]
    paths += [save(image, tmp_path / f"{quality}.jpg", quality=quality) for quality in (50, 80)]
    groups = find_groups([take_print(path, "trainA") for path in paths])
    assert [(group.is_exact, len(group.prints)) for group in groups] == [(True, 2), (False, 4)]


def test_larger_pictures_in_one_domain_are_a_warning(root):
    for index in range(3):
        save(scene(70 + index, (128, 128)), root / f"trainB/{index}.png")
    report = check(root)
    assert codes(report) == ["size-difference"]
    assert "B are larger (typical side 64 in A, 128 in B pixels)" in report.findings[0].message
    assert report.sentence.startswith("Usable; 1 thing to look at")


def test_other_shapes_in_one_domain_are_a_warning(root):
    for index in range(3):
        save(scene(80 + index, (96, 64)), root / f"trainA/{index}.png")
    assert codes(check(root)) == ["shape-difference"]


def test_jpeg_in_one_domain_only_is_a_warning(root):
    for index in range(3):
        (root / f"trainB/{index}.png").unlink()
        save(scene(40 + index), root / f"trainB/{index}.jpg", quality=90)
    report = check(root)
    assert codes(report) == ["format-difference"]
    assert "0% of A and 100% of B are JPEG" in report.findings[0].message


@pytest.mark.parametrize("quality", [10, 30, 49, 50, 75, 90, 95, 100])
def test_jpeg_quality_is_read_from_the_tables(quality, tmp_path):
    save(scene(1), tmp_path / "a.jpg", quality=quality)
    assert take_print(tmp_path / "a.jpg", "trainA").quality == quality


def test_other_jpeg_quality_in_one_domain_is_a_warning(root):
    for part, quality in (("trainA", 95), ("trainB", 70)):
        for index in range(3):
            (root / part / f"{index}.png").unlink()
            save(scene(50 + index + quality), root / part / f"{index}.jpg", quality=quality)
    report = check(root)
    assert codes(report) == ["quality-difference"]
    assert "about 95 in A and 70 in B" in report.findings[0].message


def test_pictures_smaller_than_the_crop_are_named(root):
    save(scene(60, (64, 40)), root / "trainA/small.png")
    small = the(check(root), "small")
    assert small.files == (((root / "trainA/small.png", "64x40"),),)
    assert "1 picture (1 in trainA) smaller than the crop of 64" in small.message


def test_grey_among_colour_is_a_note_and_a_grey_domain_another(root):
    save(scene(61).convert("L").convert("RGB"), root / "trainB/grey.jpg", quality=90)
    assert names(the(check(root), "grey-b"), root) == [["trainB/grey.jpg"]]
    for path in [*(root / "trainA").iterdir(), *(root / "testA").iterdir()]:
        with Image.open(path) as image:
            grey = image.convert("L")
        save(grey, path)
    assert "--set data.channels_a=1" in the(check(root), "all-grey-a").message


def test_a_wrong_suffix_is_a_warning(root):
    (root / "trainA/0.png").rename(root / "trainA/0.jpg")
    wrong = the(check(root), "wrong-suffix")
    assert wrong.files == (((root / "trainA/0.jpg", "PNG"),),)


def test_depth_transparency_and_frames_are_notes(root):
    rng = np.random.default_rng(3)
    write_picture(root / "trainA/deep.png", rng.integers(0, 65536, (64, 64, 1), dtype=np.uint16))
    layered = scene(62)
    layered.putalpha(100)
    save(layered, root / "trainA/alpha.png")
    save(scene(63), root / "trainA/film.gif", save_all=True, append_images=[scene(64)])
    found = {finding.code: finding.level for finding in check(root).findings}
    assert {"deep", "alpha", "animated"} <= set(found)
    assert {found[code] for code in ("deep", "alpha", "animated")} == {"note"}


def test_an_opaque_alpha_channel_is_no_transparency(root):
    layered = scene(65)
    layered.putalpha(255)
    save(layered, root / "trainA/alpha.png")
    assert check(root).findings == ()
