"""Pictures through a checkpoint, with what the method shows of its own workings."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from i2icli.errors import ConfigError
from i2icli.methods import METHODS
from i2icli.methods.shared.base import Method
from i2icli.methods.shared.views import AnyView
from i2icli.pictures.images import Picture, to_tensor
from i2icli.translation.pictures import evaluating, pad_to_suit, translate_pictures
from i2icli.translation.translator import Translator
from i2icli.viz.drawers import drawer_of
from i2icli.viz.grid import shrink, to_rgb
from i2icli.viz.looks import Look


def look_at(
    translator: Translator,
    picture: Picture,
    *,
    name: str,
    max_side: int = 512,
    layers: Sequence[int | str] | None = None,
    direction: str = "a2b",
    invert_mask: bool = False,
) -> Look:
    """Translate a picture, and return it with the views of the method's workings.

    The translation has the pixels of `i2i translate`. The views are computed in float32 whatever
    the precision of the run, at the size that the network works at (`Translator.scale`). A longer
    side than `max_side` is scaled down to it, pixels; `layers` are numbers or names, None: all that
    there are; `invert_mask` turns masks and legends round.

    Raises:
        ConfigError: if the method shows nothing, or not those layers, or has no mask to invert.
    """
    method = translator.method
    require_views(translator)
    small = Picture(shrink(picture.pixels, side=max_side))
    scale, precision = translator.scale, translator.precision
    (translation,) = translate_pictures(
        method, [small], direction, precision=precision, scale=scale
    )
    worked_on = scale.worked_on(to_tensor(small.pixels)[None])
    images = pad_to_suit(method, worked_on)
    translator.equip()
    with torch.no_grad(), evaluating(method):
        (views,) = method.views(images.to(translator.device), direction=direction)
    covered = _covered(small.size, worked_on.shape[-2:], images.shape[-2:])
    chosen = _choose(views, layers)
    if invert_mask:
        chosen = _inverted(chosen)
    made = "segmentation" if method.data == "labelled" else "translation"
    return Look(name, to_rgb(small.pixels), to_rgb(translation.pixels), covered, chosen, made)


def _covered(
    size: tuple[int, int], worked_on: Sequence[int], padded: Sequence[int]
) -> tuple[float, float]:
    """Return height and width of what the networks saw, in pixels of the picture."""
    width, height = size
    if tuple(worked_on) == (height, width):
        return padded[0], padded[1]
    return padded[0] * height / worked_on[0], padded[1] * width / worked_on[1]


def require_views(translator: Translator) -> None:
    """Refuse a method that has nothing to show.

    Raises:
        ConfigError: naming the methods that have.
    """
    method = translator.method
    if type(method).views is not Method.views or method.structure is not None:
        return
    able = sorted(
        name
        for name, kind in METHODS.items()
        if kind.views is not Method.views or "structure" in kind.Config.run_defaults
    )
    raise ConfigError(
        f"this checkpoint is of method {translator.name}, which has nothing to show: give one of "
        f"{', '.join(able[:-1])} or {able[-1]}, or one trained with a structure term."
    )


def _choose(views: Sequence[AnyView], layers: Sequence[int | str] | None) -> tuple[AnyView, ...]:
    there = [str(view.layer) for view in views]
    if not there:
        raise ConfigError(
            "no layer of this checkpoint selects by attention: selection begins at the fourth "
            "layer of method.nce_layers, or at method.attend_from."
        )
    wanted = there if layers is None else [str(layer) for layer in layers]
    if missing := [layer for layer in wanted if layer not in there]:
        raise ConfigError(
            f"--layers names {missing[0]}, but this checkpoint shows {', '.join(there)}."
        )
    return tuple(view for view, layer in zip(views, there, strict=True) if layer in wanted)


def _inverted(views: Sequence[AnyView]) -> tuple[AnyView, ...]:
    turned = [drawer_of(view).inverted(view) for view in views]
    if all(view is None for view in turned):
        raise ConfigError("--invert-mask: this checkpoint shows no mask.")
    return tuple(new or view for new, view in zip(turned, views, strict=True))
