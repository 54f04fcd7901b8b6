"""From a picture to a training crop, as the released code of CUT, QS-Attn and CycleGAN does it.

Pillow resamples, antialiased, on 8-bit pictures, so that pixels equal those of the released
pipelines. Every random choice is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from i2icli.config.sections import DataConfig, Preprocess
from i2icli.data.keyed import KeyedDraws
from i2icli.pictures.encode import to_8_bits, to_image
from i2icli.pictures.images import Pixels, to_tensor
from i2icli.pictures.label_maps import Labels

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_MULTIPLE = 4
# Of ImageNet, 0 to 255.
_MEAN: dict[str, int | tuple[int, int, int]] = {"L": 116, "RGB": (124, 116, 104)}


@dataclass(frozen=True)
class CropPlan:
    """The steps from a picture to a crop, its random choices apart."""

    preprocess: Preprocess  # which of the released ways
    # side after resizing, pixels; of the shorter side for "scale-shorter-and-crop"; what the longer
    # side is half to twice of for "random-scale-and-crop"
    width: int
    height: int  # height after resizing, pixels; only for the ways that resize to a fixed size
    crop: int  # side of the crop, pixels
    interpolation: str = "bicubic"
    flip: bool = True  # whether half of the crops are mirrored
    zoom_min: float = 1.0  # smallest zoom of a side for "zoom-and-patch"


@dataclass(frozen=True)
class CropChoice:
    """The random choices of one crop."""

    x: int = 0  # upper left corner
    y: int = 0
    flip: bool = False  # whether to mirror
    longer: int = 0  # the longer side after resizing, for "random-scale-and-crop", pixels


def plan_crop(config: DataConfig, *, jitter: bool = True) -> CropPlan:
    """Return the plan of a configuration.

    The released code of CUT and QS-Attn stops resizing beyond the crop (`jitter`) once the learning
    rate decays; flips go on.
    """
    width, height = config.resize, config.resize_height or config.resize
    # Departs from the official code: ways without a crop keep their size in the decay half,
    # because they have no jitter that could end, and pictures would change size in mid-run.
    # The scales of segmentation networks are no jitter beyond the crop either.
    scales = config.preprocess == "random-scale-and-crop"
    if not jitter and config.preprocess.endswith("-and-crop") and not scales:
        width = height = config.crop
    return CropPlan(
        preprocess=config.preprocess,
        width=width,
        height=height,
        crop=config.crop,
        interpolation=config.interpolation,
        flip=config.flip,
        zoom_min=config.zoom_min,
    )


def choose_crop(plan: CropPlan, size: tuple[int, int], draws: KeyedDraws) -> CropChoice:
    """Draw the position of the crop, uniformly, and the flip.

    `size` is width and height of the picture as it was read, pixels; `draws` its own stream.
    """
    is_flipped = draws.coin() and plan.flip
    if "crop" not in plan.preprocess:
        return CropChoice(flip=is_flipped)
    longer = 0
    if plan.preprocess == "random-scale-and-crop":
        lowest = max(1, plan.width // 2)
        longer = lowest + draws.below(2 * plan.width - lowest + 1)
    width, height = resized_size(plan, size, longer=longer)
    x = draws.below(max(0, width - plan.crop) + 1)
    y = draws.below(max(0, height - plan.crop) + 1)
    return CropChoice(x=x, y=y, flip=is_flipped, longer=longer)


def resized_size(plan: CropPlan, size: tuple[int, int], *, longer: int = 0) -> tuple[int, int]:
    """Return (width, height), pixels, of a picture after the first resize, before the crop."""
    width, height = size
    if plan.preprocess in ("resize", "resize-and-crop"):
        return plan.width, plan.height
    if plan.preprocess in ("scale-width", "scale-width-and-crop"):
        if width == plan.width and height >= plan.crop:
            return size
        return plan.width, int(max(plan.width * height / width, plan.crop))
    if plan.preprocess == "scale-shorter-and-crop":
        shorter = min(size)
        # The longer side is cut off to whole pixels, as torchvision does it for MUNIT.
        return plan.width * width // shorter, plan.width * height // shorter
    if plan.preprocess == "random-scale-and-crop":
        # The other side to the nearest pixel, as DANet's trainer has it.
        first, second = (max(1, int(side * longer / max(size) + 0.5)) for side in size)
        return first, second
    return size


def make_crop(pixels: Pixels, plan: CropPlan, choice: CropChoice) -> Tensor:
    """Turn a picture, (H, W, 1 or 3), into a training crop, float32 (C, h, w) in [-1, 1].

    Resize, crop, bring both sides to a multiple of 4, mirror, scale. 16-bit pictures are scaled
    to 8 bits first.
    """
    return finish_crop(resize_first(pixels, plan, longer=choice.longer), plan, choice)


def resize_first(pixels: Pixels, plan: CropPlan, *, longer: int = 0) -> Pixels:
    """Take the first step of `make_crop`, which needs no random choice but `longer`.

    Returns:
        (h, w, 1 or 3) uint8, of the size that `resized_size` gives.
    """
    pixels = to_8_bits(pixels)
    size = resized_size(plan, (pixels.shape[1], pixels.shape[0]), longer=longer)
    if size == (pixels.shape[1], pixels.shape[0]):
        return pixels
    return resize_pixels(pixels, size, plan.interpolation)


def finish_crop(pixels: Pixels, plan: CropPlan, choice: CropChoice) -> Tensor:
    """Take the other steps of `make_crop`: cut, bring to a multiple of 4, mirror, scale."""
    if "crop" in plan.preprocess:
        # Departs from the official code: a side shorter than the crop stays as it is, because the
        # released crop fills up with black there, or stops.
        pixels = pixels[choice.y : choice.y + plan.crop, choice.x : choice.x + plan.crop]
    if plan.preprocess == "random-scale-and-crop" and min(pixels.shape[:2]) < plan.crop:
        # Departs from the official code: what is missing is filled with the mean colour of
        # ImageNet, because black is as far from what the networks expect as colours get.
        image = to_image(pixels)
        pixels = _to_pixels(_fill_up(image, plan.crop, _MEAN[image.mode]))
    size = nearest_multiples((pixels.shape[1], pixels.shape[0]))
    if size != (pixels.shape[1], pixels.shape[0]):
        pixels = resize_pixels(pixels, size, plan.interpolation)
    return to_tensor(pixels[:, ::-1] if choice.flip else pixels)


def make_label_crop(ids: Labels, plan: CropPlan, choice: CropChoice, *, ignore: int) -> Tensor:
    """Turn ids, (H, W) below 2**31, into the int64 (h, w) that belong to their picture's crop.

    Nearest neighbours where the picture is resampled; what is missing becomes `ignore`.
    """
    nearest = Image.Resampling.NEAREST
    image = Image.fromarray(ids.astype(np.int32))
    image = image.resize(resized_size(plan, image.size, longer=choice.longer), nearest)
    if "crop" in plan.preprocess:
        image = _cut(image, plan.crop, choice)
    if plan.preprocess == "random-scale-and-crop":
        image = _fill_up(image, plan.crop, ignore)
    image = image.resize(nearest_multiples(image.size), nearest)
    if choice.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return torch.from_numpy(np.array(image).astype(np.int64))


def plan_patch(config: DataConfig) -> CropPlan:
    """Return the plan of cutting a crop from a picture that is zoomed already."""
    return CropPlan("crop", width=0, height=0, crop=config.crop, interpolation=config.interpolation)


def resize_pixels(pixels: Pixels, size: tuple[int, int], interpolation: str) -> Pixels:
    """Resize a picture of 8 bits, (H, W, 1 or 3), to (width, height)."""
    return _to_pixels(_resize(to_image(pixels), size, interpolation))


def _to_pixels(image: Image.Image) -> Pixels:
    pixels: Pixels = np.asarray(image)
    return pixels.reshape(*pixels.shape[:2], -1)


def _resize(image: Image.Image, size: tuple[int, int], interpolation: str) -> Image.Image:
    # One axis after the other. The order shows in single grey levels, and Pillow's has changed:
    # rows first up to version 12, from 13 on columns first where the height shrinks by more than
    # twice as much as the width. The newer order is fixed, so that every version gives the same
    # pixels.
    width, height = size
    shrinks_height = image.height - height > max(0, 2 * (image.width - width))
    middle = (image.width, height) if shrinks_height else (width, image.height)
    for step in (middle, size):
        if step != image.size:
            image = image.resize(step, _FILTERS[interpolation])
    return image


def _cut(image: Image.Image, side: int, choice: CropChoice) -> Image.Image:
    width, height = image.size
    # A side shorter than the crop stays as it is, as in `finish_crop`.
    box = (choice.x, choice.y, min(choice.x + side, width), min(choice.y + side, height))
    return image if box == (0, 0, width, height) else image.crop(box)


def _fill_up(image: Image.Image, side: int, colour: int | tuple[int, int, int]) -> Image.Image:
    width, height = image.size
    if min(width, height) >= side:
        return image
    filled = Image.new(image.mode, (max(width, side), max(height, side)), colour)
    filled.paste(image, (0, 0))
    return filled


def nearest_multiples(size: tuple[int, int]) -> tuple[int, int]:
    """Return the sides that crops of a size are brought to, multiples of 4."""
    # Halves go to the even multiple.
    width, height = (max(_MULTIPLE, round(side / _MULTIPLE) * _MULTIPLE) for side in size)
    return width, height
