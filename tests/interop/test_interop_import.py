"""Released generators and what lies beside them become checkpoints that translate alike."""

import pytest
import torch
from released_files import (
    autoencoder,
    in_joligen_layout,
    munit_discriminator,
    patchgan,
    pictures,
    projector,
    resnet,
    save,
    stylegan2,
    stylegan2_discriminator,
)
from safetensors.torch import save_file

from i2icli.errors import CheckpointError, ConfigError
from i2icli.interop.importing import import_released
from i2icli.networks.heads import SimilarityHead
from i2icli.networks.vgg import vgg16_channels
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.system.messages import collect_messages
from i2icli.translation.translator import load_translator


def _import(file, **options):
    imported = import_released(file, file.parent / "out.pt", **options)
    return imported, load_translator(imported.path, device="cpu")


def assert_alike(translator, network):
    images = pictures()[:1]
    torch.testing.assert_close(translator.translate(images), network(images)[0])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"plain": True},
        {"antialias_down": False},
        {"antialias_up": False},
        {"dropout": True},
        {"norm": "batch"},
        {"norm": "none"},
        {"width": 6, "blocks": 5, "in_channels": 1, "out_channels": 1},
    ],
    ids=str,
)
def test_resnet_is_told_by_names_and_shapes(changes, tmp_path):
    network = resnet(**changes)
    imported, translator = _import(save(tmp_path / "latest_net_G.pth", network))
    settings = imported.config.method.generator
    expected = {
        "width": 4,
        "blocks": 3,
        "antialias_down": not changes.get("plain", False),
        "antialias_up": not changes.get("plain", False),
        "norm": "instance",
        "dropout": False,
        **{key: value for key, value in changes.items() if key in type(settings).model_fields},
    }
    assert {key: getattr(settings, key) for key in expected} == expected
    whole = {*network.state_dict()} - {f for f in network.state_dict() if f.endswith("filt")}
    assert set(imported.taken["generator"].filled.used) == whole
    images = pictures(channels=imported.config.data.channels_a)
    translated = torch.cat([network(images[i : i + 1])[0] for i in range(2)])
    torch.testing.assert_close(translator.translate(images), translated)


def test_discriminator_and_projection_beside_are_taken(tmp_path):
    generator, discriminator = resnet(), patchgan(norm="instance")
    head = projector(generator)
    for name, network in {"G": generator, "D": discriminator, "F": head}.items():
        save(tmp_path / f"12_net_{name}.pth", network)
    save(tmp_path / "latest_net_D.pth", patchgan(width=9))  # of another epoch
    imported, translator = _import(tmp_path / "12_net_G.pth")
    assert imported.fresh == {}
    for name, network in {
        "generator": generator,
        "discriminator": discriminator,
        "projector": head,
    }.items():
        ours = translator.method.get_submodule(name).state_dict()
        assert ours.keys() == network.state_dict().keys()
        assert all(torch.equal(ours[key], value) for key, value in network.state_dict().items())
    assert imported.config.method.discriminator.width == 4
    assert imported.config.method.projection_dim == 6


def test_checkpoint_says_what_is_from_where_and_what_is_fresh(tmp_path):
    save(tmp_path / "latest_net_G.pth", resnet())
    save(tmp_path / "latest_net_D.pth", patchgan())
    imported, _ = _import(tmp_path / "latest_net_G.pth")
    assert imported.fresh == {"projector": "there is no latest_net_F.pth beside it"}
    state = load_checkpoint(imported.path)
    assert state.step == 0
    assert state.origin == {
        "files": {"generator": "latest_net_G.pth", "discriminator": "latest_net_D.pth"},
        "fresh": ["projector"],
    }


def test_what_does_not_fit_beside_stays_fresh_with_the_reason(tmp_path):
    save(tmp_path / "latest_net_G.pth", resnet())
    save(tmp_path / "latest_net_D.pth", {"other.weight": torch.ones(2)})
    save(tmp_path / "latest_net_F.pth", projector(resnet(), layers=(0, 4)))
    imported, _ = _import(tmp_path / "latest_net_G.pth")
    assert "not known (1 tensors: other.weight" in imported.fresh["discriminator"]
    assert "12 missing (mlp_2.0.weight" in imported.fresh["projector"]


