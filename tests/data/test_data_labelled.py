import numpy as np
import pytest
import torch
from labelled_folders import write_labelled
from PIL import Image
from streams import stream_of

from i2icli.config.sections import DataConfig, LabelsConfig
from i2icli.data.folders import Domains, find_domains
from i2icli.data.labelled import LabelledSet, resolve_labels
from i2icli.data.training_set import open_training_set
from i2icli.data.transforms import CropChoice, CropPlan, choose_crop, make_crop, make_label_crop
from i2icli.errors import ConfigError, DataError
from i2icli.pictures.label_maps import load_palette


def opened(root, *, labels=None, **data):
    config = DataConfig(root=str(root), **data)
    domains = find_domains(config, "labelled")
    found = open_training_set(
        "labelled", domains, config, labels or LabelsConfig(classes=4, ignore=9)
    )
    assert isinstance(found, LabelledSet)
    return found


SCALED = {"preprocess": "random-scale-and-crop", "resize": 20, "crop": 16}


def test_pictures_are_domain_a_and_their_maps_domain_b_in_one_order(tmp_path):
    domains = find_domains(DataConfig(root=str(write_labelled(tmp_path))), "labelled")
    assert [p.name for p in domains.train_a] == [f"train_{n}.png" for n in range(5)]
    assert [p.stem for p in domains.train_a] == [p.stem for p in domains.train_b]
    assert [p.parent.name for p in (domains.test_a[0], domains.test_b[0])] == ["val", "valannot"]
    assert domains.root == tmp_path


def test_plain_folders_are_pictures_and_maps(tmp_path):
    root = write_labelled(tmp_path)
    config = DataConfig(
        domain_a=str(root / "train"),
        domain_b=str(root / "trainannot"),
        test_a=str(root / "val"),
        test_b=str(root / "valannot"),
    )
    domains = find_domains(config, "labelled")
    assert (len(domains.train_b), len(domains.test_b), domains.root) == (5, 5, None)


def test_pictures_without_a_map_are_named(tmp_path):
    root = write_labelled(tmp_path)
    (root / "trainannot" / "train_2.png").unlink()
    with pytest.raises(DataError, match=r"no label map of the same name in .*: .*train_2|train_2"):
        find_domains(DataConfig(root=str(root)), "labelled")
    (root / "train" / "train_2.png").unlink()
    (root / "train" / "train_4.png").unlink()
    with pytest.raises(DataError, match=r"no picture of the same name .*train_4"):
        find_domains(DataConfig(root=str(root)), "labelled")


def test_missing_layout_says_what_is_there_and_what_is_needed(tmp_path):
    (tmp_path / "trainA").mkdir()
    with pytest.raises(
        DataError, match=r"no folder train: labelled data lie in train with .*trainA"
    ):
        find_domains(DataConfig(root=str(tmp_path)), "labelled")


def test_the_other_direction_is_refused(tmp_path):
    root = write_labelled(tmp_path)
    with pytest.raises(ConfigError, match=r"data\.direction=b2a"):
        find_domains(DataConfig(root=str(root), direction="b2a"), "labelled")


def test_classes_are_counted_without_the_ignored(tmp_path):
    maps = find_domains(DataConfig(root=str(write_labelled(tmp_path))), "labelled").train_b
    assert resolve_labels(LabelsConfig(ignore=9), maps).classes == 4
    assert resolve_labels(LabelsConfig(), maps).classes == 10
    assert resolve_labels(LabelsConfig(classes=30), maps).classes == 30


def test_maps_in_colours_need_a_palette_and_are_read_by_it(tmp_path):
    root = write_labelled(tmp_path / "set")
    colours = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200], [90, 90, 90]], np.uint8)
    for path in (root / "trainannot").iterdir():
        ids = np.asarray(Image.open(path))
        Image.fromarray(colours[ids % 4]).save(path)
    maps = find_domains(DataConfig(root=str(root)), "labelled").train_b
    with pytest.raises(DataError, match=r"holds colours, not ids: .*labels\.palette=cityscapes"):
        resolve_labels(LabelsConfig(), maps)
    file = tmp_path / "palette.txt"
    file.write_text("\n".join(" ".join(map(str, row)) for row in colours), encoding="ascii")
    settled = resolve_labels(LabelsConfig(palette=str(file)), maps)
    assert settled.classes == 4
    file.unlink()  # the checkpoint holds the colours, not the file
    assert np.array_equal(load_palette(settled.palette), colours)
    dataset = opened(root, labels=settled, preprocess="none", flip=False)
    key = next(dataset.epoch_keys(seed=0, epoch=1, jitter=True))
    # At 16 x 20, nothing is resampled; the first row held 9, whose colour is that of 1.
    assert set(dataset[key].labels.unique().tolist()) <= {0, 1, 2, 3}


def test_written_colours_that_are_none_are_refused():
    with pytest.raises(ConfigError, match=r"the palette has '#12', which is no colour"):
        load_palette("#102030 #12")


