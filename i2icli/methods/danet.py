"""DANet: segmentation by attention over places and over channels (Fu et al., CVPR 2019).

https://arxiv.org/abs/1809.02983. No translation of appearance: from labelled pictures it learns
the class of every pixel. Trained so, it can score label-to-photo translation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from i2icli.data.batch import LabelledBatch
from i2icli.losses.segmentation import label_loss
from i2icli.methods.shared import (
    AnyView,
    ChannelView,
    PositionView,
    Segmenter,
    SegmenterConfig,
    Task,
    Terms,
    check_crop,
    labelled_pixels,
    needed_classes,
    register,
)
from i2icli.networks.danet import DANetHead, DANetScores, enlarge
from i2icli.networks.dilated_resnet import DilatedResnet
from i2icli.networks.dual_attention import ChannelForm

_SHOWN_CHANNELS = 4  # of each kind


class DANetConfig(SegmenterConfig):
    """Hyperparameters of DANet (Fu et al., CVPR 2019)."""

    name: Literal["danet"] = "danet"
    multi_grid: bool = Field(
        True, description="Dilations 4, 8, 16 in the blocks of the last stage, else 2, 4, 4."
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="Share of channels dropped before scores.")
    channel_attention: ChannelForm = Field(
        "released",
        description="released: channels gather from unlike ones, as the code does; paper: from "
        "like ones, as the equation says.",
    )
    lambda_position: float = Field(
        1.0, ge=0, description="Weight of position attention's own loss."
    )
    lambda_channel: float = Field(1.0, ge=0, description="Weight of channel attention's own loss.")


@register
class DANet(Segmenter):
    """Scores from both attentions together and from each alone; all three are trained."""

    Config = DANetConfig
    config: DANetConfig
    head: DANetHead

    def __init__(self, config: DANetConfig, task: Task | None = None) -> None:
        super().__init__(config, task)
        check_crop(self.task)
        grid = (4, 8, 16) if config.multi_grid else ()
        self.backbone = DilatedResnet(config.backbone, multi_grid=grid)
        self.head = DANetHead(
            self.backbone.channels,
            needed_classes(self.task),
            dropout=config.dropout,
            form=config.channel_attention,
        )

    def losses(self, batch: LabelledBatch) -> Iterator[tuple[str, Terms]]:
        """Yield the cross-entropies of the fused scores and of each attention's."""
        config, size = self.config, (batch.labels.shape[1], batch.labels.shape[2])
        scores = DANetScores(*(enlarge(part, size) for part in self._score(batch.images)))
        ignore = self.task.ignore
        count = labelled_pixels(batch.labels, ignore=ignore, ranks=self.ranks)
        # As trained originally: three cross-entropies, by default of equal weight.
        fused, position, channel = (
            label_loss(part, batch.labels, ignore=ignore, count=count)
            for part in (scores.fused, scores.position, scores.channel)
        )
        yield (
            "segmenter",
            {
                "fused": fused,
                "position": config.lambda_position * position,
                "channel": config.lambda_channel * channel,
            },
        )

    def decide(self, images: Tensor) -> Tensor:
        """Return the fused scores."""
        return self._score(images).fused

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
        scores: DANetScores = self.head(self.backbone(images))  # at an eighth of the sides
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
