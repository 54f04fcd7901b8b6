"""`i2i import` as it is typed, and what its checkpoints are good for."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from released_files import patchgan, projector, resnet, save

from i2icli.runs.checkpoint import load_checkpoint

# The sections of a run that make it short.
SHORT = [
    *("--set", "data.resize=36", "--set", "data.crop=32", "--set", "method.num_patches=8"),
    *("--set", "runtime.workers=0", "--set", "samples.every_steps=0", "--device", "cpu"),
]


@pytest.fixture
def release(here):
    """Lay out a release of CUT without its projection head."""
    save(here / "latest_net_G.pth", resnet())
    save(here / "latest_net_D.pth", patchgan())
    return here / "latest_net_G.pth"


def test_import_says_what_it_found_and_what_to_do_next(release, i2i):
    code, out, err = i2i("import", "latest_net_G.pth")
    assert (code, out) == (0, "")
    lines = [" ".join(line.split()) for line in err.splitlines()]
    assert lines == [
        "wrote latest_net_G.i2i.pt",
        "generator latest_net_G.pth: ResNet generator of width 4, 3 blocks, anti-aliased, "
        "instance norm",
        "24 tensors used, 4 constants verified",
        "discriminator latest_net_D.pth: PatchGAN discriminator of width 4, 2 layers, anti-aliased",
        "8 tensors used, 2 constants verified",
        "projector fresh: there is no latest_net_F.pth beside it",
        "taken for preset cut: a file does not say what it was trained as, and translations are "
        "the same. For further training name it with --preset.",
        "translate: i2i translate latest_net_G.i2i.pt IN OUT",
    ]


def test_import_as_json(release, i2i_json):
    words = ("latest_net_G.pth", "out.pt", "--preset", "fastcut", "--alone")
    document = i2i_json("import", *words)
    assert document["checkpoint"] == "out.pt"
    assert (document["preset"], document["preset_was_given"]) == ("fastcut", True)
    assert (document["method"], document["channels"]) == ("cut", [3, 3])
    assert document["networks"]["generator"]["used"] == 24
    assert len(document["networks"]["generator"]["verified"]) == 4
    assert document["fresh"] == {
        "discriminator": "left out by --alone",
        "projector": "left out by --alone",
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("gone.pth",), "there is no file gone.pth"),
        (("latest_net_D.pth",), "give the file of the generator, latest_net_G.pth"),
        (("latest_net_G.pth", "--direction", "up"), "--direction 'up' is none: use a2b or b2a"),
        (("latest_net_G.pth", "--preset", "cutt"), "did you mean 'cut'?"),
        (("latest_net_G.pth", "latest_net_D.pth"), "latest_net_D.pth is there already"),
    ],
)
def test_what_cannot_be_imported_ends_with_2(words, said, release, i2i):
    code, _, err = i2i("import", *words)
    assert code == 2
    assert said in err
    assert not Path("latest_net_G.i2i.pt").exists()


def test_imported_checkpoint_translates(release, i2i):
    picture = Image.effect_noise((20, 16), 60).convert("RGB")
    picture.save("in.png")
    assert i2i("import", "latest_net_G.pth")[0] == 0
    words = ("latest_net_G.i2i.pt", "in.png", "out.png", "--device", "cpu")
    assert i2i("translate", *words)[0] == 0
    with Image.open("out.png") as translated:
        assert translated.size == (20, 16)


def test_training_begins_with_an_imported_checkpoint(release, picture_root, i2i):
    assert i2i("import", "latest_net_G.pth", "in.pt")[0] == 0
    sizes = [
        *("--set", "method.generator.width=4", "--set", "method.generator.blocks=3"),
        *("--set", "method.discriminator.width=4", "--set", "method.discriminator.layers=2"),
    ]
    words = ("--preset", "src-hdce", "--data", picture_root, "--steps", 1, "--run-dir", "run")
    code, _, err = i2i("train", *words, *SHORT, *sizes, "--init-from", "in.pt")
    assert code == 0
    lines = [" ".join(line.split()) for line in err.splitlines()]
    assert lines[lines.index("network loaded fresh mismatched unused") + 1 :][:4] == [
        "discriminator 10 - - -",
        "generator 28 - - -",
        "projector - 20 - -",
        "all 38 20 - -",
    ]
    assert "the checkpoint was imported without projector: fresh here too" in lines
    trained = load_checkpoint(Path("run/checkpoints/last.pt"))
    given = torch.load("latest_net_G.pth", weights_only=True)["model.1.weight"]
    # Adam's first step moves every weight by the learning rate at the most.
    moved = (trained.weights["generator.model.1.weight"] - given).abs().max()
    assert 0 < moved <= 2e-4 + 1e-6
    assert trained.origin == {}


def test_complete_release_is_taken_whole_by_its_own_method(here, i2i):
    generator = resnet()
    for name, network in {"G": generator, "D": patchgan(), "F": projector(generator)}.items():
        save(here / f"best_net_{name}.pth", network)
    code, _, err = i2i("import", "best_net_G.pth", "--preset", "qs-attn-local")
    assert code == 0
    assert "fresh" not in err
    assert "taken for preset" not in err
    assert load_checkpoint(Path("best_net_G.i2i.pt")).config["method"]["selection"] == "local"