def test_an_id_beyond_the_classes_is_named_with_its_file(tmp_path):
    dataset = opened(write_labelled(tmp_path), labels=LabelsConfig(classes=3, ignore=9), **SCALED)
    keys = dataset.epoch_keys(seed=0, epoch=1, jitter=True)
    wrong = next(key for key in keys if dataset.pictures[key.picture].stem == "train_2")
    with pytest.raises(DataError, match=r"train_2\.png has the id 3 at 130 pixels"):
        dataset[wrong]


def test_a_map_of_another_size_is_named(tmp_path):
    root = write_labelled(tmp_path)
    Image.fromarray(np.zeros((7, 5), np.uint8)).save(root / "trainannot" / "train_0.png")
    dataset = opened(root, pairing="ordered", **SCALED)
    with pytest.raises(DataError, match=r"train_0\.png is 20 x 14 and its label map .* 5 x 7"):
        dataset[next(dataset.epoch_keys(seed=0, epoch=1, jitter=True))]


def test_an_unreadable_picture_is_skipped_with_its_map(tmp_path):
    root = write_labelled(tmp_path)
    (root / "train" / "train_0.png").write_bytes(b"no picture")
    dataset = opened(root, pairing="ordered", **SCALED)
    sample = dataset[next(dataset.epoch_keys(seed=0, epoch=1, jitter=True))]
    assert sample.name.endswith("train_1.png")
    assert len(sample.skipped) == 1
    strict = opened(root, pairing="ordered", corrupt="error", **SCALED)
    with pytest.raises(DataError, match=r"train_0\.png"):
        strict[next(strict.epoch_keys(seed=0, epoch=1, jitter=True))]


@pytest.mark.parametrize(
    "way", ["random-scale-and-crop", "resize-and-crop", "scale-width-and-crop", "crop", "none"]
)
def test_picture_and_map_are_cropped_alike(tmp_path, way):
    root = write_labelled(tmp_path, size=(40, 32))
    dataset = opened(root, preprocess=way, resize=30, crop=16)
    for key in dataset.epoch_keys(seed=4, epoch=2, jitter=True):
        sample = dataset[key]
        assert sample.image.shape[1:] == sample.labels.shape
        known = sample.labels != 9
        shown = (sample.image.mean(dim=0) + 1) * 127.5 / 20
        # Where classes meet, the picture is blended and the map is not.
        agree = (shown.round().long() == sample.labels)[known]
        assert agree.float().mean() > 0.85


def test_random_scales_reach_from_half_to_twice_and_fill_up_with_ignored_pixels():
    from i2icli.data.keyed import KeyedDraws

    plan = CropPlan("random-scale-and-crop", 100, 100, 64, "bilinear")
    longer = [choose_crop(plan, (80, 60), KeyedDraws(0, n)).longer for n in range(400)]
    assert min(longer) < 55
    assert max(longer) > 195
    assert set(longer) <= set(range(50, 201))
    small = CropChoice(longer=50)
    image = make_crop(np.full((60, 80, 3), 255, np.uint8), plan, small)
    labels = make_label_crop(np.zeros((60, 80), np.int64), plan, small, ignore=9)
    assert image.shape == (3, 64, 64)
    assert labels.shape == (64, 64)
    assert (labels[:38, :50] == 0).all()
    assert (labels[38:] == 9).all()
    assert (labels[:, 50:] == 9).all()
    mean = torch.tensor([124, 116, 104]) / 127.5 - 1
    torch.testing.assert_close(image[:, 63, 63], mean)


def test_batches_do_not_depend_on_workers_and_start_anywhere(tmp_path):
    dataset = opened(write_labelled(tmp_path), batch_size=2, **SCALED)

    def batches(workers, start):
        with stream_of(dataset, seed=7, start_step=start, workers=workers) as stream:
            found = [next(stream) for _ in range(5 - start)]
        return [torch.cat([b.images.flatten(), b.labels.flatten().float()]) for b in found]

    first, second, late = batches(0, 0), batches(2, 0), batches(1, 3)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first[3:], late, strict=True))


def test_an_epoch_takes_every_picture_once_in_a_new_order(tmp_path):
    dataset = opened(write_labelled(tmp_path), **SCALED)
    orders = [
        [key.picture for key in dataset.epoch_keys(seed=1, epoch=epoch, jitter=True)]
        for epoch in (1, 2)
    ]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(5))
    assert orders[0] != orders[1]


def test_all_ignored_maps_leave_nothing_to_learn(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.full((4, 4), 9, np.uint8)).save(path)
    with pytest.raises(DataError, match="nothing is left to learn"):
        resolve_labels(LabelsConfig(ignore=9), [path])


def test_ids_that_are_no_classes_are_refused(tmp_path):
    path = tmp_path / "depth.png"
    Image.fromarray(np.full((4, 4), 5000, np.uint16)).save(path)
    with pytest.raises(DataError, match=r"depth\.png has the id 5000, and at most 1000"):
        resolve_labels(LabelsConfig(), Domains((path,), (path,)).train_b)
