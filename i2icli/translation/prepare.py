"""A method made ready to compute on a device: its levers, its layout, compiled or not.

Training, measurements and translation all come through here, so that what one of them measured
holds for the others.
"""

from __future__ import annotations

import copy
import logging
import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from i2icli.config.sections import RuntimeConfig
from i2icli.methods.shared.base import Method
from i2icli.networks.patchgan import PatchDiscriminator
from i2icli.networks.resnet import ResnetBlock, ResnetGenerator
from i2icli.system.allocator import keep_freed_memory
from i2icli.system.choices import Choices, Work, choose
from i2icli.system.compiling import Compiled, compiler_fault, prepare_compiler
from i2icli.system.cores import look_at_load
from i2icli.system.device import autocast
from i2icli.system.threads import ThreadsTrial, try_threads
from i2icli.system.trial import Trial, Way, Ways, try_once
from i2icli.system.waiting import CROWDED, wait_briefly

log = logging.getLogger(__package__)

# Below this many pixels times channels squared a step is so short that layouts do not matter.
_WORTH_TRYING = 1 << 22
# As many passes as this through a generator for each picture keep what a step keeps, or about that.
_PASSES = 6
_KEPT_SIDE = 64


def prepare(
    method: Method,
    runtime: RuntimeConfig,
    *,
    crop: int,
    work: Work,
) -> Choices:
    """Resolve the runtime settings, and apply those that concern networks and memory.

    Layouts, and threads beside other programs, are tried at `crop`, the side of the training's
    pictures, pixels.

    Raises:
        ConfigError: for a precision that is none.
    """
    device = next(method.parameters()).device
    method.use_levers(runtime.levers)
    work = replace(
        work,
        try_layout=partial(_try_layout, method, crop=crop, trains=work.trains),
        kept_bytes=partial(_kept_bytes, method, work.pixels),
        try_threads=partial(_try_threads, method, crop=crop, trains=work.trains),
    )
    choices = choose(runtime, device, work)
    torch.set_num_threads(choices.threads)
    if choices.reuse_memory:
        keep_freed_memory()
    method.use_levers(runtime.levers, recompute=choices.recompute)
    method.use_layout(torch.channels_last if choices.channels_last else torch.contiguous_format)
    if choices.compile:
        compile_networks(method, device, trains=work.trains)
    return choices


def _kept_bytes(method: Method, pixels: int | None, precision: torch.dtype) -> int | None:
    """Estimate the maps that a training step on so many pixels keeps: a generator's passes'.

    A pass that computes none of them again is made without values, on the "meta" device.
    """
    generators = [part for part in method.modules() if isinstance(part, ResnetGenerator)]
    if not generators or pixels is None:
        return None
    network, side = generators[0], _KEPT_SIDE
    state = {name: tensor.to("meta") for name, tensor in network.state_dict().items()}
    weights = {tensor.untyped_storage()._cdata for tensor in state.values()}
    kept: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in weights:
            kept[storage] = tensor  # which keeps its place from being given to the next
        return tensor

    pictures = torch.empty(1, network.in_channels, side, side, device="meta", requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        torch.func.functional_call(network, state, (pictures,))
    count = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    share = precision.itemsize / torch.float32.itemsize  # the pass is one of float32
    return int(_PASSES * share * count * pixels / side**2)


def compile_networks(method: Method, device: torch.device, *, trains: bool) -> None:
    """Compile the networks that are differentiated once only, at their first call.

    Residual generators and most patch discriminators are. Penalties on slopes differentiate a
    discriminator twice, which compiled code cannot.
    """
    if fault := compiler_fault(device):
        log.warning(f"networks are not compiled: {fault}")
        return
    prepare_compiler()
    for name, network in method.named_modules():
        if trains and isinstance(network, PatchDiscriminator) and not network.has_slope:
            _compile(network, "forward", name, trains=trains)
        elif isinstance(network, ResnetGenerator):
            # Both ways through it, `forward` and `encode`, lead through this.
            _compile(network, "_run", name, trains=trains)


def _compile(network: nn.Module, part: str, title: str, **options: Any) -> None:
    function = getattr(network, part)
    plain = function.plain if isinstance(function, Compiled) else function
    setattr(network, part, Compiled(plain, title=title, **options))


@dataclass(frozen=True)
class _Sample:
    """Layers of a method that stand for its work on a picture.

    Attributes:
        layers: a generator's, one residual block for all.
        in_channels: of the picture.
        side: of the picture, pixels.
        trains: whether gradients are computed too.
        device: where.
    """

    layers: nn.Sequential
    in_channels: int
    side: int
    trains: bool
    device: torch.device

    def way(self, memory_format: torch.memory_format, precision: torch.dtype) -> Way:
        """Return what does the work once in a layout."""
        # In evaluation mode, where nothing is drawn from the global random state.
        network = copy.deepcopy(self.layers).eval().requires_grad_(self.trains)
        network = network.to(memory_format=memory_format)
        shape = 1, self.in_channels, self.side, self.side
        ramp = torch.linspace(-1.0, 1.0, math.prod(shape), device=self.device)
        pictures = ramp.view(shape).contiguous(memory_format=memory_format)

        def once() -> None:
            with torch.set_grad_enabled(self.trains), autocast(self.device, precision):
                result = network(pictures)
            if self.trains:
                result.float().square().mean().backward()

        return once


def _sample_of(method: Method, *, crop: int, trains: bool) -> _Sample | None:
    """Return a sample of a method's work, of half the crop; None without a residual generator."""
    generators = [part for part in method.modules() if isinstance(part, ResnetGenerator)]
    if not generators:
        return None
    blocks = [part for part in generators[0].model if isinstance(part, ResnetBlock)]
    layers = nn.Sequential(*(part for part in generators[0].model if part not in blocks[1:]))
    side, device = max(64, crop // 8 * 4), next(method.parameters()).device
    return _Sample(layers, generators[0].in_channels, side, trains, device)


def _try_layout(
    method: Method, precision: torch.dtype, threads: int, *, crop: int, trains: bool
) -> Trial:
    sample = _sample_of(method, crop=crop, trains=trains)
    if sample is None:
        return Trial(None, "tried for residual generators alone")
    convolutions = [part for part in sample.layers if isinstance(part, nn.Conv2d)]
    channels = max(part.out_channels for part in convolutions) // 4
    if channels**2 * crop**2 < _WORTH_TRYING:
        return Trial(None, "networks too small to matter")
    key = {
        "what": "channels_last",
        "layers": repr(sample.layers),
        "side": sample.side,
        "precision": str(precision),
        "trains": trains,
        "levers": method.levers.model_dump(),
    }
    torch.set_num_threads(threads)  # with which the work will be done

    def ways() -> Ways:
        plain = sample.way(torch.contiguous_format, precision)
        return plain, sample.way(torch.channels_last, precision)

    return try_once(key, sample.device, ways)


def _try_threads(
    method: Method, precision: torch.dtype, *, crop: int, trains: bool
) -> ThreadsTrial | None:
    sample = _sample_of(method, crop=crop, trains=trains)
    if sample is None:
        return None
    # A short look, for every start waits for it: one that is wrong costs a trial, no more.
    load = look_at_load(0.1)
    if load.lacking(torch.get_num_threads()) < CROWDED:
        return None
    wait_briefly()  # as the work itself will
    return try_threads(sample.way(torch.contiguous_format, precision), load)
