"""A checkpoint loaded for translation only: the Python side of `i2i translate`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, overload

import torch
from PIL import Image
from torch import Tensor

from i2icli.errors import CheckpointError
from i2icli.methods import METHODS, build_method, misfit_of, restore_config
from i2icli.methods.shared.base import Method
from i2icli.methods.shared.configure import AnyRunConfig
from i2icli.pictures.images import Picture, Pixels
from i2icli.pretrained.networks import load_networks
from i2icli.runs.checkpoint import load_checkpoint, way_out
from i2icli.runs.paths import find_checkpoint
from i2icli.system.choices import Choices, Work
from i2icli.system.device import resolve_device
from i2icli.system.shares import device_of_rank
from i2icli.translation.kinds import Kind, to_batch, to_kind_of, to_picture
from i2icli.translation.pictures import (
    TranslatedPicture,
    source_channels,
    target_channels,
    translate_images,
    translate_pictures,
)
from i2icli.translation.prepare import prepare
from i2icli.translation.scale import (
    AS_IS,
    Scale,
    ScaleChoice,
    TrainingSize,
    check_scale,
    training_size,
)
from i2icli.translation.styles import encode_picture_style, random_styles

P = TypeVar("P", str, Path, bytes)
T = TypeVar("T", Image.Image, Picture, Pixels, Tensor)


class Translator:
    """Translates pictures; built by `load_translator`.

    Attributes:
        method: the networks; their weights are averaged ones where the checkpoint has them.
        config: the configuration of the run that trained them.
        precision: type that the networks compute in.
        choices: the settings of `runtime` that the method was made ready by; None: by none.
        scale: the rule by which pictures are brought to the size that training showed.
        origin: the arguments of `load_translator`; another process gets it by them, and so loads
            the checkpoint anew; None: it goes to no other process.
    """

    def __init__(
        self,
        method: Method,
        config: AnyRunConfig,
        *,
        precision: torch.dtype,
        choices: Choices | None = None,
        scale: Scale = AS_IS,
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        self.method = method
        self.config = config
        self.precision = precision
        self.choices = choices
        self.scale = scale
        self.origin = origin
        self._is_equipped = False

    def __reduce__(self) -> tuple[Callable[..., Translator], tuple[Any, ...]]:
        """Return what loads it in another process, there on a device of its own."""
        if self.origin is None:
            raise TypeError("only a translator that `load_translator` returned can be pickled")
        return _load_again, (self.origin,)

    def __repr__(self) -> str:
        return (
            f"Translator(name={self.name!r}, directions={self.directions}, "
            f"channels={self.channels}, device='{self.device}', precision={self.precision})"
        )

    @property
    def name(self) -> str:
        """Name of the method, for example "cut"."""
        return next(name for name, kind in METHODS.items() if kind is type(self.method))

    @property
    def directions(self) -> tuple[str, ...]:
        """Directions it translates in: "a2b", and "b2a" for two-way methods."""
        return self.method.directions

    @property
    def channels(self) -> Mapping[str, int]:
        """Channels of domain "a" and of domain "b", 1 or 3."""
        return dict(self.method.channels)

    @property
    def size_multiple(self) -> int:
        """Pictures are padded to a multiple of this, pixels, and cropped back."""
        return self.method.size_multiple

    @property
    def style_size(self) -> int:
        """Numbers in a style code; 0: the method has no styles."""
        return self.method.style_size

    @property
    def mask_names(self) -> tuple[str, ...]:
        """Names of the masks that `translate_full` returns."""
        return self.method.mask_names

    @property
    def segments(self) -> bool:
        """Whether it makes label maps of pictures."""
        return self.method.data == "labelled"

    @property
    def device(self) -> torch.device:
        """The device of the networks."""
        return next(self.method.parameters()).device

    @overload
    def translate(
        self,
        pictures: str | Path | bytes,
        direction: str = ...,
        *,
        batch_size: int = ...,
        style: Tensor | None = ...,
        scale: ScaleChoice = ...,
    ) -> Image.Image: ...
    @overload
    def translate(
        self,
        pictures: T,
        direction: str = ...,
        *,
        batch_size: int = ...,
        style: Tensor | None = ...,
        scale: ScaleChoice = ...,
    ) -> T: ...
    @overload
    def translate(
        self,
        pictures: list[P] | tuple[P, ...],
        direction: str = ...,
        *,
        batch_size: int = ...,
        style: Tensor | None = ...,
        scale: ScaleChoice = ...,
    ) -> list[Image.Image]: ...
    @overload
    def translate(
        self,
        pictures: list[T] | tuple[T, ...],
        direction: str = ...,
        *,
        batch_size: int = ...,
        style: Tensor | None = ...,
        scale: ScaleChoice = ...,
    ) -> list[T]: ...

    def translate(
        self,
        pictures: object,
        direction: str = "a2b",
        *,
        batch_size: int = 1,
        style: Tensor | None = None,
        scale: ScaleChoice = "auto",
    ) -> object:
        """Translate one picture or several, of any sizes; each keeps its size, depth and alpha.

        Args:
            pictures: a path; the bytes of a file; a Pillow image; an array, (H, W), (H, W, 1) or
                (H, W, 3), or with alpha last (H, W, 2) or (H, W, 4), uint8 or uint16; a
                `data.images.Picture`; a float tensor, (C, H, W) or (B, C, H, W) in [-1, 1], with
                the channels of the domain; or a list or tuple of these.
            direction: one of `directions`.
            batch_size: pictures of one size that are translated together; no matter to tensors.
            style: a code of `styles` or `encode_style`, (style_size,); None: the method's default
                style, if it has styles.
            scale: the size to work at: "auto": that of training, where the checkpoint knows it and
                a picture differs from it by more than a quarter; "none": the picture's own; a
                factor of its sides; or the geometric mean of the sides, such as "144px".

        Returns:
            The same kind, with the channels of the other domain; for a path or bytes a Pillow
            image; for a list or tuple a list. Tensors are float32, on the device they came from.

        Raises:
            ConfigError: if the direction is not offered, there are no styles, or the scale is
                none.
            DataError: if a file cannot be read.
            TypeError: if the value is of none of these kinds.
            ValueError: if an array, tensor or style has another shape or type.
        """
        values = pictures if isinstance(pictures, list | tuple) else [pictures]
        channels = source_channels(self.method, direction)
        shared: dict[str, Any] = {
            "precision": self.precision,
            "style": style,
            "scale": self.scale_for(scale),
        }
        decoded: dict[int, Picture] = {}
        results: list[object] = list(values)
        for i, value in enumerate(values):
            if isinstance(value, Tensor):
                batch = to_batch(value, direction, channels=channels)
                (tensor,) = translate_images(
                    self.method, [batch], direction, to=value.device, **shared
                )
                results[i] = tensor.images if value.ndim == 4 else tensor.images[0]
            else:
                decoded[i] = to_picture(value, channels=channels)
        made = translate_pictures(
            self.method, list(decoded.values()), direction, batch_size=batch_size, **shared
        )
        for (i, picture), one in zip(decoded.items(), made, strict=True):
            results[i] = to_kind_of(values[i], one.pixels, picture)
        return results if values is pictures else results[0]

    def translate_full(
        self,
        picture: Kind,
        direction: str = "a2b",
        *,
        style: Tensor | None = None,
        scale: ScaleChoice = "auto",
    ) -> TranslatedPicture:
        """Translate one picture, no tensor, and return its label map and masks with its pixels.

        Raises:
            ConfigError, DataError, TypeError, ValueError: as `translate`.
        """
        given = to_picture(picture, channels=source_channels(self.method, direction))
        (made,) = translate_pictures(
            self.method,
            [given],
            direction,
            precision=self.precision,
            style=style,
            scale=self.scale_for(scale),
        )
        return made

    def scale_for(self, choice: ScaleChoice) -> Scale:
        """Return the rule for a choice of the scale, see `translate`.

        Raises:
            ConfigError: if it is none.
        """
        choice, kind = check_scale(choice), self.config.data.interpolation
        if choice == "auto":
            return self.scale
        if choice == "none":
            return AS_IS
        if isinstance(choice, str):
            target = TrainingSize(float(choice.removesuffix("px")), tolerated=1.0)
            return Scale(target, filter=kind)
        return Scale(factor=choice, filter=kind)

    def styles(self, count: int, seed: int = 0) -> Tensor:
        """Draw style codes, those of `i2i translate --styles COUNT --seed SEED`.

        Returns:
            (count, style_size).

        Raises:
            ConfigError: if there are no styles.
        """
        return random_styles(self.method, count, seed=seed)

    def encode_style(self, picture: Kind, direction: str = "a2b") -> Tensor:
        """Return the style of a picture of the domain that `direction` leads to, (style_size,).

        Raises:
            ConfigError: if there are no styles, or the direction is not offered.
            DataError, TypeError, ValueError: as `translate`.
        """
        channels = target_channels(self.method, direction)
        given = to_picture(picture, channels=channels)
        return encode_picture_style(self.method, given, direction, scale=self.scale)

    def equip(self) -> None:
        """Hand the method the pretrained networks that its views need; once is enough.

        Raises:
            WeightsError: if their weights are not here.
        """
        if not self._is_equipped:
            self.method.take_pretrained(load_networks(self.method.view_networks, self.device))
            self._is_equipped = True


def load_translator(
    path: str | Path,
    *,
    device: str = "auto",
    precision: str = "auto",
    compile: bool | None = None,
    reuse_memory: bool | None = None,
) -> Translator:
    """Load a checkpoint for translation; nothing but the file is needed.

    Args:
        path: a checkpoint, or a run folder, which stands for its `checkpoints/last.pt`; or
            `zoo:NAME`, one of the trained translators that come with i2i.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: float32, bfloat16, float16, or auto: that of the run (`runtime.precision`), so
            that pictures come out as in its samples; where that is auto too, the fastest of them
            that a GPU has units for, and float32 elsewhere.
        compile: compile the generator, which takes a minute, and anew for each of up to eight
            sizes of pictures; None: no.
        reuse_memory: keep freed memory for the next pictures, in the whole process; None: as the
            run does, where that is auto in a process that runs nothing but a command of i2i.

    Raises:
        CheckpointError: if it is no checkpoint, or one of a method that this i2i does not have.
        ConfigError: if the device is not on this machine, or the precision is unknown.
    """
    file = find_checkpoint(path)
    state = load_checkpoint(file)
    config = restore_config(state.config)
    if fault := misfit_of(config, state):
        raise CheckpointError(
            f"{file} is damaged: its weights do not fit its configuration ({fault}). "
            f"{way_out(file)}"
        )
    method = build_method(config)
    load = method.load_translating if state.translates_only else method.load_state_dict
    load(state.translating_weights())
    method.to(resolve_device(device)).requires_grad_(False).eval()
    changes = {"compile": _switch(compile)}
    if precision != "auto":
        changes["precision"] = precision
    if reuse_memory is not None:
        changes["reuse_memory"] = _switch(reuse_memory)
    runtime = config.runtime.model_copy(update=changes)
    choices = prepare(method, runtime, crop=config.data.crop, work=Work(trains=False))
    origin = {
        "path": os.path.abspath(file),
        "device": device,
        "precision": precision,
        "compile": compile,
        "reuse_memory": reuse_memory,
    }
    translator = Translator(
        method, config, precision=choices.precision, choices=choices, origin=origin
    )
    target = training_size(config, state.data, epoch=state.epoch)
    # Of several processes the first tells the user that pictures are rescaled.
    is_told = os.environ.get("LOCAL_RANK", "0") != "0"
    translator.scale = Scale(target, filter=config.data.interpolation, is_told=is_told)
    return translator


def _load_again(origin: Mapping[str, Any]) -> Translator:
    return load_translator(**{**origin, "device": device_of_rank(origin["device"])})


def _switch(wanted: bool | None) -> str:
    return "auto" if wanted is None else "on" if wanted else "off"
