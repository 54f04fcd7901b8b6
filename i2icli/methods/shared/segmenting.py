"""Configuration, networks and losses that the methods that segment share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from i2icli.config.method import MethodConfig, SGDConfig, Task
from i2icli.config.schedule import PolySchedule, Schedule
from i2icli.methods.shared.base import Method, Player, Translation
from i2icli.networks.danet import enlarge
from i2icli.networks.dilated_resnet import DilatedResnet, ResnetName
from i2icli.system.ranks import Ranks

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


class SegmenterConfig(MethodConfig):
    """Hyperparameters of a backbone with a head for labels; a subclass adds its name and head."""

    run_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = SEGMENTATION_DEFAULTS

    # The released code's rate is 0.004 for 16 pictures a step; this is for the 8 of the paper.
    optimizer: SGDConfig = Field(  # type: ignore[assignment]
        SGDConfig(lr=0.002), description="Optimizer; the rate is that of the backbone."
    )
    schedule: Schedule = Field(PolySchedule(), description="Learning rate over steps; 240 epochs.")
    backbone: ResnetName = Field("resnet101", description="Network that makes the features.")
    backbone_weights: str = Field(
        "none",
        description="Weights the backbone starts from: none, imagenet (see `i2i weights`), or a "
        "file of torchvision's weights. The papers start from ImageNet.",
    )
    head_rate: float = Field(
        10.0, gt=0, description="Learning rate of the head, times that of the backbone."
    )

    def check_channels(self, channels_a: int, channels_b: int) -> None:  # noqa: ARG002
        """Refuse grey drawings: label maps are drawn in colours."""
        if channels_b != 3:
            raise ValueError(
                f"a method that segments needs data.channels_b == 3, got {channels_b}: it draws "
                "label maps in colours"
            )


class Segmenter(Method):
    """A backbone and a head, updated together; a subclass builds both and says what is trained.

    Attributes:
        backbone: makes features at an eighth of the pictures' sides.
        head: makes class scores of them.
    """

    data = "labelled"
    size_multiple = 8
    config: SegmenterConfig
    backbone: DilatedResnet
    head: nn.Module

    @property
    def heads(self) -> tuple[nn.Module, ...]:
        """What is trained at the head's rate."""
        return (self.head,)

    @property
    def players(self) -> Mapping[str, Player]:
        """One: the backbone, and the heads at their own rate."""
        config, heads = self.config, self.heads
        rates = (1.0, *(config.head_rate for _ in heads))
        modules = (self.backbone, *heads)
        return {"segmenter": Player(modules, config.optimizer, config.schedule, rates)}

    @property
    def translators(self) -> Mapping[str, nn.Module]:
        """Backbone and head."""
        return {"backbone": self.backbone, "head": self.head}

    @property
    def starts_from(self) -> tuple[str, ...]:
        """The weights of the backbone, where some are configured."""
        chosen = self.config.backbone_weights
        if chosen == "none":
            return ()
        return (self.config.backbone if chosen == "imagenet" else chosen,)

    def start_from(self, weights: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Fill the backbone.

        Raises:
            ValueError: if the weights are those of another network.
        """
        for name in self.starts_from:
            try:
                self.backbone.load_torchvision(weights[name])
            except ValueError as error:
                raise ValueError(f"the weights {name} do not fit this backbone: {error}") from error

    @abstractmethod
    def decide(self, images: Tensor) -> Tensor:
        """Return the class scores that decide, (B, K, H / 8, W / 8), of pictures (B, C, H, W)."""

    def translate(
        self,
        images: Tensor,
        *,
        direction: str = "a2b",
        style: Tensor | None = None,  # noqa: ARG002 - one label map a picture
    ) -> Translation:
        """Return the label maps of pictures, and drawings of them in colours."""
        assert direction in self.directions, direction
        scores = enlarge(self.decide(images), (images.shape[2], images.shape[3]))
        return draw_labels(scores, self.task.colours)


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


def labelled_pixels(labels: Tensor, *, ignore: int, ranks: Ranks) -> Tensor:
    """Return the divisor of the loss on the labelled pixels of (B, H, W) maps, a scalar from 1 on.

    Where several processes share the batch it is their mean, so that the mean of their losses is
    the loss of the whole batch, however the labels are spread.
    """
    labelled = (labels != ignore).sum()
    if ranks.world == 1:
        return labelled.clamp(min=1)
    return ranks.add_up(labelled.double()).clamp(min=1) / ranks.world


def draw_labels(scores: Tensor, colours: Sequence[tuple[int, int, int]]) -> Translation:
    """Return the label maps of the highest scores, (B, K, H, W), and drawings of them.

    Of equal scores the first class counts; a colour is (R, G, B), 0 to 255, a class.
    """
    labels = scores.argmax(dim=1)
    table = torch.tensor(colours, dtype=torch.float32).to(labels.device)
    drawn = (table / 127.5 - 1.0)[labels]  # (B, H, W, 3)
    return Translation(drawn.permute(0, 3, 1, 2).contiguous(), labels)
