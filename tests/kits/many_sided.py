"""Small methods whose translations hold more than one picture, or less."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from i2icli.config.method import MethodConfig, Task
from i2icli.data.batch import Batch
from i2icli.methods import Method, Player, Terms, Translation
from i2icli.methods.shared.configure import AnyRunConfig, run_schema
from i2icli.methods.shared.registry import METHODS, register


class _Tint(Method):
    """Scales each channel, from 1 on, and offers both directions."""

    directions = ("a2b", "b2a")

    def __init__(self, config: MethodConfig, task: Task | None = None) -> None:
        super().__init__(config, task)
        self.scale = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.scale.weight)

    @property
    def players(self) -> Mapping[str, Player]:
        return {"tint": Player((self.scale,), self.config.optimizer, self.config.schedule)}

    @property
    def translators(self) -> Mapping[str, nn.Module]:
        return {"scale": self.scale}

    def losses(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        yield "tint", {"mean": (self.translate(batch.real_a).images.mean() - 0.1).square()}

    def translate(
        self, images: Tensor, *, direction: str = "a2b", style: Tensor | None = None
    ) -> Translation:
        return Translation(images * self.scale.weight.view(()))


class StyledConfig(MethodConfig):
    """Of a method with styles."""

    name: Literal["tiny-styled"] = "tiny-styled"


class Styled(_Tint):
    """Adds a tenth of its style to the channels."""

    Config = StyledConfig

    @property
    def style_size(self) -> int:
        return 3

    def default_style(self) -> Tensor:
        return torch.zeros(3)

    def encode_style(self, images: Tensor, *, direction: str = "a2b") -> Tensor:
        return images.mean((2, 3)) * 10

    def translate(
        self, images: Tensor, *, direction: str = "a2b", style: Tensor | None = None
    ) -> Translation:
        codes = self.default_style().expand(len(images), 3) if style is None else style
        shift = codes.to(images.device)[..., None, None] / 10
        return Translation((super().translate(images).images + shift).clamp(-1, 1))


class MaskedConfig(MethodConfig):
    """Of a method with masks."""

    name: Literal["tiny-masked"] = "tiny-masked"


class Masked(_Tint):
    """Inverts what is bright."""

    Config = MaskedConfig
    mask_names = ("bright", "dark")

    def translate(
        self, images: Tensor, *, direction: str = "a2b", style: Tensor | None = None
    ) -> Translation:
        bright = (super().translate(images).images.mean(1, keepdim=True) + 1) / 2
        mixed = images * (1 - bright) - images * bright
        return Translation(mixed, masks={"bright": bright, "dark": 1 - bright})


class SegmenterConfig(MethodConfig):
    """Of a method that makes label maps."""

    name: Literal["tiny-segmenter"] = "tiny-segmenter"


class Segmenter(_Tint):
    """Sorts pixels into classes of equal width by their first channel."""

    Config = SegmenterConfig
    data = "labelled"
    directions = ("a2b",)

    def translate(
        self, images: Tensor, *, direction: str = "a2b", style: Tensor | None = None
    ) -> Translation:
        share = (super().translate(images).images[:, 0] + 1) / 2
        labels = (share * self.task.classes).long().clamp(0, self.task.classes - 1)
        colours = torch.tensor(self.task.colours).to(images.device)[labels]
        return Translation(colours.permute(0, 3, 1, 2) / 127.5 - 1, labels=labels)


@contextmanager
def many_sided() -> Iterator[None]:
    """Register these methods for a while."""
    kinds = (Styled, Masked, Segmenter)
    for kind in kinds:
        register(kind)
    try:
        yield
    finally:
        for name in [name for name, kind in METHODS.items() if kind in kinds]:
            del METHODS[name]


def configure_tiny(name: str, data: Path | None = None, **sections: object) -> AnyRunConfig:
    """Return a run's configuration of one of these methods."""
    document: dict[str, object] = {"method": {"name": name}, **sections}
    if data is not None:
        document["data"] = {"root": str(data), "resize": 20, "crop": 16}
    return run_schema().model_validate(document)


def names_in(folder: Path) -> Sequence[str]:
    """Return the files of a folder at any depth, in order."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
