"""Generators are found in files of whole trainings, and chosen by name where there are several."""

import pytest
import torch
from released_files import (
    in_mmgeneration_layout,
    patchgan,
    pictures,
    projector,
    resnet,
    save,
)
from safetensors.torch import save_file

from i2icli.errors import CheckpointError, I2IError
from i2icli.interop.importing import import_released
from i2icli.interop.several import plain_name
from i2icli.translation.translator import load_translator


def _import(file, **options):
    imported = import_released(file, file.parent / "out.pt", **options)
    return imported, load_translator(imported.path, device="cpu")


def assert_alike(translator, network, direction="a2b"):
    images = pictures()[:1]
    torch.testing.assert_close(translator.translate(images, direction), network(images)[0])


def prefixed(**networks):
    return {
        f"{prefix}.{name}": weight
        for prefix, network in networks.items()
        for name, weight in network.state_dict().items()
    }


WRAPPED = {
    "its key": lambda net: {"netG": net.state_dict(), "epoch": 3},
    "a key in a wrapper": lambda net: {"state_dict": {"G": net.state_dict()}},
    "a wrapper in a key": lambda net: {"generator": {"model": net.state_dict(), "step": 3}},
    "an optimizer beside": lambda net: {
        "netG": net.state_dict(),
        "optG": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"params": [0]}]},
        "rng": {"cpu": torch.ones(3)},
    },
    "Lightning": lambda net: {
        "pytorch-lightning_version": "2.1.0",
        "state_dict": prefixed(generator=net, discriminator=patchgan()),
        "hyper_parameters": {"lr": 2e-4},
    },
    "Lightning, deeper": lambda net: {"state_dict": prefixed(**{"model.netG": net})},
    "compiled inside": lambda net: {"state_dict": prefixed(**{"netG._orig_mod": net})},
    "in parallel inside": lambda net: prefixed(**{"netG.module": net, "netD.module": patchgan()}),
    "averaged beside": lambda net: prefixed(generator=resnet(), generator_ema=net),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_the_generator_of_a_whole_training_is_found(kind, tmp_path):
    network = resnet()
    _, translator = _import(save(tmp_path / "x.ckpt", WRAPPED[kind](network)))
    assert_alike(translator, network)


def test_prefixes_are_found_in_safetensors_too(tmp_path):
    network = resnet()
    save_file(prefixed(generator=network, discriminator=patchgan()), tmp_path / "x.safetensors")
    assert_alike(_import(tmp_path / "x.safetensors")[1], network)


def test_discriminator_and_projection_in_the_file_are_taken(tmp_path):
    generator = resnet()
    held = {"netG": generator, "netD": patchgan(), "netF": projector(generator)}
    imported, _ = _import(
        save(tmp_path / "x.pth", {k: net.state_dict() for k, net in held.items()})
    )
    assert imported.fresh == {}
    assert "x.pth [netD]: PatchGAN" in "\n".join(imported.lines())
    assert imported.as_document()["networks"]["discriminator"]["name"] == "netD"


@pytest.mark.parametrize("names", [("G_A", "G_B"), ("netG_A", "netG_B"), ("genA2B", "genB2A")])
def test_both_ways_in_one_file_make_a_two_way_translator(names, tmp_path):
    networks = {name: resnet(plain=True) for name in names}
    document = {name: network.state_dict() for name, network in networks.items()}
    imported, translator = _import(save(tmp_path / "x.pth", document))
    assert imported.config.preset == "cyclegan"
    for direction, name in zip(("a2b", "b2a"), names, strict=True):
        assert_alike(translator, networks[name], direction)


def test_one_of_both_ways_is_chosen_by_name(tmp_path):
    networks = {name: resnet(plain=True) for name in ("G_A", "G_B")}
    file = save(tmp_path / "x.pth", {name: net.state_dict() for name, net in networks.items()})
    with pytest.raises(CheckpointError, match="no one generator called 'G_C'.*G_A, G_B"):
        _import(file, network="G_C")
    imported, translator = _import(file, network="G_B")
    assert_alike(translator, networks["G_B"])
    assert imported.config.data.direction == "b2a"


@pytest.mark.parametrize("dropout", [False, True])
def test_generators_of_mmgeneration_are_chosen_by_the_domain_they_make(dropout, tmp_path):
    networks = {name: resnet(plain=True, dropout=dropout) for name in ("photo", "mask")}
    weights = {
        f"generators.{domain}.{name}": weight
        for domain, network in networks.items()
        for name, weight in in_mmgeneration_layout(network).items()
    }
    file = save(tmp_path / "x.pth", {"meta": {"iter": 3}, "state_dict": weights})
    with pytest.raises(CheckpointError, match=f"i2i import {file} --network generators.photo"):
        _import(file)
    imported, translator = _import(file, network="mask")
    assert "under mmgeneration's names" in imported.taken["generator"].part.network.title
    assert_alike(translator, networks["mask"])


def test_files_without_a_generator_say_so(tmp_path):
    with pytest.raises(I2IError, match="holds a PatchGAN discriminator"):
        _import(save(tmp_path / "x.pth", {"netD": patchgan().state_dict()}))
    with pytest.raises(I2IError, match="a network that is not known"):
        _import(save(tmp_path / "y.pth", prefixed(generator=torch.nn.Linear(2, 2))))


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("netG", "G"),
        ("G_A", "G_A"),
        ("model.netD_B", "D_B"),
        ("G_AB", "G_A"),
        ("genB2A", "G_B"),
        ("generator_b_to_a", "G_B"),
        ("generators.a", "generators.a"),
        ("generator", "generator"),
        ("G_AA", "G_AA"),
    ],
)
def test_names_that_all_codes_share_are_understood(name, plain):
    assert plain_name(name) == plain
