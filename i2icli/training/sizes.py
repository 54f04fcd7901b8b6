"""Whether the networks of a run take the sizes that its crops will have, tried before it begins."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from itertools import product

import torch
from torch import nn

from i2icli.config.sections import DataConfig
from i2icli.data.batch import AnyBatch, Batch, LabelledBatch
from i2icli.data.folders import Domains
from i2icli.data.sizes import Size, Sizes, check_batches, crop_sizes
from i2icli.errors import ConfigError, DataError, I2IError
from i2icli.methods.shared.base import Method
from i2icli.translation.pictures import quiet_randomness

Load = Callable[[Iterable[str], torch.device], Mapping[str, nn.Module]]

_SAFE = 128  # pixels: crops with larger sides are taken by all networks, and not tried
_SIDES = (*range(4, 68, 4), *range(72, 136, 8))  # that are tried for advice, pixels


def check_sizes(method: Method, config: DataConfig, domains: Domains, *, load: Load) -> None:
    """Refuse crops and pictures that are below what a method's networks take.

    The smallest go through the losses of a copy on the CPU, whose draws and random states are its
    own; `load` brings the pretrained networks that it looks through, where there is need to try.

    Raises:
        ConfigError: naming the size of the crops, and the smallest side that would do.
        DataError: naming a picture that is too small; or if pictures of several sizes would meet
            in a batch.
    """
    sizes = crop_sizes(domains, config, is_labelled=method.data == "labelled")
    for each in sizes:
        check_batches(each, config)
    networks: Mapping[str, nn.Module] = {}

    def takes(size_a: Size, size_b: Size) -> bool:
        return _takes(method, networks, _batch(method, size_a, size_b, min(2, config.batch_size)))

    for size_a, size_b in product(*map(_smallest, sizes)):
        if min(*size_a, *size_b) >= _SAFE:
            continue
        networks = networks or load(method.pretrained, torch.device("cpu"))
        if takes(size_a, size_b):
            continue
        side = next((s for s in _SIDES if takes((s, s), (s, s))), None)
        if side is None:
            return  # it is not for their size
        is_a = min(size_a) <= min(size_b)
        raise _refusal(size_a if is_a else size_b, sizes[not is_a], side, config)


def _smallest(sizes: Sizes) -> list[Size]:
    if not sizes:
        return []
    return list({min(sizes), min(sizes, key=lambda size: size[::-1])})


def _refusal(size: Size, sizes: Sizes, side: int, config: DataConfig) -> I2IError:
    width, height = size
    path = sizes[size]
    if path is not None:
        return DataError(
            f"{path} is {width} x {height} after data.preprocess={config.preprocess}, and the "
            f"networks take no side below {side}: leave it out, or use "
            "`--set data.preprocess=resize-and-crop`."
        )
    larger = f" --set data.resize={side}" if config.resize < side else ""
    return ConfigError(
        f"crops of {width} x {height} are too small for the networks, which take sides from "
        f"{side} on: use `--set data.crop={side}{larger}`."
    )


def _takes(method: Method, networks: Mapping[str, nn.Module], batch: AnyBatch) -> bool:
    with quiet_randomness(method):
        tried = copy.deepcopy(method)
        tried.take_pretrained(networks)
        try:
            for _ in tried.losses(batch):
                pass
        except (RuntimeError, ValueError, IndexError):
            return False
    return True


def _batch(method: Method, size_a: Size, size_b: Size, count: int) -> AnyBatch:
    noise = torch.Generator().manual_seed(0)

    def pictures(domain: str, size: Size) -> torch.Tensor:
        shape = (count, method.channels[domain], *size[::-1])
        return torch.rand(shape, generator=noise).mul_(2).sub_(1)

    real_a = pictures("a", size_a)
    if method.data == "labelled":
        ids = torch.arange(real_a[:, 0].numel()).remainder(max(1, method.task.classes))
        return LabelledBatch(real_a, ids.view(real_a[:, 0].shape))
    return Batch(real_a, pictures("b", size_b))