def test_alone_looks_at_no_other_file(tmp_path):
    for name, network in {"G_A": resnet(plain=True), "G_B": resnet(plain=True)}.items():
        save(tmp_path / f"latest_net_{name}.pth", network)
    imported, translator = _import(tmp_path / "latest_net_G_B.pth", alone=True)
    assert translator.directions == ("a2b",)
    assert imported.fresh["discriminator"] == "left out by --alone"
    assert imported.config.data.direction == "b2a"
    assert imported.notes == ("G_B goes from b to a of its data set: data.direction is b2a",)


def test_both_generators_of_cyclegan_make_a_two_way_translator(tmp_path):
    networks = {"G_A": resnet(plain=True), "G_B": resnet(plain=True)}
    discriminators = {"D_A": patchgan(plain=True), "D_B": patchgan(plain=True)}
    for name, network in {**networks, **discriminators}.items():
        save(tmp_path / f"latest_net_{name}.pth", network)
    imported, translator = _import(tmp_path / "latest_net_G_B.pth")
    assert (imported.config.preset, imported.fresh) == ("cyclegan", {})
    images = pictures()[:1]
    for direction, name in (("a2b", "G_A"), ("b2a", "G_B")):
        torch.testing.assert_close(
            translator.translate(images, direction), networks[name](images)[0]
        )
    # the released D_A discriminates what G_A makes: pictures of B
    theirs = discriminators["D_A"].state_dict()["model.0.weight"]
    assert torch.equal(translator.method.discriminator_b.model[0].weight, theirs)


def test_one_direction_of_cyclegan_is_a_one_way_translator_without_antialiasing(tmp_path):
    network = resnet(plain=True)
    imported, translator = _import(save(tmp_path / "latest_net_G_A.pth", network))
    assert (imported.config.preset, translator.directions) == ("cut", ("a2b",))
    assert not imported.config.method.generator.antialias_down
    assert_alike(translator, network)
    with pytest.raises(ConfigError, match="needs both generators, in files named like"):
        import_released(tmp_path / "latest_net_G_A.pth", tmp_path / "two.pt", preset="cyclegan")


def test_running_statistics_of_old_files_are_left_out_by_name(tmp_path):
    network, weights = resnet(plain=True), resnet(plain=True).state_dict()
    network.load_state_dict(weights)
    old = {f"model.{n}.{k}": torch.ones(4) for n in (2, 5) for k in ("running_mean", "running_var")}
    old["model.2.num_batches_tracked"] = torch.tensor(3)
    imported, translator = _import(save(tmp_path / "latest_net_G.pth", {**weights, **old}))
    filled = imported.taken["generator"].filled
    assert set(filled.unused) == set(old)
    assert set(filled.unused.values()) == {"running statistics, which instance norm does not use"}
    assert_alike(translator, network)


@pytest.mark.parametrize("preset", ["fastcut", "qs-attn-global", "src-hdce", "fsesim"])
def test_preset_says_what_it_was_trained_as(preset, tmp_path):
    network = resnet()
    file = save(tmp_path / "latest_net_G.pth", network)
    imported, translator = _import(file, preset=preset, direction="b2a")
    assert (imported.config.preset, imported.is_told) == (preset, True)
    assert imported.config.data.direction == "b2a"
    assert_alike(translator, network)


def test_learned_head_beside_tells_lsesim(tmp_path):
    head = SimilarityHead(vgg16_channels(("relu3_1", "relu4_1", "relu4_3")))
    save(tmp_path / "latest_net_G.pth", resnet())
    save(tmp_path / "latest_net_F.pth", head)
    imported, translator = _import(tmp_path / "latest_net_G.pth")
    assert imported.config.preset == "lsesim"
    ours = translator.method.structure.head.state_dict()
    assert all(torch.equal(ours[key], value) for key, value in head.state_dict().items())
    unused = import_released(tmp_path / "latest_net_G.pth", tmp_path / "fixed.pt", preset="fsesim")
    assert unused.notes == ("latest_net_F.pth is not used: --preset fsesim has none",)


