"""The contract between a method and everything else.

A method is networks plus one `losses(batch)` generator. It yields `(player, {term: scalar})` in
the order the paper updates its players; the engine steps that player, and the generator goes on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from i2icli.config.method import MethodConfig, OptimizerConfig, Task
from i2icli.config.schedule import Schedule
from i2icli.config.sections import DatasetKind, LeversConfig
from i2icli.errors import ConfigError
from i2icli.methods.shared.draws import Draws, ImagePool
from i2icli.methods.shared.sliced import SlicedDistance
from i2icli.methods.shared.structure import StructureTerm
from i2icli.methods.shared.views import AnyView
from i2icli.networks.batches import send, share_batch_norms, ties_pictures
from i2icli.networks.norm import InstanceNorm
from i2icli.networks.patchgan import PatchDiscriminator
from i2icli.networks.resample import Downsample, Upsample
from i2icli.networks.resnet import ResnetGenerator
from i2icli.system.ranks import ALONE, Ranks

Terms = dict[str, Tensor]


@dataclass(frozen=True)
class Player:
    """A set of modules that one optimizer updates.

    Attributes:
        modules: whose weights are updated.
        optimizer: with the learning rate before any decay.
        schedule: multiplies it over the training.
        rates: multiplies it further, one number a module; none: 1 each.
        first_step: the learning rate is another one before this step.
        early_rate: multiplies it there, in place of the schedule; 0: the weights stand still.
    """

    modules: tuple[nn.Module, ...]
    optimizer: OptimizerConfig
    schedule: Schedule
    rates: tuple[float, ...] = ()
    first_step: int = 1
    early_rate: float = 0.0

    def groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        """Return the weights to update by module, frozen ones left out, each with its rate."""
        rates = self.rates or (1.0,) * len(self.modules)
        return [
            (rate, [p for p in module.parameters() if p.requires_grad])
            for rate, module in zip(rates, self.modules, strict=True)
        ]

    def trainable(self) -> list[nn.Parameter]:
        """Return the weights to update, frozen ones left out."""
        return [weight for _, weights in self.groups() for weight in weights]


@dataclass(frozen=True)
class Translation:
    """A translated batch of pictures.

    Attributes:
        images: (B, C, H, W) in [-1, 1]; of label maps a drawing in colours.
        labels: label maps, (B, H, W) int64, of a method that segments; None of one that does not.
        masks: maps by name that belong to the pictures, for example where the translation changed
            them, (B, 1, H, W) in [0, 1].
    """

    images: Tensor
    labels: Tensor | None = None
    masks: Mapping[str, Tensor] = field(default_factory=dict)


class Method(nn.Module, ABC):
    """Base of all methods.

    A method never calls backward, never touches an optimizer, a device, a file or a logger, and
    never yields inside a `with`.

    Attributes:
        Config: the method's configuration class; its `name` literal is the method's name.
        data: the kind of data set it trains on.
        directions: directions it translates in.
        mask_names: names of the masks that come with its translations.
        released: its networks by what the released code calls them in names of files, such as G of
            `latest_net_G.pth`; empty: `i2i import` has no files to read for it.
        style_size: numbers in a style code; 0: the method has no styles.
        size_multiple: sides of a picture must be a multiple of this, pixels.
        min_size: the smallest side that its networks accept, pixels.
        memory_format: the layout that pictures are given in.
    """

    Config: ClassVar[type[MethodConfig]]
    config: MethodConfig
    data: ClassVar[DatasetKind] = "unpaired"
    directions: ClassVar[tuple[str, ...]] = ("a2b",)
    mask_names: ClassVar[tuple[str, ...]] = ()
    released: ClassVar[Mapping[str, str]] = {}
    size_multiple: ClassVar[int] = 4
    min_size: ClassVar[int] = 16

    def __init__(self, config: MethodConfig, task: Task | None = None) -> None:
        """Build the networks with fresh weights from torch's global random state.

        Args:
            config: of type `Config`.
            task: what the run's other sections say; None: three channels, no structure term.

        Raises:
            ConfigError: a structure term is asked of a method that segments.
        """
        super().__init__()
        self.config = config
        self.task = task or Task()
        config.check_channels(self.task.channels_a, self.task.channels_b)
        self.channels = {"a": self.task.channels_a, "b": self.task.channels_b}
        self.draws = Draws()
        self.levers = LeversConfig()
        self.memory_format = torch.contiguous_format
        self.pools: dict[str, ImagePool] = {}
        self.sliced: SlicedDistance | None = None
        self.ranks = ALONE
        has_structure = self.task.structure.kind != "none"
        if has_structure and self.data == "labelled":
            raise ConfigError(
                f"structure.kind is {self.task.structure.kind!r}, but a method that segments "
                'translates no pictures that could keep a structure: it must be "none"'
            )
        self.structure = StructureTerm(self.task.structure) if has_structure else None
        self._pretrained: dict[str, nn.Module] = {}

    def use_levers(self, levers: LeversConfig, *, recompute: bool = False) -> None:
        """Compute by other ways to the same numbers; `recompute` keeps fewer maps for gradients."""
        self.levers = levers
        for module in self.modules():
            if isinstance(module, InstanceNorm):
                module.is_lean = levers.lean_norm
            elif isinstance(module, Downsample):
                module.is_lean = levers.lean_blur
            elif isinstance(module, Upsample):
                module.is_bilinear = levers.bilinear_upsample
            elif isinstance(module, PatchDiscriminator):
                module.recomputes = recompute and not module.has_slope
            elif isinstance(module, ResnetGenerator):
                module.recomputes = recompute
            elif isinstance(module, StructureTerm):
                module.is_batched = levers.batch_passes

    def use_layout(self, memory_format: torch.memory_format) -> None:
        """Keep weights of convolutions in a layout; pictures are to be given in `memory_format`."""
        self.memory_format = memory_format
        # Not by `to`, which refuses weights of five axes (StyleGAN2's).
        for weight in (*self.parameters(), *self.buffers()):
            if weight.dim() == 4:
                weight.data = weight.data.contiguous(memory_format=memory_format)

    def together(
        self,
        network: nn.Module,
        *batches: Tensor | tuple[Tensor, ...],
        run: Callable[..., Any] | None = None,
    ) -> list[Any]:
        """Return a network's outputs for each of several batches, by `run` or by calling it.

        In one pass where `levers.batch_passes` allows it and the network takes each picture on its
        own: the same numbers up to rounding. Not for batches of which only some are given
        gradient: the backward pass would go through all. A batch is pictures, (B, C, H, W), or all
        arguments of `run`.
        """
        return send(
            run or network,
            [(batch,) if isinstance(batch, Tensor) else batch for batch in batches],
            together=self.levers.batch_passes and not ties_pictures(network),
        )

    def join(self, ranks: Ranks) -> None:
        """Train as one of several processes, each with an equal slice of every batch.

        Gradients are averaged over the processes. So a loss that is a mean over pictures needs
        nothing; one that ties pictures of a batch together asks `self.ranks` for the others'.
        Batch norm takes its statistics over the whole batch.
        """
        self.ranks = ranks
        self.draws.join(ranks.rank, ranks.world)
        if ranks.world > 1:
            share_batch_norms(self, add_up=ranks.add_up, world=ranks.world)

    @property
    def style_size(self) -> int:
        """Numbers in a style code; 0: the method has no styles."""
        return 0

    @property
    def view_networks(self) -> tuple[str, ...]:
        """Names of the frozen networks that `views` needs; `translate` needs none."""
        return () if self.structure is None else ("vgg16",)

    @property
    def pretrained(self) -> tuple[str, ...]:
        """Names of the frozen networks that `losses` needs, those of `views` among them."""
        return self.view_networks

    def take_pretrained(self, networks: Mapping[str, nn.Module]) -> None:
        """Take the networks that `pretrained` names, frozen, on the device of the method.

        They are no part of the method: neither its weights nor its checkpoint hold them.
        """
        self._pretrained = dict(networks)

    def network(self, name: str) -> nn.Module:
        """Return a network that was handed in."""
        assert name in self._pretrained, f"{name} was not handed in: call take_pretrained first"
        return self._pretrained[name]

    @property
    def starts_from(self) -> tuple[str, ...]:
        """Names of the pretrained weights that a new run starts from; none: all weights fresh."""
        return ()

    def start_from(self, weights: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Fill fresh networks with the weights that `starts_from` names; for a new run only."""

    def player(self, *modules: nn.Module) -> Player:
        """Return a player of modules, with the configured optimizer and schedule."""
        return Player(modules, self.config.optimizer, self.config.schedule)

    def structure_players(self) -> dict[str, Player]:
        """Return the player of the structure term's learned head, before all others; or none."""
        if self.structure is None or not self.structure.is_learned:
            return {}
        return {"structure": self.player(self.structure)}

    def structure_turns(
        self, source: Tensor, translated: Tensor, other: Tensor, *, name: str = "structure"
    ) -> Iterator[tuple[str, Terms]]:
        """Yield the turn of the learned head; nothing where none is configured.

        Args:
            source: pictures, (B, C, H, W) in [-1, 1].
            translated: their translations, the same shape; taken as constants.
            other: real pictures of the target domain, the same shape.
            name: of the random draws; the term is called the same, with "contrast" in it.
        """
        if self.structure is not None and self.structure.is_learned:
            loss = self.structure.contrast(
                self.network("vgg16"), source, translated.detach(), other, self.draws, name=name
            )
            yield "structure", {name.replace("structure", "contrast"): loss}

    def structure_terms(
        self, source: Tensor, translated: Tensor, *, name: str = "structure"
    ) -> Terms:
        """Return the configured structure term of a translation, called `name`, or nothing.

        Both are (B, C, H, W) in [-1, 1].
        """
        if self.structure is None:
            return {}
        network = self.network("vgg16")
        return {name: self.structure.loss(network, source, translated, self.draws, name=name)}

    @property
    @abstractmethod
    def players(self) -> Mapping[str, Player]:
        """The players in the order they are first updated; every trainable weight has one."""

    @abstractmethod
    def losses(self, batch: Any) -> Iterator[tuple[str, Terms]]:
        """Yield the weighted terms of one player after the other; their sum is its loss.

        The batch is of the kind that `data` names: a `Batch`, or a `LabelledBatch`. When the
        generator goes on after a yield, that player has been updated.
        """

    @abstractmethod
    def translate(
        self, images: Tensor, *, direction: str = "a2b", style: Tensor | None = None
    ) -> Translation:
        """Translate pictures.

        Args:
            images: (B, C, H, W) in [-1, 1], sides a multiple of `size_multiple`.
            direction: one of `directions`.
            style: style codes, (B, style_size); None where the method has no styles.
        """

    def generator_of(self, direction: str) -> nn.Module | None:  # noqa: ARG002
        """Return the one network that `translate` sends pictures through in a direction.

        None where it does more than that; its pictures are not translated in tiles.
        """
        return None

    def default_style(self) -> Tensor:
        """Return the style of samples and of a plain `translate`, (style_size,).

        Raises:
            NotImplementedError: the method has no styles.
        """
        raise NotImplementedError(f"{type(self).__name__} has no styles")

    def encode_style(self, images: Tensor, *, direction: str = "a2b") -> Tensor:
        """Return the styles of pictures of the domain that `direction` leads to, (B, style_size).

        Raises:
            NotImplementedError: the method has no styles.
        """
        raise NotImplementedError(f"{type(self).__name__} has no styles")

    def views(self, images: Tensor, *, direction: str = "a2b") -> list[list[AnyView]]:
        """Return the views of each picture that `viz-attention` draws; a method adds its own.

        Without gradient, on the CPU, one a layer, ascending. Here the self-similarity that the
        structure term compares, where one is configured.
        """
        if self.structure is None:
            return [[] for _ in images]
        with torch.no_grad():
            translated = self.translate(images, direction=direction).images
        return self.structure.views(self.network("vgg16"), images, translated)

    @property
    @abstractmethod
    def translators(self) -> Mapping[str, nn.Module]:
        """The modules that `translate` and `views` use; the moving average follows these."""

    def translating_state(self) -> dict[str, Tensor]:
        """Return the weights and buffers of `translators`, detached, by their full names."""
        names = {id(value): name for name, value in self.state_dict(keep_vars=True).items()}
        return {
            names[id(value)]: value.detach()
            for module in self.translators.values()
            for value in module.state_dict(keep_vars=True).values()
        }

    def load_translating(self, weights: Mapping[str, Tensor]) -> None:
        """Take up what `translating_state` returned; the other networks stay as they are.

        Raises:
            RuntimeError: if names or shapes differ.
        """
        if unlike := weights.keys() ^ self.translating_state().keys():
            raise RuntimeError(f"{sorted(unlike)[0]} is on one side only")
        self.load_state_dict({**self.state_dict(), **weights})

    def start_epoch(self, epoch: int) -> None:
        """Enter `epoch`, counted from 1: stages begin here. Called again on resume.

        A stage may freeze weights for good by `requires_grad_(False)`.
        """

    def start_step(self, step: int) -> None:
        """Enter a step, counted from 1, in training: what lasts for so many steps begins here."""

    def memory(self) -> dict[str, Any]:
        """Return all state that is not weights: choices and pools; plain types and tensors."""
        pools = {name: pool.state() for name, pool in self.pools.items()}
        memory: dict[str, Any] = {"draws": self.draws.state(), "pools": pools}
        return memory if self.sliced is None else {**memory, "sliced": self.sliced.state()}

    def load_memory(self, memory: Mapping[str, Any]) -> None:
        """Take up what `memory` returned."""
        self.draws.restore(memory["draws"])
        for name, pool in self.pools.items():
            pool.restore(memory["pools"][name])
        if self.sliced is not None:
            self.sliced.restore(memory["sliced"])
