"""Recorded networks, written as the released codes write them, through `i2i import`."""

import pytest
import torch
from golden import all_cases
from replay import NETWORKS

from i2icli.interop.importing import import_released
from i2icli.translation.translator import load_translator


def _cases(*names):
    """Return the cases as parameters; other modules claim them."""
    return [pytest.param(case, id=case.name) for case in all_cases() if case.name in names]


def _import(case, folder, networks):
    """Import files `latest_net_NAME.pth` of the networks recorded under prefixes, by name."""
    for name, prefix in networks.items():
        torch.save(case.state_dict(prefix), folder / f"latest_net_{name}.pth")
    first = next(iter(networks))
    imported = import_released(folder / f"latest_net_{first}.pth", folder / "out.pt")
    return imported, load_translator(folder / "out.pt", device="cpu")


@pytest.mark.parametrize(
    "case", _cases("gen_resnet6_aa", "gen_resnet6_noaa", "gen_resnet9_aa", "gen_resnet9_noaa")
)
def test_imported_resnet_translates_as_recorded(case, tmp_path):
    imported, translator = _import(case, tmp_path, {"G": "G."})
    filled = imported.taken["generator"].filled
    assert {*filled.used, *filled.verified} == set(case.state_dict("G."))
    assert len(filled.verified) == (0 if case.options["no_antialias"] else 4)
    case.close(translator.translate(case.tensors["input"]), "output")


@pytest.mark.parametrize("case", _cases("sincut_stylegan2_generator"))
def test_imported_single_image_generator_gives_the_recorded_picture(case, tmp_path):
    imported, translator = _import(case, tmp_path, {"G": "G."})
    filled = imported.taken["generator"].filled
    assert {*filled.used, *filled.verified} == set(case.state_dict("G."))
    noise = [case.tensors[f"noise.{number}"] for number in case.numbers(r"noise\.(\d+)")]
    images = case.tensors["input"]
    case.close(translator.method.generator(images, noise=noise)[0], "output")
    # translating has fixed noise of its own, and bounds the values
    assert translator.translate(images).abs().max() <= 1


@pytest.mark.parametrize("case", _cases("munit_generator"))
def test_imported_munit_translates_in_the_recorded_styles(case, tmp_path):
    document = {"a": case.state_dict("Ga."), "b": case.state_dict("Gb.")}
    torch.save(document, tmp_path / "gen_00000001.pt")
    imported = import_released(tmp_path / "gen_00000001.pt", tmp_path / "out.pt")
    method = load_translator(tmp_path / "out.pt", device="cpu").method
    for domain, weights in document.items():
        filled = imported.taken[f"generator_{domain}"].filled
        assert {*filled.used, *filled.unused} == set(weights)
    for source, target in (("a", "b"), ("b", "a")):
        translated = method.translate(
            case.tensors[f"x_{source}"],
            direction=f"{source}2{target}",
            style=case.tensors[f"sampled_style_{target}"].flatten(1),
        )
        case.close(translated.images, f"x_{source}{target}")


@pytest.mark.parametrize(
    "case", _cases("traj_cut_b1", "traj_qs_global_b1", "traj_cyclegan_b1", "traj_cyclegan_b2")
)
def test_imported_release_is_complete_and_translates_as_recorded(case, tmp_path):
    kind = "cyclegan" if "lambda_A" in case.options else "contrastive"
    networks = NETWORKS[kind]
    imported, translator = _import(case, tmp_path, {name: f"init.{name}." for name in networks})
    assert {taken.part.file.name: module for module, taken in imported.taken.items()} == {
        f"latest_net_{name}.pth": module for name, module in networks.items()
    }
    assert imported.fresh == {}
    made = {"img.fake_B": ("A", "a2b"), "img.fake_A": ("B", "b2a")}
    for recorded, (domain, direction) in made.items():
        if recorded in case.tensors:
            translated = translator.translate(case.tensors[domain][0], direction)
            difference = (translated - case.tensors[recorded][0]).abs().max()
            assert difference <= case.tolerance["images"]["atol_step0"], recorded
