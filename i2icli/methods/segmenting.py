"""What the methods that segment have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from i2icli.config.method import Task
from i2icli.methods.base import Translation
from i2icli.networks.dilated_resnet import DilatedResnet

# As DANet's trainer prepares Cityscapes: the longer side at 0.5 to 2 times 2048, crops of 768.
SEGMENTATION_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "data": {
        "preprocess": "random-scale-and-crop",
        "resize": 2048,
        "crop": 768,
        "interpolation": "bilinear",
        "batch_size": 8,
    }
}


def needed_classes(task: Task) -> int:
    """Return the number of classes.

    Raises:
        ValueError: it is not known.
    """
    if task.classes < 1:
        raise ValueError(
            "labels.classes is 0, to be counted in the training maps when a run begins; without "
            "a run, set it"
        )
    return task.classes


def check_crop(task: Task, *, smallest_scale: float = 1.0) -> None:
    """Refuse crops that leave batch norm a single number a channel, which has no spread.

    Raises:
        ValueError: saying how large crops must be.
    """
    least = round(16 / smallest_scale)
    if task.crop < least:
        raise ValueError(
            f"data.crop is {task.crop}, and these networks halve pictures three times: crops need "
            f"{least} pixels or more"
        )


def check_segmented_channels(name: str, _channels_a: int, channels_b: int) -> None:
    """Refuse grey drawings: label maps are drawn in colours.

    Raises:
        ValueError: `channels_b` is not 3.
    """
    if channels_b != 3:
        raise ValueError(
            f"method {name!r} needs data.channels_b == 3, got {channels_b}: it draws label maps "
            "in colours"
        )


def draw_labels(scores: Tensor, colours: Sequence[tuple[int, int, int]]) -> Translation:
    """Return the label maps of the highest scores, and drawings of them.

    Args:
        scores: class scores, (B, K, H, W); of equal ones the first class counts.
        colours: a colour (R, G, B), 0 to 255, a class.

    Returns:
        With `labels` (B, H, W) and `images` (B, 3, H, W) in [-1, 1].
    """
    labels = scores.argmax(dim=1)
    table = torch.tensor(colours, dtype=torch.float32).to(labels.device)
    drawn = (table / 127.5 - 1.0)[labels]  # (B, H, W, 3)
    return Translation(drawn.permute(0, 3, 1, 2).contiguous(), labels)


def load_backbone(
    backbone: DilatedResnet,
    names: Sequence[str],
    weights: Mapping[str, Mapping[str, Tensor]],
) -> None:
    """Fill a backbone with the weights of that name.

    Raises:
        ValueError: if they are those of another network.
    """
    for name in names:
        try:
            backbone.load_torchvision(weights[name])
        except ValueError as error:
            raise ValueError(f"the weights {name} do not fit this backbone: {error}") from error
