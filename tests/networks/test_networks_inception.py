"""The Inception of the FID: clean-fid's network, of either file's names."""

import warnings
from dataclasses import replace

import pytest
import torch

from i2icli.networks.inception import FidInception, tensorflow_names
from i2icli.pretrained import inception as module
from i2icli.pretrained.inception import load_inception
from i2icli.pretrained.weight_files import digest, expected_shapes
from i2icli.pretrained.weights import WEIGHTS, FoundWeights


@pytest.fixture(scope="module")
def ours():
    torch.manual_seed(0)
    network = FidInception().eval().requires_grad_(False)
    for name, value in network.state_dict().items():
        if name.endswith(("bn.bias", "running_mean")):
            value.normal_(0, 0.1)
        elif name.endswith("running_var"):
            value.uniform_(0.2, 1)
    return network


def renamed(network):
    """Return the weights as NVIDIA's file has them."""
    state, found = network.state_dict(), {}
    for name, theirs in tensorflow_names().items():
        found[f"layers.{theirs}.weight"] = state[f"{name}.conv.weight"]
        found[f"layers.{theirs}.beta"] = state[f"{name}.bn.bias"]
        found[f"layers.{theirs}.mean"] = state[f"{name}.bn.running_mean"]
        found[f"layers.{theirs}.var"] = state[f"{name}.bn.running_var"]
    return found


def test_features_are_those_of_the_network_that_clean_fid_builds(ours, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from cleanfid import inception_pytorch

        classifier = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
        state = {**ours.state_dict(), **classifier}
        monkeypatch.setattr(inception_pytorch, "load_state_dict_from_url", lambda *_, **__: state)
        theirs = inception_pytorch.InceptionV3(output_blocks=[3], resize_input=False).eval()
    torch.manual_seed(1)
    images = torch.rand(1, 3, 299, 299)
    with torch.inference_mode():
        expected = theirs(images)[0].flatten(1)
        found = ours(2 * images - 1)
    assert found.shape == (1, 2048)
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_weights_under_the_names_of_tensorflow_give_the_same_network(ours):
    tensors = renamed(ours)
    assert len(tensors) == 4 * 94
    assert tensors["layers.mixed_10.tower_1_mixed_conv_1.weight"].shape == (384, 384, 3, 1)
    network = FidInception()
    network.load_tensorflow(tensors)
    expected = ours.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())


def test_a_weight_that_is_missing_is_named(ours):
    tensors = renamed(ours)
    del tensors["layers.mixed.tower.conv_1.beta"]
    with pytest.raises(KeyError, match=r"layers\.mixed\.tower\.conv_1\.beta"):
        FidInception().load_tensorflow(tensors)


def test_tensors_are_read_from_the_file_once_and_kept_checked(ours, tmp_path, monkeypatch):
    tensors, reads = renamed(ours), []
    known = replace(WEIGHTS["inception"], digest=digest(tensors))
    monkeypatch.setattr(module, "WEIGHTS", {"inception": known})
    monkeypatch.setattr(module, "read_checked", lambda found: reads.append(found) or tensors)
    monkeypatch.setenv("I2I_HOME", str(tmp_path))
    found = FoundWeights("inception", tmp_path / "published.pt", "5" * 64)
    expected = ours.state_dict()["Mixed_7c.branch_pool.conv.weight"]

    def load():
        return load_inception(found).state_dict()["Mixed_7c.branch_pool.conv.weight"]

    for _ in range(2):
        assert torch.equal(load(), expected)
    assert reads == [found]
    kept = tmp_path / "cache" / "weights" / f"{'5' * 64}.safetensors"
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 64  # the file is as long, and well formed
    kept.write_bytes(content)
    assert torch.equal(load(), expected)
    assert reads == [found, found]
    assert torch.equal(load(), expected)
    assert reads == [found, found]


def test_expected_tensors_are_those_of_torchvision_without_the_classifier():
    from torchvision.models import inception_v3

    with torch.device("meta"):
        theirs = inception_v3(weights=None, aux_logits=False, init_weights=False).state_dict()
    assert expected_shapes("inception-pytorch") == {
        name: tuple(value.shape)
        for name, value in theirs.items()
        if not name.startswith("fc.") and not name.endswith("num_batches_tracked")
    }
