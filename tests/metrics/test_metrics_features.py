"""Features of pictures: reading, batching, keeping, sharing; the real network in slow tests."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_folders import write_pictures
from PIL import Image
from rank_processes import run_ranks
from real_weights import real_home, real_pictures
from stand_in import look, use_stand_in

from i2icli.errors import DataError, WeightsError
from i2icli.metrics import features as module
from i2icli.metrics.distances import fid, kid, kid_of_subsets
from i2icli.metrics.features import extract_features, read_stored
from i2icli.metrics.inception import RESIZERS, build_resizer, prepare
from i2icli.metrics.picture_sets import describe_set, find_set
from i2icli.metrics.realism import Reading, measure_distances
from i2icli.pretrained.weights import FoundWeights
from i2icli.system.shares import Process

CPU = torch.device("cpu")
MODES = list(RESIZERS)


class Counter:
    """Stands for Inception: features that tell pictures apart; counts what it is given."""

    def __init__(self):
        self.batches = []

    def __call__(self, images):
        self.batches.append(tuple(images.shape))
        return look(images, 16)


@pytest.fixture
def network(monkeypatch, tmp_path):
    counter = Counter()
    monkeypatch.setenv("I2I_HOME", str(tmp_path / "home"))
    use_stand_in(monkeypatch, lambda *_: counter)
    return counter


@pytest.fixture
def folder(tmp_path):
    write_pictures(tmp_path / "pictures", seed=3, count=7, side=20)
    return tmp_path / "pictures"


def extract(paths, **options):
    return extract_features(paths, mode="clean", device=CPU, **options)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "grey", "palette", "alpha", "CMYK", "profile"])
def test_pictures_are_read_as_clean_fid_reads_them(tmp_path, kind):
    pixels = np.random.default_rng(0).integers(0, 256, (13, 17, 4), dtype=np.uint8)
    path = tmp_path / "picture.png"
    if kind in ("JPEG", "CMYK", "profile"):
        path = path.with_suffix(".jpg")
    options = {}
    if kind == "profile":
        from PIL import ImageCms

        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ"))
        options["icc_profile"] = lab.tobytes()
    image = Image.fromarray(pixels if kind in ("alpha", "CMYK") else pixels[..., :3])
    modes = {"grey": "L", "palette": "P", "CMYK": "CMYK"}
    if kind == "CMYK":
        image = Image.fromarray(pixels[..., :3]).convert("CMYK")
    elif kind in modes:
        image = image.convert(modes[kind])
    image.save(path, **options)
    with Image.open(path) as opened:
        expected = np.array(opened.convert("RGB"))
    assert np.array_equal(read_stored(path), expected)


def test_deep_grey_is_scaled_not_clipped(tmp_path):
    grey = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    pixels = read_stored(tmp_path / "deep.png")
    assert pixels.dtype == np.uint8
    assert len(np.unique(pixels)) > 50


@pytest.mark.parametrize("mode", MODES)
def test_prepared_pictures_equal_those_of_clean_fid(folder, mode):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from cleanfid.utils import ResizeDataset

        paths = find_set(folder)
        expected = [ResizeDataset([str(path)], mode)[0] for path in paths]
        found = [prepare(read_stored(path), build_resizer(mode)) for path in paths]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype == torch.float32
        assert torch.equal(ours, theirs)


def test_features_do_not_depend_on_batches_or_threads(network, folder):
    paths = find_set(folder)
    one = extract(paths, batch_size=1, workers=1, cache=False)
    many = extract(paths, batch_size=3, workers=4, cache=False)
    np.testing.assert_allclose(one, many, rtol=1e-5)  # other shapes, perhaps other kernels
    assert [shape[0] for shape in network.batches] == [1] * 7 + [3, 3, 1]
    assert len(np.unique(one, axis=0)) == 7


def test_pictures_of_many_sizes_keep_their_order(network, tmp_path):
    for number in range(9):
        Image.new("RGB", (10 + number % 3, 12), (number * 20, 0, 0)).save(
            tmp_path / f"{number}.png"
        )
    paths = find_set(tmp_path)
    rows = extract_features(paths, mode="legacy_tensorflow", device=CPU, batch_size=2, cache=False)
    assert np.allclose(rows[:, 0], [number * 20 for number in range(9)], atol=1e-3)
    assert {shape[0] for shape in network.batches} <= {1, 2}


def test_progress_counts_every_picture(network, folder):
    seen = []
    extract(find_set(folder), batch_size=3, progress=lambda *report: seen.append(report))
    assert seen == [(3, 7), (6, 7), (7, 7)]


def test_kept_features_are_used_again_under_other_names(network, folder, tmp_path):
    first = extract(find_set(folder))
    count = len(network.batches)
    folder.rename(tmp_path / "moved")
    assert np.array_equal(extract(find_set(tmp_path / "moved")), first)
    assert len(network.batches) == count


def test_kept_features_are_never_those_of_changed_pictures(network, folder):
    before = extract(find_set(folder))
    path = find_set(folder)[2]
    status = path.stat()
    Image.new("RGB", (20, 20), "white").save(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = extract(find_set(folder))
    assert not np.array_equal(before[2], after[2])
    assert np.array_equal(np.delete(before, 2, 0), np.delete(after, 2, 0))


def test_mode_and_weights_have_features_of_their_own(network, folder, monkeypatch):
    paths = find_set(folder)
    extract(paths)
    count = len(network.batches)
    extract_features(paths, mode="legacy_pytorch", device=CPU)
    assert len(network.batches) > count
    count = len(network.batches)
    other = FoundWeights("inception", Path("none.pt"), "1" * 64)
    monkeypatch.setattr(module, "find_inception", lambda _mode: other)
    extract(paths)
    assert len(network.batches) > count


@pytest.mark.parametrize("damage", ["cut off", "one bit", "empty"])
def test_damaged_kept_features_are_computed_anew(network, folder, tmp_path, damage):
    first = extract(find_set(folder))
    (kept,) = (tmp_path / "home" / "features").glob("*.npz")
    content = bytearray(kept.read_bytes())
    if damage == "one bit":
        content[len(content) // 2] ^= 1
    kept.write_bytes({"cut off": content[:999], "one bit": content, "empty": b""}[damage])
    assert np.array_equal(extract(find_set(folder)), first)


def test_every_broken_picture_is_named_and_none_left_out(network, folder):
    (folder / "broken.png").write_bytes((folder / "00.png").read_bytes()[:60])
    (folder / "text.jpg").write_text("no picture")
    for cache in (True, False):
        with pytest.raises(DataError) as error:
            extract(find_set(folder), cache=cache)
        text = str(error.value)
        assert text.startswith("1 of 9" if cache else "2 of 9")
        assert "text.jpg" in text
        assert "no number leaves pictures out" in text
    assert "broken.png" in text


@pytest.mark.parametrize(("count", "message"), [(0, "no pictures in"), (1, "holds one picture")])
def test_too_few_pictures_are_refused(network, folder, tmp_path, count, message):
    write_pictures(tmp_path / "few", seed=0, count=count)
    with pytest.raises(DataError, match=message) as error:
        measure_distances(folder, tmp_path / "few", ["fid"])
    assert error.value.exit_code == 3


def test_two_pictures_are_measured_with_a_warning(network, folder, tmp_path):
    write_pictures(tmp_path / "two", seed=0, count=2, side=20)
    found = measure_distances(folder, tmp_path / "two", ["fid", "kid"])
    assert found["fid"].counts == {"real": 7, "fake": 2}
    (warning,) = found["fid"].warnings
    assert "2 against 7 pictures: with fewer than 2,048" in warning
    assert found["kid"].warnings == ()


def test_measurement_says_all_of_its_protocol(network, folder, tmp_path):
    (tmp_path / "fakes").mkdir()
    for number, width in enumerate((16, 24, 24)):
        image = Image.new("RGB", (width, 16), (80 * number, 9, 9))
        image.save(tmp_path / "fakes" / f"{number}.{'jpg' if number else 'png'}")
    found = measure_distances(folder, tmp_path / "fakes", ["fid", "kid"])
    fid_of = found["fid"]
    assert fid_of.protocol["mode"] == "clean"
    assert fid_of.protocol["resizer"] == "Pillow bicubic, antialiased, float, to 299x299"
    assert fid_of.protocol["real_formats"] == "PNG"
    assert fid_of.protocol["fake_formats"] == "JPEG 2, PNG 1"
    assert fid_of.protocol["real_sizes"] == "20x20"
    assert fid_of.protocol["fake_sizes"] == "16x16 to 24x16 (2 sizes)"
    assert fid_of.about["weights_sha256"] == "0" * 64
    assert fid_of.interval.low <= fid_of.value <= fid_of.interval.high
    assert any("sharpness" in warning for warning in fid_of.warnings)
    assert found["kid"].protocol["subset_size"] == 3


def test_missing_weights_end_before_any_work(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("I2I_HOME", str(tmp_path / "empty"))
    with pytest.raises(WeightsError, match="i2i weights get inception"):
        measure_distances(folder, folder, ["fid"], Reading(mode="clean"))


def test_set_is_described_by_its_contents(folder, tmp_path):
    facts = describe_set(find_set(folder))
    assert (facts.count, facts.formats, facts.sizes) == (7, "PNG", "20x20")
    reordered = describe_set(tuple(reversed(find_set(folder))))
    assert reordered.digest != facts.digest


def test_shares_are_disjoint_and_whole():
    items = list(range(11))
    shares = [list(Process(rank, 3).share(items)) for rank in range(3)]
    assert sorted(sum(shares, [])) == items


_TWO = """
import json, sys, torch
from pathlib import Path
sys.path[:0] = [sys.argv[1], str(Path(sys.argv[1]).parent)]
import numpy as np, pytest
from test_metrics_features import Counter
import pytest
from stand_in import use_stand_in
from i2icli.metrics import features
from i2icli.system.shares import joined_processes
from i2icli.metrics.picture_sets import find_set
counter = Counter()
use_stand_in(pytest.MonkeyPatch(), lambda *_: counter)
with joined_processes() as process:
    paths = find_set(Path(sys.argv[2]))
    rows = features.extract_features(
        paths, mode="clean", device=torch.device("cpu"), batch_size=2, process=process
    )
    again = features.extract_features(
        paths, mode="clean", device=torch.device("cpu"), batch_size=2, process=process
    )
    assert np.array_equal(rows, again)
    seen = sum(shape[0] for shape in counter.batches)
    np.savez(f"{sys.argv[3]}-{process.rank}.npz", rows=rows, seen=seen)
