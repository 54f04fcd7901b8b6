"""Smallest useful configuration of every registered method, for contract tests."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from i2icli.config.document import config_document
from i2icli.data.batch import AnyBatch, Batch, LabelledBatch
from i2icli.methods import METHODS, Method, build_method, configure_run
from i2icli.methods.shared.configure import AnyRunConfig, run_schema
from i2icli.networks.efficientnet import EfficientNetLite0, efficientnet_channels
from i2icli.networks.vgg import vgg16_channels

CLASSES = 4
# By key of a method's configuration; what a method does not have is left out.
_SMALL: dict[str, Any] = {
    "generator": {"width": 4, "blocks": 2},
    "discriminator": {"width": 4, "layers": 2},
    "init": {"kind": "xavier", "gain": 1.0},
    "nce_layers": [0, 4, 8, 12, 13],
    "num_patches": 16,
    "projection_dim": 8,
}
_POOL = {"pool_size": 3}
# The same for one method alone, where its networks are others.
_OWN: dict[str, dict[str, Any]] = {
    # Dropout draws from the global generator, which a comparison of two steps does not rewind.
    "attention-to-scale": {"backbone": "resnet18", "hidden": 8, "dropout": 0.0},
    "danet": {"backbone": "resnet18", "dropout": 0.0},
    "munit": {
        "generator": {"width": 4, "blocks": 2, "mlp_width": 8},
        "style_size": 3,
        "discriminator": {"width": 4, "layers": 2, "scales": 2},
        "init_discriminator": {"kind": "xavier", "gain": 1.0},
    },
    "sincut": {"discriminator": {"width": 1}, "nce_layers": [0, 2, 3]},
    "cyclegan": _POOL,
    "sesim": _POOL,
    "single-image-sesim": {"discriminator": {"width": 1}, **_POOL},
    "attention-guided": {
        "attention": {"width": 3},
        "discriminator": {"width": 4},
        "init_std": 0.2,
        **_POOL,
    },
}


def tiny_document(name: str, **changes: Any) -> dict[str, Any]:
    """Return the `method` section of the smallest configuration of `name`."""
    defaults = METHODS[name].Config().model_dump(mode="json")
    return {**_small(name, defaults, changes), "name": name}


def _small(name: str, whole: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    wanted = {**_SMALL, **_OWN.get(name, {}), **changes}
    return {
        key: {**whole[key], **value} if isinstance(value, dict) else value
        for key, value in wanted.items()
        if key in whole
    }


def tiny_config(name: str, **changes: Any) -> AnyRunConfig:
    """Return a whole run configuration around `tiny_document`."""
    sections: dict[str, dict[str, Any]] = {
        "data": {"resize": 36, "crop": 32},
        "labels": {"classes": CLASSES if METHODS[name].data == "labelled" else 0},
        "runtime": {"device": "cpu", "precision": "float32", "workers": 0},
    }
    for title, values in METHODS[name].Config.run_defaults.items():
        sections[title] = {**values, **sections.get(title, {})}
    return run_schema().model_validate({"method": tiny_document(name, **changes), **sections})


def tiny_preset(preset: str) -> AnyRunConfig:
    """Return the smallest configuration of a run whose steps go as those of a preset."""
    document = config_document(configure_run(preset))
    method = document["method"]
    method.update(_small(method["name"], method, {}))
    document["data"].update(resize=36, crop=32)
    if METHODS[method["name"]].data == "labelled":
        document["labels"].update(classes=CLASSES, palette="auto")
    return run_schema().model_validate(document)


def tiny_method(name: str, **changes: Any) -> Method:
    """Build the method of `tiny_config`, with small stand-ins for pretrained networks."""
    method = build_method(tiny_config(name, **changes))
    method.take_pretrained({wanted: stand_in(wanted) for wanted in method.pretrained})
    return method


def stand_in(name: str) -> nn.Module:
    """Return what stands in for the pretrained network of that name."""
    return TinyVGG() if name == "vgg16" else TinyEfficientNet()


class TinyVGG(nn.Module):
    """Stands in for `VGG16Features`: frozen random convolutions, as many channels as VGG16 has."""

    names = tuple(f"relu{block}_{layer}" for block in range(1, 6) for layer in range(1, 4))

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        widths = (3, *vgg16_channels([f"relu{block}_1" for block in range(1, 6)]))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inside, outside, 1 if block else 3, padding=0 if block else 1, bias=False)
            for block, (inside, outside) in enumerate(pairwise(widths))
        )
        for weight in self.parameters():
            gain = (2 / weight[0].numel()) ** 0.5
            weight.data = gain * torch.randn(weight.shape, generator=generator)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor, layers: Sequence[str]) -> list[Tensor]:
        """Return features of the named layers; those of one block are the same."""
        blocks, value = [], images
        for number, convolution in enumerate(self.convolutions):
            value = convolution(value).relu()
            blocks.append(value)
            if number < 3:
                value = nn.functional.max_pool2d(value, 2)
        return [blocks[int(name[4]) - 1] for name in layers]


class TinyEfficientNet(nn.Module):
    """Stands in for `EfficientNetLite0`: frozen random convolutions of its channels and strides."""

    names = EfficientNetLite0.names

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(8)
        widths = (3, *efficientnet_channels(self.names))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inside, outside, stride, stride=stride, bias=False)
            for stride, (inside, outside) in zip((4, 2, 2, 2), pairwise(widths), strict=True)
        )
        for weight in self.parameters():
            gain = (2 / weight[0].numel()) ** 0.5
            weight.data = gain * torch.randn(weight.shape, generator=generator)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor, layers: Sequence[str]) -> list[Tensor]:
        """Return features of the named layers."""
        features, value = {}, images
        for name, convolution in zip(self.names, self.convolutions, strict=True):
            value = features[name] = convolution(value).relu()
        return [features[name] for name in layers]


def batch_for(name: str, *, count: int = 2, size: int = 32, seed: int = 1) -> AnyBatch:
    """Return a batch of the kind that a method trains on."""
    batch = tiny_batch(count, size, seed)
    if METHODS[name].data != "labelled":
        return batch
    labels = (batch.real_a.mean(dim=1) * 2 + 2).clamp(0, CLASSES - 1).long()
    labels[:, :4, :4] = 255
    return LabelledBatch(batch.real_a, labels)


def tiny_batch(count: int = 2, size: int = 32, seed: int = 1) -> Batch:
    """Return smooth pictures of two different domains, (count, 3, size, size)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((2, count, 3, 8, 8), generator=generator) * 2 - 1
    real_a, real_b = (
        torch.nn.functional.interpolate(part, size=(size, size), mode="bilinear") for part in coarse
    )
    return Batch(real_a, real_b.flip(1) * 0.8)


__all__ = [
    "CLASSES",
    "TinyEfficientNet",
    "TinyVGG",
    "batch_for",
    "stand_in",
    "tiny_batch",
    "tiny_config",
    "tiny_document",
    "tiny_method",
    "tiny_preset",
]
