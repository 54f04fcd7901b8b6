"""Crops and pictures that networks do not take are refused before the first step."""

from pathlib import Path

import pytest
import torch
from engine_kit import pair_config
from picture_folders import write_noise
from tiny import batch_for, stand_in, tiny_config, tiny_method

from i2icli.config.sections import DataConfig
from i2icli.data.batch import Batch
from i2icli.data.folders import Domains
from i2icli.data.sizes import crop_sizes
from i2icli.data.unpaired import UnpairedSet
from i2icli.errors import ConfigError, DataError
from i2icli.methods import METHODS
from i2icli.training.assembly import assemble, open_data
from i2icli.training.data import resolve_data
from i2icli.training.sizes import check_sizes

UNPAIRED = sorted(name for name, method in METHODS.items() if method.data == "unpaired")
NO_FILES = Domains(train_a=(Path("a.png"),), train_b=(Path("b.png"),), test_a=(), test_b=())


def load(names, _device):
    return {name: stand_in(name) for name in names}


def domains(folder, *sizes):
    for number, (width, height) in enumerate(sizes):
        for side in "ab":
            write_noise(folder / side / f"{number}.png", height, width, seed=number)
    found = {side: tuple(sorted((folder / side).iterdir())) for side in "ab"}
    return Domains(train_a=found["a"], train_b=found["b"], test_a=(), test_b=())


@pytest.mark.parametrize("name", UNPAIRED)
def test_losses_take_domains_of_unlike_sizes(name):
    method = tiny_method(name)
    small, large = (batch_for(name, count=1, size=size) for size in (64, 88))
    for real_a, real_b in ((small.real_a, large.real_b), (large.real_a, small.real_b)):
        for _player, terms in method.losses(Batch(real_a, real_b[..., :80])):
            assert all(value.isfinite() for value in terms.values())


@pytest.mark.parametrize("name", UNPAIRED)
def test_crops_are_taken_or_refused_with_a_size_that_is_taken(name):
    method = tiny_method(name)
    for side in (4, 8, 16, 24, 32):
        data = DataConfig(resize=side, crop=side)
        try:
            check_sizes(method, data, NO_FILES, load=load)
        except ConfigError as refusal:
            advised = int(str(refusal).partition("--set data.crop=")[2].split(" ")[0].rstrip("`."))
            assert advised > side
            check_sizes(method, DataConfig(resize=advised, crop=advised), NO_FILES, load=load)
        else:
            for _ in method.losses(batch_for(name, count=1, size=side)):
                pass


def test_a_picture_that_is_too_small_is_named(tmp_path):
    config = DataConfig(preprocess="none", crop=32, resize=32)
    found = domains(tmp_path, (64, 48), (12, 80), (40, 40))
    with pytest.raises(DataError) as caught:
        check_sizes(tiny_method("cyclegan", discriminator={"layers": 3}), config, found, load=load)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'a' / '1.png'} is 12 x 80 after data.preprocess=none")
    assert "--set data.preprocess=resize-and-crop" in message


def test_pictures_of_several_sizes_in_one_batch_are_refused_at_once(tmp_path):
    found = domains(tmp_path, (64, 48), (48, 64))
    config = DataConfig(preprocess="none", batch_size=2)
    with pytest.raises(DataError, match="a batch needs one size; use `--set data.batch_size=1`"):
        check_sizes(tiny_method("cyclegan"), config, found, load=load)


def test_looking_changes_neither_weights_nor_draws():
    method = tiny_method("cut")
    before = {key: value.clone() for key, value in method.state_dict().items()}
    memory, state = method.memory(), torch.get_rng_state()
    check_sizes(method, tiny_config("cut").data, NO_FILES, load=load)
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())
    assert str(method.memory()) == str(memory)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "settings",
    [
        {"preprocess": "none"},
        {"preprocess": "scale-width", "resize": 40},
        {"preprocess": "crop", "crop": 32},
        {"preprocess": "scale-width-and-crop", "resize": 40, "crop": 36},
        {"preprocess": "scale-shorter-and-crop", "resize": 40, "crop": 36},
        {"preprocess": "resize", "resize": 40, "resize_height": 28},
        {"preprocess": "resize-and-crop", "resize": 40, "crop": 36},
    ],
)
def test_the_sizes_are_those_that_the_data_set_gives(tmp_path, settings):
    found = domains(tmp_path, (64, 48), (30, 80), (40, 41))
    config = DataConfig(**settings)
    of_a, of_b = crop_sizes(found, config, is_labelled=False)
    data = UnpairedSet(found, config)
    keys = data.epoch_keys(seed=0, epoch=1, jitter=True)
    samples = [data[key] for key in keys]
    assert {tuple(s.real_a.shape[:0:-1]) for s in samples} == set(of_a)
    assert {tuple(s.real_b.shape[:0:-1]) for s in samples} <= set(of_b)


def test_networks_that_sizes_were_tried_with_are_not_loaded_again(pair, truth_root):
    asked = []

    def counted(names, device):
        asked.extend(names)
        return load(names, device)

    config, _ = resolve_data(pair_config(truth_root, structure={"kind": "fixed"}))
    assemble(config, open_data(config), device=torch.device("cpu"), load=counted)
    assert asked == ["vgg16"]