"""


def test_two_processes_compute_each_picture_once_and_agree(network, folder, tmp_path):
    expected = extract(find_set(folder), cache=False)
    command = [sys.executable, "-c", _TWO, Path(__file__).parent, folder, tmp_path / "rank"]
    ended = run_ranks(command, timeout=120)
    assert [one.code for one in ended] == [0, 0], ended
    found = [np.load(tmp_path / f"rank-{rank}.npz") for rank in range(2)]
    assert [int(entry["seen"]) for entry in found] == [4, 3]
    for entry in found:
        np.testing.assert_allclose(entry["rows"], expected, rtol=1e-5)  # batches of other sizes


REAL = {"clean": 235.824, "legacy_pytorch": 236.691, "legacy_tensorflow": 236.406}


@pytest.fixture
def real(monkeypatch):
    def choose(*names):
        monkeypatch.setenv("I2I_HOME", str(real_home(*names)))

    return choose


def network_of_clean_fid(mode, weights):
    """Return the network that clean-fid computes with, given the file it would download."""
    from cleanfid import inception_pytorch
    from cleanfid.inception_torchscript import InceptionV3W

    if mode != "legacy_pytorch":
        folder = str(weights.path.parent)
        return InceptionV3W(
            folder, download=False, resize_inside=mode == "legacy_tensorflow"
        ).eval()
    with pytest.MonkeyPatch.context() as patch:
        tensors = torch.load(weights.path, weights_only=True)
        patch.setattr(inception_pytorch, "load_state_dict_from_url", lambda *_, **__: tensors)
        network = inception_pytorch.InceptionV3(output_blocks=[3], resize_input=False).eval()
    return lambda images: network(images / 255)[0].flatten(1)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_real_fid_and_kid_equal_those_of_clean_fid(real, mode):
    from i2icli.metrics.inception import find_inception

    real("inception", "inception-pytorch")
    horses, zebras = real_pictures("horse2zebra/testA", "horse2zebra/testB")
    sets = [find_set(folder) for folder in (horses, zebras)]
    ours = [extract_features(found, mode=mode, device=CPU, cache=False) for found in sets]
    assert fid(*ours)[0] == pytest.approx(REAL[mode], abs=0.02)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from cleanfid import fid as clean_fid

        network = network_of_clean_fid(mode, find_inception(mode))
        theirs = [
            clean_fid.get_folder_features(
                str(f), network, num_workers=0, batch_size=20, device=CPU, mode=mode, verbose=False
            )
            for f in (horses, zebras)
        ]
        expected = clean_fid.fid_from_feats(*theirs)
    # In its own order of the files, which is that of their names too.
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-4)
    assert fid(*ours)[0] == pytest.approx(expected, rel=1e-3)
    before = np.random.get_state()
    np.random.seed(0)
    expected_kid = clean_fid.kernel_distance(*theirs)
    np.random.set_state(before)
    assert kid(*ours) == pytest.approx(expected_kid, abs=1e-4)


def _seed_as_the_example():
    """Bring torch's draws to where they are once its example has built its network.

    The documentation is run with seed 42, and the network there, with the layers of
    torchvision's, draws initial weights before the published ones replace them.
    """
    from torchvision.models import inception_v3

    torch.manual_seed(42)
    inception_v3(weights=None, aux_logits=False, num_classes=1008, init_weights=False)


@pytest.mark.slow
def test_documented_kid_example_of_torchmetrics_is_reproduced(real, tmp_path):
    real("inception")
    before = torch.get_rng_state()
    _seed_as_the_example()
    limits = {"real": (0, 200), "fake": (100, 255)}
    sets = {
        name: torch.randint(low, high, (100, 3, 299, 299), dtype=torch.uint8)
        for name, (low, high) in limits.items()
    }
    draws = [tuple(torch.randperm(100)[:50].numpy() for _ in limits) for _ in range(100)]
    torch.set_rng_state(before)
    rows = []
    for name, pictures in sets.items():
        (tmp_path / name).mkdir()
        for number, picture in enumerate(pictures):
            path = tmp_path / name / f"{number:03d}.png"
            Image.fromarray(picture.permute(1, 2, 0).numpy()).save(path, compress_level=1)
        paths = find_set(tmp_path / name)
        rows.append(extract_features(paths, mode="legacy_tensorflow", device=CPU, cache=False))
    values = kid_of_subsets(rows[0], rows[1], [(one, two) for one, two in draws])
    assert float(values.mean()) == pytest.approx(0.0312, abs=6e-5)
    assert float(values.std()) == pytest.approx(0.0025, abs=6e-5)
