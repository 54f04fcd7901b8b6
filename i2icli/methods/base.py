"""The contract between a method and everything else.

A method is networks plus one `losses(batch)` generator. It yields `(player, {term: scalar})` in
the order the paper updates its players; the engine steps that player, and the generator goes on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from i2icli.config.method import AdamConfig, MethodConfig
from i2icli.config.schedule import Schedule
from i2icli.data.batch import Batch
from i2icli.methods.draws import Draws
from i2icli.methods.views import View

Terms = dict[str, Tensor]
DatasetKind = Literal["unpaired", "paired", "labelled", "single"]


@dataclass(frozen=True)
class Player:
    """A set of modules that one optimizer updates."""

    modules: tuple[nn.Module, ...]
    optimizer: AdamConfig
    schedule: Schedule

    def trainable(self) -> list[nn.Parameter]:
        """Return the weights to update, frozen ones left out."""
        return [p for module in self.modules for p in module.parameters() if p.requires_grad]


@dataclass(frozen=True)
class Translation:
    """What a method makes of a batch of pictures.

    Attributes:
        images: translated pictures, (B, C, H, W) in [-1, 1].
        extras: further maps a picture by name, for example attention masks, (B, 1, H, W) in [0, 1].
    """

    images: Tensor
    extras: Mapping[str, Tensor] = field(default_factory=dict)


class Method(nn.Module, ABC):
    """Base of all methods.

    A method never calls backward, never touches an optimizer, a device, a file or a logger, and
    never yields inside a `with`.

    Attributes:
        Config: the method's configuration class; its `name` literal is the method's name.
        data: the kind of data set it trains on.
        pretrained: names of the weights it needs.
        directions: directions it translates in.
        size_multiple: sides of a picture must be a multiple of this, pixels.
        min_size: the smallest side that its networks accept, pixels.
    """

    Config: ClassVar[type[MethodConfig]]
    data: ClassVar[DatasetKind] = "unpaired"
    pretrained: ClassVar[tuple[str, ...]] = ()
    directions: ClassVar[tuple[str, ...]] = ("a2b",)
    size_multiple: ClassVar[int] = 4
    min_size: ClassVar[int] = 16

    def __init__(self, config: MethodConfig, *, channels_a: int = 3, channels_b: int = 3) -> None:
        """Build the networks with fresh weights from torch's global random state.

        Args:
            config: the method's own configuration, of type `Config`.
            channels_a: channels of domain A.
            channels_b: channels of domain B.
        """
        super().__init__()
        config.check_channels(channels_a, channels_b)
        self.channels = {"a": channels_a, "b": channels_b}
        self.draws = Draws()

    @property
    @abstractmethod
    def players(self) -> Mapping[str, Player]:
        """The players in the order they are first updated; every trainable weight has one."""

    @abstractmethod
    def losses(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        """Yield the weighted terms of one player after the other.

        The player's loss is the sum of its terms. When the generator goes on after a yield, that
        player has been updated.
        """

    @abstractmethod
    def translate(self, images: Tensor, *, direction: str = "a2b") -> Translation:
        """Translate pictures, (B, C, H, W) in [-1, 1], sides a multiple of `size_multiple`."""

    def views(self, images: Tensor, *, direction: str = "a2b") -> list[list[View]]:  # noqa: ARG002
        """Return what `viz-attention` draws of each picture; nothing unless a method says so.

        Args:
            images: pictures, (B, C, H, W) in [-1, 1], sides a multiple of `size_multiple`.
            direction: one of `directions`.

        Returns:
            For each picture its views, one a layer, ascending; without gradient, on the CPU.
        """
        return [[] for _ in images]

    @property
    @abstractmethod
    def translators(self) -> Mapping[str, nn.Module]:
        """The modules that `translate` uses; the moving average follows these."""

    def start_epoch(self, epoch: int) -> None:
        """Enter `epoch`, counted from 1: the place for stages. Called again on resume."""

    def memory(self) -> dict[str, Any]:
        """Return all state that is not weights: choices and pools; plain types and tensors."""
        return {"draws": self.draws.state()}

    def load_memory(self, memory: Mapping[str, Any]) -> None:
        """Take up what `memory` returned."""
        self.draws.restore(memory["draws"])
