"""The sizes that training crops can have, known before the first one is cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from i2icli.config.sections import DataConfig
from i2icli.data.folders import Domains
from i2icli.data.transforms import nearest_multiples, plan_crop, resized_size
from i2icli.errors import DataError
from i2icli.pictures.images import read_size

Size = tuple[int, int]  # width and height, pixels
Sizes = Mapping[Size, Path | None]  # with a picture of that size; None: all have it

_VARIED = ("none", "scale-width", "crop")  # ways after which pictures keep sizes of their own


def crop_sizes(domains: Domains, config: DataConfig, *, is_labelled: bool) -> tuple[Sizes, Sizes]:
    """Return the sizes of the training crops of each domain; of labelled data of one alone.

    Where pictures keep sizes of their own these are read from all headers; files that cannot be
    read are left to training.
    """
    if config.preprocess not in _VARIED:
        fixed: Sizes = {_fixed(config): None}
        return fixed, fixed
    of_a = _varied(domains.train_a, config)
    return of_a, of_a if is_labelled else _varied(domains.train_b, config)


def check_batches(sizes: Sizes, config: DataConfig) -> None:
    """Refuse batches of several pictures where these have several sizes.

    Raises:
        DataError: naming two that differ.
    """
    if config.batch_size == 1 or len(sizes) < 2:
        return
    (first, one), (second, other), *_ = sizes.items()
    raise DataError(
        f"{one} gives a crop of {first[0]} x {first[1]} and {other} one of {second[0]} x "
        f"{second[1]}: a batch needs one size; use `--set data.batch_size=1` or "
        "`--set data.preprocess=resize-and-crop`"
    )


def _fixed(config: DataConfig) -> Size:
    plan = plan_crop(config)
    if config.preprocess == "resize":
        return nearest_multiples((plan.width, plan.height))
    width = plan.crop
    if config.preprocess == "scale-width-and-crop":
        width = min(plan.width, plan.crop)
    return nearest_multiples((width, plan.crop))


def _varied(pictures: Sequence[Path], config: DataConfig) -> Sizes:
    plan = plan_crop(config)
    sizes: dict[Size, Path | None] = {}
    for path in pictures:
        try:
            width, height = resized_size(plan, read_size(path))
        except DataError:
            continue
        if "crop" in plan.preprocess:
            width, height = min(width, plan.crop), min(height, plan.crop)
        sizes.setdefault(nearest_multiples((width, height)), path)
    return sizes
