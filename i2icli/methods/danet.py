"""DANet: segmentation by attention over places and over channels (Fu et al., CVPR 2019).

https://arxiv.org/abs/1809.02983. No translation of appearance: from labelled pictures it learns
the class of every pixel. Trained so, it can judge label-to-photo translation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from i2icli.config.method import MethodConfig, SGDConfig, Task
from i2icli.config.schedule import PolySchedule, Schedule
from i2icli.data.batch import LabelledBatch
from i2icli.losses.segmentation import label_loss
from i2icli.methods.base import Method, Player, Terms, Translation
from i2icli.methods.registry import register
from i2icli.methods.segmenting import (
    SEGMENTATION_DEFAULTS,
    check_crop,
    check_segmented_channels,
    draw_labels,
    load_backbone,
    needed_classes,
)
from i2icli.methods.views import AnyView, ChannelView, PositionView
from i2icli.networks.danet import DANetHead, DANetScores, enlarge
from i2icli.networks.dilated_resnet import DilatedResnet, ResnetName
from i2icli.networks.dual_attention import ChannelForm

_SHOWN_CHANNELS = 4  # of each kind


class DANetConfig(MethodConfig):
    """Hyperparameters of DANet (Fu et al., CVPR 2019)."""

    run_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = SEGMENTATION_DEFAULTS

    name: Literal["danet"] = "danet"
    # The released code's rate is 0.004 for 16 pictures a step; this is for the 8 of the paper.
    optimizer: SGDConfig = Field(  # type: ignore[assignment]
        SGDConfig(lr=0.002), description="Optimizer; the rate is that of the backbone."
    )
    schedule: Schedule = Field(
        PolySchedule(), description="Learning rate over the steps; 240 epochs."
    )
    backbone: ResnetName = Field("resnet101", description="Network that makes the features.")
    backbone_weights: str = Field(
        "none",
        description="Weights the backbone starts from: none, imagenet (see `i2i weights`), or a "
        "file of torchvision's weights. The paper starts from ImageNet.",
    )
    multi_grid: bool = Field(
        True, description="Dilations 4, 8, 16 in the blocks of the last stage, else 2, 4, 4."
    )
    head_rate: float = Field(
        10.0, gt=0, description="Learning rate of the head, times that of the backbone."
    )
    dropout: float = Field(
        0.1, ge=0, lt=1, description="Share of channels dropped before the scores."
    )
    channel_attention: ChannelForm = Field(
        "released",
        description="released: channels gather from unlike ones, as the code does; paper: from "
        "like ones, as the equation says.",
    )
    lambda_position: float = Field(
        1.0, ge=0, description="Weight of the loss of position attention alone."
    )
    lambda_channel: float = Field(
        1.0, ge=0, description="Weight of the loss of channel attention alone."
    )

    def check_channels(self, channels_a: int, channels_b: int) -> None:
        """Refuse grey drawings: label maps are drawn in colours."""
        check_segmented_channels(self.name, channels_a, channels_b)


@register
class DANet(Method):
    """Scores from both attentions together and from each alone; all three are trained."""

    Config = DANetConfig
    data = "labelled"
    size_multiple = 8

    def __init__(self, config: DANetConfig, task: Task | None = None) -> None:
        super().__init__(config, task)
        self.config = config
        check_crop(self.task)
        grid = (4, 8, 16) if config.multi_grid else ()
        self.backbone = DilatedResnet(config.backbone, multi_grid=grid)
        self.head = DANetHead(
            self.backbone.channels,
            needed_classes(self.task),
            dropout=config.dropout,
            form=config.channel_attention,
        )

    @property
    def players(self) -> Mapping[str, Player]:
        """One: the backbone, and the head at ten times its rate."""
        config = self.config
        modules, rates = (self.backbone, self.head), (1.0, config.head_rate)
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
        """Fill the backbone."""
        load_backbone(self.backbone, self.starts_from, weights)

    def losses(self, batch: LabelledBatch) -> Iterator[tuple[str, Terms]]:
        """Yield the cross-entropies of the fused scores and of each attention's."""
        config, size = self.config, (batch.labels.shape[1], batch.labels.shape[2])
        scores = DANetScores(*(enlarge(part, size) for part in self._score(batch.images)))
        ignore = self.task.ignore
        terms = {"fused": label_loss(scores.fused, batch.labels, ignore=ignore)}
        terms["position"] = config.lambda_position * label_loss(
            scores.position, batch.labels, ignore=ignore
        )
        terms["channel"] = config.lambda_channel * label_loss(
            scores.channel, batch.labels, ignore=ignore
        )
        yield "segmenter", terms

    def translate(
        self,
        images: Tensor,
        *,
        direction: str = "a2b",
        style: Tensor | None = None,  # noqa: ARG002 - one label map a picture
    ) -> Translation:
        """Return the label maps of pictures, and drawings of them in colours."""
        assert direction in self.directions, direction
        scores = enlarge(self._score(images).fused, (images.shape[2], images.shape[3]))
        return draw_labels(scores, self.task.colours)

    @torch.no_grad()
    def views(self, images: Tensor, *, direction: str = "a2b") -> list[list[AnyView]]:
        """Show what places gather, and what channels do."""
        assert direction in self.directions, direction
        head, features = self.head, self.backbone(images)
        by_place, by_channel = head.conv5a(features), head.conv5c(features)
        queries, keys = head.sa.queries_and_keys(by_place)
        weights = head.sc.weights(by_channel)
        return [
            [
                PositionView("position", _kept(queries[i]), _kept(keys[i])),
                _channel_view(weights[i], by_channel[i]),
            ]
            for i in range(len(images))
        ]

    def _score(self, images: Tensor) -> DANetScores:
        """Return the three scores at an eighth of the pictures' sides."""
        scores: DANetScores = self.head(self.backbone(images))
        return scores


def _channel_view(weights: Tensor, responses: Tensor) -> ChannelView:
    """Show the channels that differ most over the picture, and those most gathered from."""
    spread, given = responses.float().flatten(1).std(dim=1), weights.sum(dim=0)
    count = min(_SHOWN_CHANNELS, len(spread))
    chosen = [spread.topk(count).indices, given.topk(count).indices]
    shown = sorted({int(number) for indices in chosen for number in indices})
    return ChannelView("channel", _kept(weights), _kept(responses[shown]), tuple(shown))


def _kept(tensor: Tensor) -> Tensor:
    return tensor.detach().float().cpu()
