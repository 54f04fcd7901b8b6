"""Attention to Scale: segmentation at several sizes, merged per pixel (Chen et al., CVPR 2016).

https://arxiv.org/abs/1511.03339. One network looks at the picture at several sizes; a second,
small one says at every pixel how much each size counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from i2icli.data.batch import LabelledBatch
from i2icli.losses.segmentation import label_loss
from i2icli.methods.shared import (
    AnyView,
    ScaleView,
    Segmenter,
    SegmenterConfig,
    Task,
    Terms,
    check_crop,
    labelled_pixels,
    needed_classes,
    register,
)
from i2icli.networks.attention_to_scale import (
    ScaleAttentionHead,
    ScaleClassifier,
    ScaleScores,
    resize_to_scale,
)
from i2icli.networks.danet import enlarge
from i2icli.networks.dilated_resnet import DilatedResnet
from i2icli.system.device import widen


class AttentionToScaleConfig(SegmenterConfig):
    """Hyperparameters of Attention to Scale (Chen et al., CVPR 2016)."""

    name: Literal["attention-to-scale"] = "attention-to-scale"
    scales: tuple[float, ...] = Field(
        (1.0, 0.75, 0.5), description="Sizes of the picture that are looked at, the first 1."
    )
    hidden: int = Field(512, ge=1, le=65536, description="Channels of the attention's first layer.")
    dropout: float = Field(
        0.5, ge=0, lt=1, description="Share of activations dropped before the last layers."
    )
    lambda_scales: float = Field(
        1.0, ge=0, description="Weight of each scale's own loss (extra supervision); 0: none."
    )
    scale_classifier: Literal["off", "on"] = Field(
        "off",
        description="on: also train a classifier that tells from features which scale they are "
        "of; not in the paper.",
    )
    lambda_classifier: float = Field(1.0, gt=0, description="Weight of that classifier's loss.")

    @field_validator("scales")
    @classmethod
    def _are_scales(cls, scales: tuple[float, ...]) -> tuple[float, ...]:
        is_falling = list(scales) == sorted(set(scales), reverse=True)
        if not scales or scales[0] != 1.0 or not is_falling or scales[-1] < 0.25:
            raise ValueError("must begin with 1 and fall, none below 0.25, for example [1.0, 0.5]")
        return scales


@register
class AttentionToScale(Segmenter):
    """Scores of every scale, merged by attention; the merged and each scale's are trained."""

    Config = AttentionToScaleConfig
    config: AttentionToScaleConfig
    head: ScaleAttentionHead
    min_size = 64

    def __init__(self, config: AttentionToScaleConfig, task: Task | None = None) -> None:
        super().__init__(config, task)
        check_crop(self.task, smallest_scale=config.scales[-1])
        self.backbone = DilatedResnet(config.backbone)
        channels, count = self.backbone.channels, len(config.scales)
        classes = needed_classes(self.task)
        self.head = ScaleAttentionHead(
            channels, classes, count, hidden=config.hidden, dropout=config.dropout
        )
        is_on = config.scale_classifier == "on"
        self.scale_classifier = ScaleClassifier(self.head.channels, count) if is_on else None

    @property
    def heads(self) -> tuple[nn.Module, ...]:
        """The head, and the classifier of scales where it is on."""
        return tuple(head for head in (self.head, self.scale_classifier) if head is not None)

    def losses(self, batch: LabelledBatch) -> Iterator[tuple[str, Terms]]:
        """Yield the cross-entropy of the merged scores, and of each scale's (sec. 4.2)."""
        config, labels = self.config, batch.labels
        size, ignore = (labels.shape[1], labels.shape[2]), self.task.ignore
        scores = self._score(batch.images)
        count = labelled_pixels(labels, ignore=ignore, ranks=self.ranks)
        # The merged scores, and by extra supervision those of every scale, at the labels' size.
        merged = enlarge(scores.merged, size)
        terms = {"merged": label_loss(merged, labels, ignore=ignore, count=count)}
        if config.lambda_scales > 0:
            for scale, part in zip(config.scales, scores.by_scale, strict=True):
                loss = label_loss(enlarge(part, size), labels, ignore=ignore, count=count)
                terms[f"scale_{scale:g}"] = config.lambda_scales * loss
        if self.scale_classifier is not None:
            terms["scale_classifier"] = config.lambda_classifier * self._tell_scales(scores)
        yield "segmenter", terms

    def decide(self, images: Tensor) -> Tensor:
        """Return the merged scores."""
        return self._score(images).merged

    @torch.no_grad()
    def views(self, images: Tensor, *, direction: str = "a2b") -> list[list[AnyView]]:
        """Show how much each scale counts at each place."""
        assert direction in self.directions, direction
        weights = self._score(images).weights.float().cpu()
        return [[ScaleView("scales", self.config.scales, each)] for each in weights]

    def _score(self, images: Tensor) -> ScaleScores:
        # at an eighth of each scale's sides
        features = [self.backbone(resize_to_scale(images, scale)) for scale in self.config.scales]
        scores: ScaleScores = self.head(features)
        return scores

    def _tell_scales(self, scores: ScaleScores) -> Tensor:
        """Return the cross-entropy of telling merged features and those of each scale apart."""
        assert self.scale_classifier is not None, "asked for only where it is on"
        # It is no adversary: backbone and classifier both lower this loss.
        kinds = [scores.merged_features(), *scores.features]
        answers = torch.cat([self.scale_classifier(kind) for kind in kinds])
        count = len(answers) // len(kinds)
        truth = torch.arange(len(kinds), device=answers.device).repeat_interleave(count)
        return F.cross_entropy(widen(answers), truth)
