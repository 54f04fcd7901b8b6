import pytest
import torch
from torchvision.models import resnet18, resnet50

from i2icli.networks.attention_to_scale import ScaleAttentionHead, resize_to_scale
from i2icli.networks.danet import DANetHead, enlarge
from i2icli.networks.dilated_resnet import RESNETS, DilatedResnet


def spread(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def line(side, size):
    """Return the matrix that interpolates `side` numbers to `size`, corner on corner."""
    weights = torch.zeros(size, side, dtype=torch.float64)
    for place in range(size):
        at = place * (side - 1) / (size - 1) if size > 1 else 0.0
        low = min(int(at), side - 1)
        weights[place, low] += 1 - (at - low)
        if low + 1 < side:
            weights[place, low + 1] += at - low
    return weights


def interpolated(maps, size):
    rows, columns = line(maps.shape[2], size[0]), line(maps.shape[3], size[1])
    return torch.einsum("hi,bcij,wj->bchw", rows, maps, columns)


def convolved(maps, weight, bias):
    """Convolve by a sum over shifts, zeros around."""
    reach = weight.shape[2] // 2
    padded = torch.nn.functional.pad(maps, (reach,) * 4)
    height, width = maps.shape[2:]
    total = bias.view(1, -1, 1, 1).expand(len(maps), -1, height, width).clone()
    for row in range(weight.shape[2]):
        for column in range(weight.shape[3]):
            shifted = padded[:, :, row : row + height, column : column + width]
            total += torch.einsum("oc,bchw->bohw", weight[:, :, row, column], shifted)
    return total


def test_enlarging_is_bilinear_corner_on_corner():
    maps = spread(2, 3, 4, 5)
    torch.testing.assert_close(enlarge(maps, (9, 13)), interpolated(maps, (9, 13)))


def test_scales_are_merged_by_softmax_over_the_attention():
    head = ScaleAttentionHead(16, 3, 3, hidden=6).double().eval()
    given = [spread(2, 16, 6, 8), spread(2, 16, 5, 6, seed=1), spread(2, 16, 3, 4, seed=2)]
    norm = head.neck[1]
    torch.nn.init.uniform_(norm.running_mean)
    torch.nn.init.uniform_(norm.running_var, 0.5, 1.5)
    scores = head(given)
    shift, spread_of = norm.running_mean.view(-1, 1, 1), norm.running_var.view(-1, 1, 1)
    nothing = torch.zeros(4, dtype=torch.float64)
    features = [
        (
            (convolved(part, head.neck[0].weight, nothing) - shift) / (spread_of + norm.eps).sqrt()
        ).clamp(min=0)
        for part in given
    ]
    score_map, (first, last) = head.classifier[1], (head.attention[0], head.attention[3])
    aligned = [interpolated(part, (6, 8)) for part in features]
    hidden = convolved(torch.cat(aligned, dim=1), first.weight, first.bias).clamp(min=0)
    raised = torch.exp(convolved(hidden, last.weight, last.bias))
    weights = raised / raised.sum(dim=1, keepdim=True)
    by_scale = [convolved(part, score_map.weight, score_map.bias) for part in features]
    merged = sum(
        weights[:, [number]] * interpolated(part, (6, 8)) for number, part in enumerate(by_scale)
    )
    torch.testing.assert_close(scores.weights, weights)
    torch.testing.assert_close(scores.merged, merged)
    for ours, expected in zip(scores.by_scale, by_scale, strict=True):
        torch.testing.assert_close(ours, expected)
    together = sum(weights[:, [number]] * part for number, part in enumerate(aligned))
    torch.testing.assert_close(scores.merged_features(), together)


def test_pictures_are_scaled_to_rounded_sides():
    images = torch.rand(1, 3, 40, 50)
    assert resize_to_scale(images, 1.0) is images
    assert resize_to_scale(images, 0.75).shape == (1, 3, 30, 38)
    assert resize_to_scale(torch.rand(1, 3, 1, 1), 0.25).shape == (1, 3, 1, 1)


def test_each_score_of_danet_comes_from_its_own_attention():
    head = DANetHead(16, 3).eval()
    for attention in (head.sa, head.sc):
        torch.nn.init.constant_(attention.gamma, 0.5)
    features = torch.rand(2, 16, 5, 6)

    def reached(part):
        head.zero_grad()
        getattr(head(features), part).sum().backward()
        return {
            name.split(".")[0]
            for name, weight in head.named_parameters()
            if weight.grad is not None and bool(weight.grad.abs().sum() > 0)
        }

    assert reached("position") == {"conv5a", "sa", "conv51", "conv6"}
    assert reached("channel") == {"conv5c", "sc", "conv52", "conv7"}
    both = {"conv5a", "sa", "conv51", "conv5c", "sc", "conv52"}
    assert reached("fused") == {*both, "conv8"}


def test_backbone_is_torchvisions_with_strides_turned_into_dilation():
    ours = DilatedResnet("resnet50").eval()
    theirs = resnet50(weights=None, replace_stride_with_dilation=[False, True, True]).eval()
    theirs.load_state_dict(ours.state_dict(), strict=False)
    images = torch.rand(1, 3, 40, 48) * 2 - 1
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    value = ((images + 1) / 2 - mean) / std
    for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
        value = getattr(theirs, name)(value)
    with torch.no_grad():
        # Close: the pictures are scaled by other operations than here.
        torch.testing.assert_close(ours(images), value.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "resnet101"])
def test_multi_grid_sets_the_dilations_of_the_last_stage(name):
    assert name in RESNETS
    network = DilatedResnet(name, multi_grid=(4, 8, 16))
    kernels = [
        {layer.dilation for layer in block.modules() if getattr(layer, "kernel_size", 0) == (3, 3)}
        for block in network.layer4
    ]
    assert kernels == [{(4, 4)}, {(8, 8)}, {(16, 16)}][: len(kernels)]
    with torch.no_grad():
        assert network.eval()(torch.rand(1, 3, 24, 17)).shape == (1, network.channels, 3, 3)


def test_grey_pictures_are_repeated():
    network = DilatedResnet("resnet18").eval()
    grey = torch.rand(1, 1, 16, 16)
    with torch.no_grad():
        # Close: one of the two is not contiguous, and other kernels may take it.
        torch.testing.assert_close(network(grey), network(grey.repeat(1, 3, 1, 1)))


def test_weights_of_torchvision_are_taken_and_others_refused():
    network = DilatedResnet("resnet18")
    published = resnet18(weights=None).state_dict()
    network.load_torchvision(published)
    assert torch.equal(network.layer4[1].conv2.weight, published["layer4.1.conv2.weight"])
    without_counts = {k: v for k, v in published.items() if not k.endswith("tracked")}
    network.load_torchvision(without_counts)
    with pytest.raises(ValueError, match="they lack layer4"):
        network.load_torchvision({k: v for k, v in published.items() if "layer4" not in k})
    with pytest.raises(ValueError, match="lack layer1.0.conv3.weight|instead of"):
        DilatedResnet("resnet50").load_torchvision(published)