@pytest.mark.parametrize(
    ("changes", "preset", "crop"),
    [
        ({}, "sincut", 64),
        ({"width": 2, "resolution": 128, "downsamplings": 2}, "single-image-sesim", 128),
    ],
)
def test_single_image_generator_and_discriminator(changes, preset, crop, tmp_path):
    network = stylegan2(**changes)
    discriminator = stylegan2_discriminator(resolution=crop, last_side=8 if crop == 128 else 4)
    save(tmp_path / "latest_net_G.pth", network)
    save(tmp_path / "latest_net_D.pth", discriminator)
    imported, translator = _import(tmp_path / "latest_net_G.pth")
    assert (imported.config.preset, imported.config.data.crop) == (preset, crop)
    assert "discriminator" in imported.taken
    ours = translator.method.generator.state_dict()
    assert all(torch.equal(ours[key], value) for key, value in network.state_dict().items())


def test_munit_holds_both_domains_in_one_file(tmp_path):
    networks = {"a": autoencoder(), "b": autoencoder()}
    discriminators = {"a": munit_discriminator(), "b": munit_discriminator()}
    for kind, parts in {"gen": networks, "dis": discriminators}.items():
        document = {name: network.state_dict() for name, network in parts.items()}
        torch.save(document, tmp_path / f"{kind}_00000010.pt")
    imported, translator = _import(tmp_path / "gen_00000010.pt")
    assert (imported.config.preset, imported.fresh) == ("munit", {})
    content, _ = networks["a"].encode(pictures()[:1])
    style = torch.tensor([[0.3, -0.2, 1.0]])
    translated = translator.method.translate(pictures()[:1], direction="a2b", style=style)
    torch.testing.assert_close(translated.images, networks["b"].decode(content, style))
    with pytest.raises(CheckpointError, match=r"give the file of the generator, .*gen_00000010"):
        import_released(tmp_path / "dis_00000010.pt", tmp_path / "no.pt")


