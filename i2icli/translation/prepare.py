"""A method made ready to compute on a device: its levers, its layout, compiled or not.

Training, measurements and translation all come through here, so that what one of them measured
holds for the others.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from i2icli.config.sections import RuntimeConfig
from i2icli.methods.shared.base import Method
from i2icli.networks.patchgan import PatchDiscriminator
from i2icli.networks.resnet import ResnetBlock, ResnetGenerator
from i2icli.system.allocator import keep_freed_memory
from i2icli.system.choices import Choices, Work, choose
from i2icli.system.compiling import Compiled, compiler_fault, prepare_compiler
from i2icli.system.device import autocast
from i2icli.system.trial import Trial, Ways, try_once

log = logging.getLogger(__package__)

# Below this many pixels times channels squared a step is so short that layouts do not matter.
_WORTH_TRYING = 1 << 22


def prepare(
    method: Method,
    runtime: RuntimeConfig,
    *,
    crop: int,
    work: Work,
) -> Choices:
    """Resolve the runtime settings, and apply those that concern networks and memory.

    Layouts are tried at `crop`, the side of the training's pictures, pixels.

    Raises:
        ConfigError: for a precision that is none.
    """
    device = next(method.parameters()).device
    method.use_levers(runtime.levers)
    try_layout = partial(_try_layout, method, device, crop=crop, trains=work.trains)
    choices = choose(runtime, device, replace(work, try_layout=try_layout))
    torch.set_num_threads(choices.threads)
    if choices.reuse_memory:
        keep_freed_memory()
    method.use_levers(runtime.levers, recompute=choices.recompute)
    method.use_layout(torch.channels_last if choices.channels_last else torch.contiguous_format)
    if choices.compile:
        compile_networks(method, device, trains=work.trains)
    return choices


def compile_networks(method: Method, device: torch.device, *, trains: bool) -> None:
    """Compile the networks that are differentiated once only, at their first call.

    Residual generators and patch discriminators are. The discriminators that penalties on
    slopes differentiate twice, which compiled code cannot, are networks of other kinds.
    """
    if fault := compiler_fault(device):
        log.warning(f"networks are not compiled: {fault}")
        return
    prepare_compiler()
    for name, network in method.named_modules():
        if trains and isinstance(network, PatchDiscriminator):
            _compile(network, "forward", name, trains=trains)
        elif isinstance(network, ResnetGenerator):
            # Both ways through it, `forward` and `encode`, lead through this.
            _compile(network, "_run", name, trains=trains)


def _compile(network: nn.Module, part: str, title: str, **options: Any) -> None:
    function = getattr(network, part)
    plain = function.plain if isinstance(function, Compiled) else function
    setattr(network, part, Compiled(plain, title=title, **options))


def _try_layout(
    method: Method,
    device: torch.device,
    precision: torch.dtype,
    threads: int,
    *,
    crop: int,
    trains: bool,
) -> Trial:
    generators = [part for part in method.modules() if isinstance(part, ResnetGenerator)]
    if not generators:
        return Trial(None, "tried for residual generators alone")
    blocks = [part for part in generators[0].model if isinstance(part, ResnetBlock)]
    # One block stands for all.
    layers = nn.Sequential(*(part for part in generators[0].model if part not in blocks[1:]))
    channels = max(part.out_channels for part in layers if isinstance(part, nn.Conv2d)) // 4
    if channels**2 * crop**2 < _WORTH_TRYING:
        return Trial(None, "networks too small to matter")
    side = max(64, crop // 8 * 4)
    key = {
        "what": "channels_last",
        "layers": repr(layers),
        "side": side,
        "precision": str(precision),
        "trains": trains,
        "lean": method.levers.lean_norm,
    }
    torch.set_num_threads(threads)  # with which the work will be done
    make = partial(
        _layouts,
        layers,
        in_channels=generators[0].in_channels,
        side=side,
        device=device,
        precision=precision,
        trains=trains,
    )
    return try_once(key, device, make)


def _layouts(
    layers: nn.Sequential,
    *,
    in_channels: int,
    side: int,
    device: torch.device,
    precision: torch.dtype,
    trains: bool,
) -> Ways:
    def way(memory_format: torch.memory_format) -> Callable[[], object]:
        # In evaluation mode, where nothing is drawn from the global random state.
        network = (
            copy.deepcopy(layers).eval().requires_grad_(trains).to(memory_format=memory_format)
        )
        ramp = torch.linspace(-1.0, 1.0, in_channels * side * side, device=device)
        pictures = ramp.view(1, in_channels, side, side).contiguous(memory_format=memory_format)

        def once() -> None:
            with torch.set_grad_enabled(trains), autocast(device, precision):
                result = network(pictures)
            if trains:
                result.float().square().mean().backward()

        return once

    return way(torch.contiguous_format), way(torch.channels_last)