def test_joligen_names_are_put_in_one_row(tmp_path):
    network = resnet(plain=True, blocks=4)
    imported, translator = _import(
        save(tmp_path / "latest_net_G_A.pth", in_joligen_layout(network))
    )
    assert "under joliGEN's names" in imported.taken["generator"].part.network.title
    assert_alike(translator, network)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["encoder.model.0.weight", "decoder.model.0.weight"], "did not pad the picture first"),
        (["model.1.weight_orig"], "spectral normalisation"),
        (["encoder.model.10.conv_block.1.conv.0.weight"], "separable convolutions"),
        (["conv1.weight", "deconv1_attention.weight"], "attention masks"),
        (["model.model.0.weight"], "U-Net"),
        (["layer1.0.conv1.weight"], r"not known \(1 tensors: layer1\.0\.conv1\.weight"),
    ],
)
def test_relatives_without_a_network_here_are_refused_by_name(names, said, tmp_path):
    file = save(tmp_path / "latest_net_G.pth", {name: torch.ones(1, 1, 3, 3) for name in names})
    with pytest.raises(CheckpointError, match=said):
        import_released(file, tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()


def _damaged(kind):
    weights = resnet().state_dict()
    if kind == "missing":
        del weights["model.8.weight"]
    if kind == "left over":
        weights["model.8.extra"] = torch.ones(1)
    if kind == "shape":
        weights["model.8.weight"] = torch.ones(16, 8, 5, 5)
    if kind == "finite":
        weights["model.8.weight"][0] = float("nan")
    if kind == "filter":
        weights["model.7.filt"] = weights["model.7.filt"] * 1.1
    return weights


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", r"1 missing \(model\.8\.weight\)"),
        ("left over", r"1 left over \(model\.8\.extra\)"),
        ("shape", r"1 of another shape \(model\.8\.weight \(16, 8, 5, 5\) for \(16, 8, 3, 3\)\)"),
        ("finite", r"1 not finite \(model\.8\.weight\)"),
        ("filter", r"1 constants with other values \(model\.7\.filt\)"),
    ],
)
def test_generator_that_does_not_fit_exactly_is_refused(kind, said, tmp_path):
    file = save(tmp_path / "latest_net_G.pth", _damaged(kind))
    with pytest.raises(CheckpointError, match=said):
        import_released(file, tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()


def test_half_precision_weights_become_float32(tmp_path):
    network = resnet()
    halves = {name: weight.half() for name, weight in network.state_dict().items()}
    _, translator = _import(save(tmp_path / "latest_net_G.pth", halves))
    network.load_state_dict(halves)
    assert_alike(translator, network)


@pytest.mark.parametrize(
    ("name", "network", "said"),
    [
        ("D", patchgan(), "PatchGAN discriminator of width 4, 2 layers, anti-aliased, which"),
        ("F", projector(resnet()), "projection head of 5 layers, which cannot translate"),
        ("D", stylegan2_discriminator(), "StyleGAN2 discriminator of crops of 64 pixels, which"),
    ],
)
def test_other_networks_alone_are_refused_with_the_generator_beside(name, network, said, tmp_path):
    save(tmp_path / "best_net_G.pth", resnet())
    file = save(tmp_path / f"best_net_{name}.pth", network)
    with pytest.raises(CheckpointError, match=said) as refused:
        import_released(file, tmp_path / "out.pt")
    assert str(tmp_path / "best_net_G.pth") in str(refused.value)


def test_preset_of_another_architecture_is_refused(tmp_path):
    file = save(tmp_path / "latest_net_G.pth", resnet())
    with pytest.raises(ConfigError, match="preset munit does not go with a ResNet generator"):
        import_released(file, tmp_path / "out.pt", preset="munit")
    with pytest.raises(ConfigError, match="preset sincut does not go with a ResNet generator"):
        import_released(file, tmp_path / "out.pt", preset="sincut")
    with pytest.raises(ConfigError, match="released checkpoints of it cannot be imported"):
        import_released(file, tmp_path / "out.pt", preset="attention-guided")


def test_values_that_no_file_says_can_be_set(tmp_path):
    network = stylegan2(blocks=2)
    file = save(tmp_path / "latest_net_G.pth", network)
    with pytest.raises(ConfigError, match="nce_layers names module 4"):
        import_released(file, tmp_path / "out.pt")
    imported, _ = _import(file, overrides=["method.nce_layers=[0, 2]"])
    assert imported.config.method.nce_layers == (0, 2)


def test_existing_output_is_not_overwritten(tmp_path):
    file = save(tmp_path / "latest_net_G.pth", resnet())
    (tmp_path / "out.pt").write_text("mine")
    with pytest.raises(ConfigError, match=r"out\.pt is there already"):
        import_released(file, tmp_path / "out.pt")
    assert (tmp_path / "out.pt").read_text() == "mine"


@pytest.mark.parametrize("kind", [torch.float16, torch.float64])
def test_weights_of_another_precision_are_converted(kind, tmp_path):
    weights = {name: weight.to(kind) for name, weight in resnet().state_dict().items()}
    _, translator = _import(save(tmp_path / "latest_net_G.pth", weights))
    ours = translator.method.state_dict()
    assert {weight.dtype for weight in ours.values()} == {torch.float32}
    theirs = iter(weights.values())  # in the same order
    assert all(torch.equal(ours[f"generator.{n}"], next(theirs).float()) for n in weights)


@pytest.mark.parametrize("kind", [torch.int32, torch.complex64, torch.bool])
def test_weights_of_a_type_that_no_weight_has_are_refused(kind, tmp_path):
    weights = {name: weight.to(kind) for name, weight in resnet().state_dict().items()}
    with pytest.raises(CheckpointError, match=rf"of a type that no weight has \(.* {kind}"):
        import_released(save(tmp_path / "latest_net_G.pth", weights), tmp_path / "out.pt")


def test_double_that_no_float_holds_is_refused(tmp_path):
    weights = {name: weight.double() for name, weight in resnet().state_dict().items()}
    weights["model.1.weight"][0] = 1e300
    with pytest.raises(CheckpointError, match="1 not finite"):
        import_released(save(tmp_path / "latest_net_G.pth", weights), tmp_path / "out.pt")


@pytest.mark.parametrize("form", ["zip", "old", "safetensors"])
def test_import_of_a_file_without_sums_says_so(form, tmp_path):
    weights = resnet().state_dict()
    if form == "safetensors":
        save_file(weights, file := tmp_path / "x.safetensors")
    else:
        is_new = form == "zip"
        file = save(tmp_path / "x.pth", weights, _use_new_zipfile_serialization=is_new)
    messages = collect_messages()
    import_released(file, tmp_path / "out.pt")
    (said,) = messages or [""]
    assert said.startswith(f"note: {file} has no sums of its own") == (form != "zip")
